"""A small run of the experiment on critical points: verdicts are the ledger's, and follow broken data."""

from tests.verdicts import verdicts

EXPERIMENT, PART = "critical_points", "landscapes"
SMALL = {"landscapes": {"points": 21}}


def test_every_claim_has_the_ledgers_verdict(run):
    assert len(run(PART).claims) == 10
    assert [claim.id for claim in run(PART).claims if not claim.passed] == []


def test_eigenvalues_classify(run):
    data = run(PART).dataset
    signs = {str(name): (data.eigenvalues.sel({"shape": name}).values > 0).sum() for name in data["shape"].values}
    assert (signs["bowl"], signs["dome"], signs["saddle"]) == (2, 0, 1)
    assert (data.eigenvalues.sel({"shape": "monkey"}) == 0).all()
    assert (data.gradient_norm == 0).all()


def test_broken_data_turn_each_verdict(run):
    data = run(PART).dataset
    before = verdicts(run(PART), data)
    changes = {
        "gradient-norm-zero-means-near-minimum": ({"gradient_norm": data.gradient_norm + 1e-6}, "refuted"),
        "gradient-is-steepest-ascent": ({"gradient_angle": data.gradient_angle + 1}, "refuted"),
        "directional-derivative-is-dot-product": (
            {"directional_residual": data.directional_residual + 1e-9},
            "refuted",
        ),
        "partials-3x2y-2xy3": ({"partials": data.partials + 1e-3}, "refuted"),
        "jacobian-example": ({"example": (data.example.dims, data.example.values.T)}, "refuted"),
        "jacobian-shape-and-rows": ({"row_gradients": data.row_gradients + 1e-9}, "refuted"),
        "vjp-gives-a-row": ({"one_hot_pullback": data.one_hot_pullback + 1e-9}, "refuted"),
        "hessian-symmetric": ({"asymmetry": data.asymmetry + 1e-9}, "refuted"),
        "hessian-symmetry-needs-c2": ({"f_xy": data.f_yx}, "refuted"),
        "hessian-example": ({"hessian": data.hessian + 1e-9}, "refuted"),
    }
    assert set(changes) == set(before)
    for claim, (change, verdict) in changes.items():
        told = verdicts(run(PART), data.assign(change))
        assert {name: told[name] for name in told if told[name] != before[name]} == {claim: verdict}
    assert verdicts(run(PART), data.assign(slope=data.slope * 1.001))["gradient-is-steepest-ascent"] == "refuted"
    unscathed = data.assign(plateau_loss=0 * data.plateau_loss, eigenvalues=abs(data.eigenvalues))
    assert verdicts(run(PART), unscathed)["gradient-norm-zero-means-near-minimum"] == "confirmed"
    one_hot = data.assign(cotangent=0 * data.cotangent + (data.output == 2), pullback=data.jacobian[2])
    assert verdicts(run(PART), one_hot)["vjp-gives-a-row"] == "confirmed"


def test_figures_can_be_drawn(run):
    assert set(run(PART).figures) == {"landscapes", "slopes"}

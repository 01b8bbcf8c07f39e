"""A small run of the experiment on critical points: verdicts are the ledger's, and follow broken data."""

import pytest

from jaxcalc import lab
from tests.verdicts import changed, verdicts

EXPERIMENT, PART = "critical_points", "landscapes"
SMALL = {"landscapes": {"points": 21}, "network": {"starts": 150}}


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


def test_claims_about_a_network_follow_broken_data(run):
    data = run("network").dataset
    judged = lambda **changes: changed(run("network"), **changes)
    assert judged() == {}
    assert judged(gradient_norm=data.gradient_norm + 1e-6) == {"network-points-are-stationary": "refuted"}
    assert judged(fall=abs(data.fall)) == {"network-labels-agree-with-values": "refuted"}
    minima = data.kind.copy(data=["minimum"] * data.sizes["point"])
    assert judged(kind=minima)["network-stationary-points-are-mostly-saddles"] == "refuted"
    assert judged(value=1 + 0 * data.value) == {"network-minima-are-equally-deep": "confirmed"}


def test_stationary_points_are_those_that_are_known():
    import jax
    import jax.numpy as jnp
    import numpy as np

    from experiments.critical_points import stationary_points
    from jaxcalc.functions.landscapes import LANDSCAPES

    known = LANDSCAPES["himmelblau"]
    with jax.enable_x64(True):
        starts = jax.random.uniform(jax.random.key(0), (200, 2), minval=-5.0, maxval=5.0)
        found = stationary_points(known.function, starts)
        values = np.sort([float(known.function(jnp.asarray(x))) for x in known.stationary])
    np.testing.assert_allclose(found["value"], values, atol=1e-9)
    assert (found["kind"] == "minimum").sum() == known.num_minima
    assert found["starts"].sum() == found["tried"] == 200


def bowl(x):
    return ((x - 1.0) ** 2).sum() + x[0] * x[1]


def own(tmp_path, **params):
    return lab.run({"experiment": "critical_points.own", "params": params}, out=tmp_path, progress=False)


def test_a_convex_function_of_ones_own(tmp_path):
    name = f"{__name__}:bowl"
    run = own(tmp_path, function=name, samples=100, starts=20)
    assert run.messages == [] and all(claim.passed for claim in run.claims)
    assert run.dataset.kind.values.tolist() == ["minimum"] and run.dataset.starts.values.tolist() == [20]
    assert "nothing against convexity" in run.claims[0].measured
    data = run.dataset
    told = changed(run, margin=data.margin - 1.0)
    assert told == {"own-chords-and-curvature-agree": "refuted"}
    told = changed(run, kind=data.kind.copy(data=["saddle"]))
    assert told["own-saddles-refute-convexity"] == told["own-labels-agree-with-values"] == "refuted"


def test_a_function_without_stationary_points_has_none(tmp_path):
    run = own(tmp_path, function="jax.nn:logsumexp", samples=100, starts=20)
    assert run.messages == [] and run.dataset.sizes["point"] == 0 and len(run.figures) == 2
    told = {claim.id: claim.verdict for claim in run.claims}
    assert told["own-chords-and-curvature-agree"] == told["own-saddles-refute-convexity"] == "confirmed"
    assert told["own-points-are-stationary"] == "not judged"


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"function": "bowl"}, "function"),
        ({"function": "no.such.module:bowl"}, "cannot be imported"),
        ({"function": "jax.numpy:nothing"}, "cannot be imported"),
        ({"function": "jax.numpy:pi"}, "cannot be called"),
        ({"low": 1.0, "high": 1.0}, "low must be below high"),
    ],
)
def test_what_is_no_function_in_a_box_is_refused(params, told, tmp_path):
    try:
        run = own(tmp_path, **params)
    except lab.ConfigError as error:
        said = str(error)
    else:
        said = " ".join(map(str, run.messages))
    assert told in said

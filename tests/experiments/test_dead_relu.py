"""A small run of the question on dying units: verdicts are the ledger's, and follow broken data."""

from tests.verdicts import changed

EXPERIMENT = "dead_relu"
SMALL = {
    "dead_relu": {
        "rates": [0.1, 3.0],
        "biases": [0.0, -6.0, -8.0],
        "slopes": [0.0, 0.1],
        "width": 16,
        "updates": 60,
        "seeds": 3,
    }
}


def test_units_die_and_leaky_ones_do_not(run):
    result = run("dead_relu")
    data = result.dataset
    assert [(claim.id, claim.measured) for claim in result.claims if not claim.passed] == []
    grow, leaky = (claim.id for claim in result.claims)
    assert changed(result, dead_gradient=data.dead_gradient + 1e-9) == {grow: "refuted"}
    assert changed(result, by_rate=data.by_rate[::-1].assign_coords(rate=data.rate)) == {grow: "refuted"}
    assert changed(result, without_gradient=data.by_slope) == {leaky: "refuted"}
    assert changed(result, num_dead=0 * data.num_dead) == {grow: "not judged"}
    assert set(result.figures) == {"dead_units"}

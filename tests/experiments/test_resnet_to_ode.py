"""A small run of the residual networks' question: verdicts, figures, and what breaks them."""

from tests.verdicts import changed, verdicts

EXPERIMENT = "resnet_to_ode"
SMALL = {"networks": {"width": 48, "depths": [8, 32, 128], "finest": 1024, "draws": 8}}
EULER, RANDOM = "resnet-is-euler-step", "independent-weights-give-no-ode"


def test_smooth_weights_give_an_ode_and_independent_ones_none(run):
    networks = run("networks")
    data = networks.dataset
    assert verdicts(networks, data) == {EULER: "confirmed", RANDOM: "confirmed"}
    assert set(networks.figures) == {"residual_networks"}
    assert changed(networks, euler_gap=data.euler_gap + 1e-6) == {EULER: "refuted"}
    assert changed(networks, variation=data.variation / 2) == {RANDOM: "refuted"}
    assert changed(networks, distance=data.distance * 0 + 1.0) == {EULER: "refuted", RANDOM: "refuted"}
    assert verdicts(networks, data.isel(depth=[0, 1])) == {EULER: "confirmed", RANDOM: "not judged"}

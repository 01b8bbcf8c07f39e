"""A small run of the vanishing-gradients experiment: its claims reach their verdicts, its figures can be drawn."""

from pathlib import Path

import numpy as np

from experiments.vanishing_gradients import layers, tidy
from jaxcalc import lab
from tests.verdicts import survivors, verdicts


def _run(tmp_path, question, sweep, **params) -> lab.Run:
    config = {"experiment": f"vanishing_gradients.{question}", "dtype": "float64", "params": params, "sweep": sweep}
    return lab.run(config, out=Path(tmp_path) / "runs", progress=False)


CHAOS = "gradient-factor-is-chi1"


def _judged(run):
    return {claim.id: claim.verdict for claim in run.claims if claim.verdict != "not judged"}


def _falsify_depth(run):
    data, _verdicts = run.dataset, lambda dataset: verdicts(run, dataset)
    flow, passes = "relu-tanh-sigmoid-gradient-flow", "relu-passes-gradient-unattenuated"
    assert _verdicts(data.assign(attenuation=data.attenuation**0.1))[flow] == "refuted"
    assert _verdicts(data.assign(relu_slope=0.5 * data.relu_slope))[passes] == "refuted"
    chains = _verdicts(data.assign(bound=1e-3 * data.bound))
    assert chains["quarter-to-the-20"] == chains["twenty-sigmoid-layers-vanish"] == "refuted"
    # Another network's gradients, one draw of them or too narrow a network decide nothing.
    orthogonal = data.assign_coords(initialisation=("case", ["glorot", "orthogonal", "he", "glorot"]))
    for other in (orthogonal, data.assign_coords(bias_std=1.0), data.assign_coords(width=8), data.isel(seed=[0])):
        assert _verdicts(other)[flow] == "not judged"
    assert survivors("vanishing_gradients.depth", data) == []


def test_sigmoids_vanish_and_relu_does_not(tmp_path):
    cases = {
        "sigmoid": {"activation": "sigmoid", "initialisation": "glorot"},
        "tanh": {"activation": "tanh", "initialisation": "glorot"},
        "relu": {"activation": "relu", "initialisation": "he"},
        "weak relu": {"activation": "relu", "initialisation": "glorot", "gain": 0.5},
    }
    sweep = {"cases": cases, "vmap": {"depth": [2, 10, 20], "seed": [0, 1, 2]}}
    run = _run(tmp_path, "depth", sweep, width=64, max_depth=24, batch=8)
    _falsify_depth(run)
    assert run.messages == []
    assert _judged(run) == {
        "quarter-to-the-20": "confirmed",
        "twenty-sigmoid-layers-vanish": "qualified",
        "relu-tanh-sigmoid-gradient-flow": "confirmed",
        "relu-passes-gradient-unattenuated": "qualified",
    }
    assert set(run.figures) == {
        "gradient_by_layer",
        "attenuation_by_depth",
        "factor_per_layer",
        "unit_chains",
    }
    signal = run.dataset.signal
    assert np.isfinite(signal.sel(depth=10, layer=slice(0, 10))).all()
    assert np.isnan(signal.sel(depth=10, layer=slice(11, None))).all()  # layers that are not there have no gradient
    # Width 64 strays from the infinite width by a few per cent a layer.
    sigmoid = run.dataset.sel(case="sigmoid", depth=20, layer=slice(1, 20))
    np.testing.assert_allclose(sigmoid.factor.mean("layer"), sigmoid.theory_factor.mean("layer"), rtol=0.05)


def test_the_gain_carries_tanh_from_order_to_chaos(tmp_path):
    sweep = {"vmap": {"gain": [0.8, 1.0, 1.3, 2.0], "seed": [0, 1, 2]}}
    params = {"activation": "tanh", "initialisation": "glorot", "bias_std": 0.2236, "depth": 40, "max_depth": 40}
    run = _run(tmp_path, "chaos", sweep, width=200, batch=8, **params)
    assert run.messages == []
    assert _judged(run)[CHAOS] == "confirmed"
    assert survivors("vanishing_gradients.chaos", run.dataset) == []
    assert set(run.figures) == {"order_to_chaos"}
    data, _verdicts = run.dataset, lambda dataset: verdicts(run, dataset)
    assert _verdicts(data.assign(signal=data.signal ** np.where(data.layer == 10, 1.5, 1.0)))[CHAOS] == "refuted"
    # What the statement is not about decides nothing.
    for changes in ({"activation": "relu"}, {"residual": "plain"}, {"width": 32}, {"initialisation": "orthogonal"}):
        assert _verdicts(data.assign_coords(**changes))[CHAOS] == "not judged"
    assert _verdicts(data.sel(gain=[1.3, 2.0]))[CHAOS] == "not judged"
    assert _verdicts(data.sel(gain=[0.8, 1.0, 1.3]))[CHAOS] == "not judged"


def test_one_point_makes_do(tmp_path):
    run = _run(tmp_path, "depth", {}, width=16, max_depth=4, depth=3, batch=4)
    assert run.messages == []
    assert not run.figures
    assert _judged(run) == {} and run.exit_code == 1


def test_the_scale_of_wide_networks_is_drawn(tmp_path):
    cases = {"relu": {"activation": "relu"}, "tanh": {"activation": "tanh", "initialisation": "glorot"}}
    sweep = {"cases": cases, "vmap": {"seed": [0, 1, 2]}}
    run = _run(tmp_path, "width", sweep, width=16, max_depth=8, depth=8, batch=4)
    assert run.messages == [] and set(run.figures) == {"activation_scale", "factor_per_layer"}
    assert _judged(run) == {}  # narrow networks say nothing of the mean


def test_normalised_networks_stand_beside_their_theory(tmp_path):
    cases = {
        "layer norm": {"activation": "relu", "normalisation": "layer", "residual": "two_matrix"},
        "batch norm": {"activation": "relu", "normalisation": "batch"},
    }
    run = _run(tmp_path, "depth", {"cases": cases, "vmap": {"seed": [0, 1, 2]}}, width=64, max_depth=8, depth=8)
    assert run.messages == [] and set(run.figures) == {"factor_per_layer"}
    # None of them is a network that the claims speak of.
    assert not {"relu-tanh-sigmoid-gradient-flow", "residual-connections-carry-gradient"} & set(_judged(run))
    inner = run.dataset.sel(layer=slice(2, 8)).mean(("layer", "seed"))
    np.testing.assert_allclose(inner.factor, inner.theory_factor, rtol=0.05)


def test_maps_know_each_depth_s_last_layer(tmp_path):
    cases = {
        "tanh, critical": {"activation": "tanh", "initialisation": "critical"},
        "ReLU, batch norm": {"activation": "relu", "normalisation": "batch"},
    }
    sweep = {"cases": cases, "vmap": {"depth": [1, 4, 6], "seed": [0, 1]}}
    run = _run(tmp_path, "layers", sweep, width=16, max_depth=6, batch=8)
    assert run.messages == [] and set(run.figures) == {"gradient_by_layer_and_depth"}
    decades = layers._decades(tidy(run.dataset))
    for depth in (1, 4, 6):
        at = decades.sel(depth=depth)
        np.testing.assert_allclose(at.sel(layer=depth), 0.0, atol=1e-12)
        assert np.isfinite(at.sel(layer=slice(0, depth))).all() and np.isnan(at.sel(layer=slice(depth + 1, None))).all()

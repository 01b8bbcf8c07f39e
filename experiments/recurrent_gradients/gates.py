"""Do gates carry a gradient through 500 steps, and does mean-field theory say how far?

Theory counts the weights as drawn anew at each step. So each cell runs twice: with weights of its own at every step,
where theory must hold, and with the same weights throughout, as recurrent networks have them.
"""

from typing import Any

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, close, jax, jnp

kind = "host"

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("rnn", {}),
    "LSTM, forget bias 0": ("lstm", {"forget_bias": 0.0}),
    "LSTM, forget bias 1": ("lstm", {"forget_bias": 1.0}),
    "LSTM, forget bias 5": ("lstm", {"forget_bias": 5.0}),
    "GRU, update bias 0": ("gru", {"update_bias": 0.0}),
    "GRU, update bias 5": ("gru", {"update_bias": 5.0}),
}
WEIGHTS = ("drawn at each step", "the same throughout")


class Config(lab.Config):
    cases: tuple[str, ...] = tuple(CASES)
    """cells with their biases"""
    width: int = pydantic.Field(48, ge=4)
    """units, and inputs"""
    num_lags: int = pydantic.Field(500, ge=20)
    """steps back"""
    warm_up: int = pydantic.Field(60, ge=1)
    """steps before them, for the state to settle"""
    seeds: int = pydantic.Field(3, ge=2)
    """networks of each kind"""
    batch: int = pydantic.Field(1, ge=1)
    """sequences of noise for each"""

    @pydantic.field_validator("cases")
    @classmethod
    def _known(cls, cases):
        if unknown := [case for case in cases if case not in CASES]:
            raise ValueError(f"unknown {unknown}; the cases are: {'; '.join(CASES)}")
        return cases


VARIABLES = {
    "case": Variable(("case",), "", "cell and its bias"),
    "weights": Variable(("weights",), "", "whether weights are drawn at each step"),
    "lag": Variable(("lag",), "steps", "time lag"),
    "gradient": Variable(("case", "weights", "draw", "lag"), "", "norm of the gradient in the state over the last"),
    "theory": Variable(("case", "lag"), "", "the same by mean-field theory"),
    "keep": Variable(("case",), "", "factor of a step by the direct path alone, by mean-field theory"),
    "jacobian": Variable(("case", "draw"), "", "2-norm of the Jacobian over 100 steps, the same weights"),
    "draw": Variable(("draw",), "", "random network"),
}


def run(config, key):
    keys = jax.random.split(key, config.seeds)
    measured = [[_measure(config, name, untied, keys) for untied in (True, False)] for name in config.cases]
    theories = [_theory(config, name) for name in config.cases]
    return {
        "case": np.array(config.cases),
        "weights": np.array(WEIGHTS),
        "draw": np.arange(config.seeds),
        "lag": np.arange(config.num_lags + 1),
        "gradient": np.array([[gradient for gradient, _ in pair] for pair in measured]),
        "theory": np.array([norms for norms, _ in theories]),
        "keep": np.array([keep for _, keep in theories]),
        "jacobian": np.array([tied for _, (_, tied) in measured]),
    }


def _theory(config, name):
    from jaxcalc.functions import gates
    from jaxcalc.functions.activations import tanh

    cell, biases = CASES[name]
    variances: dict[str, Any] = {"sw2": 1.0, "sx2": 1.0, **biases}
    match cell:
        case "lstm":
            theory = gates.lstm_theory(**variances)
        case "gru":
            theory = gates.gru_theory(**variances)
        case _:
            theory = gates.rnn_theory(tanh, **variances)
    last = np.eye(len(theory.moments))[0]  # the loss sees the output alone, not an LSTM's cell
    return gates.lag_norms(theory, last, config.num_lags), theory.keep


def _measure(config, name, untied, keys):
    """Each network's gradient by lag, and the 2-norm of its Jacobian over the last 100 steps or fewer."""
    from jaxcalc import models

    cell, biases = CASES[name]
    steps, lags = config.warm_up + config.num_lags, min(100, config.num_lags)
    made = models.make_cell(cell, config.width, config.width, **biases)
    network = models.recurrent_network(made, 1, untied=steps if untied else None)

    @jax.jit
    def measure(key):
        of_params, of_inputs = jax.random.split(key)
        params = network.init(of_params)
        x = jax.random.normal(of_inputs, (steps, config.batch, config.width), float)
        gradients = models.state_gradients(network.trace, lambda outputs: outputs[-1], params, x)
        norms = models.state_norms(gradients)[::-1][: config.num_lags + 1]
        if untied:
            return norms / norms[0], jnp.nan
        one = x[:, 0]
        _, states = network.trace(params, one)
        before = jax.tree.map(lambda a: a[-1 - lags :], states)
        jacobians = models.state_jacobians(made.step, params.cell, before, one[-lags:])
        product, _ = jax.lax.scan(lambda p, j: (j @ p, None), jnp.eye(jacobians.shape[-1]), jacobians)
        return norms / norms[0], jnp.linalg.norm(product, 2)

    measured = [measure(key) for key in keys]
    return [np.array(part) for part in zip(*measured, strict=True)]


def _mean_square(gradient):
    """The root mean square over networks, which is what theory speaks of."""
    return np.sqrt((gradient**2).mean("draw", skipna=False))


def _rates(dataset, weights):
    """Logarithm of a step's factor past the first lags, measured less theory's, by case."""
    near, far = 10, int(dataset.lag[-1])
    log = np.log(dataset.gradient.sel(weights=weights)).mean("draw", skipna=False)
    theory = np.log(dataset.theory)
    slope = lambda a: (a.sel(lag=far) - a.sel(lag=near)) / (far - near)
    return slope(log) - slope(theory)


def _theory_holds(dataset):
    if int(dataset.lag[-1]) < 200 or dataset.sizes["draw"] < 3:
        raise NotJudged("needs 200 steps and 3 networks")
    own, same = (_rates(dataset, weights) for weights in WEIGHTS)
    leaky = ["LSTM, forget bias 0", "GRU, update bias 0"]
    return Finding(
        below(own),
        limits=above(same.sel({"case": leaky}), 0.05),
        measured=f"a step's factor is within {100 * np.expm1(abs(own).max()):.1f} % of theory's with weights drawn at "
        f"each step; with the same weights gates at bias 0 keep {100 * np.expm1(same.sel({'case': leaky})).min():.0f} "
        "% more or above",
        figure="gates",
    )


def _control(dataset):
    """Open gates keep the Jacobian's norm over 100 steps near 1; gates at bias 0 lose it, as a plain cell does."""
    if int(dataset.lag[-1]) < 100:
        raise NotJudged("needs 100 steps")
    at = dataset.jacobian.median("draw", skipna=False)
    opened = at.sel({"case": ["LSTM, forget bias 5", "GRU, update bias 5"]})
    closed = at.sel({"case": ["LSTM, forget bias 0", "GRU, update bias 0", "tanh"]})
    words = ", ".join(f"{name} {float(value):.1e}" for name, value in zip(at["case"].values, at.values))
    return Finding(
        close(opened, 1.0),
        limits=below(closed, 1e-6),
        measured=f"2-norm of the Jacobian over 100 steps: {words}",
        figure="gates",
    )


def figures(dataset):
    figure, panels = style.subplots(1, 2, width="page", height=3.4, sharey=True)
    colors = ["#333333", *(style.COLORS[c] for c in ("sky", "blue", "green", "orange", "vermilion"))]
    for panel, weights in zip(panels, WEIGHTS, strict=True):
        measured = _mean_square(dataset.gradient.sel(weights=weights))
        for name, color in zip(dataset["case"].values, colors):
            panel.plot(dataset.lag, measured.sel({"case": name}), color=color, label=name)
            panel.plot(dataset.lag, dataset.theory.sel({"case": name}), **style.THEORY)
        panel.set(yscale="log", xlabel="time lag (steps)", title=f"weights {weights}", ylim=(1e-60, 1e3))
    panels[0].set_ylabel("gradient norm over that in the last state")
    panels[0].plot([], [], **style.THEORY, label="theory")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.set_label(
        "The gradient in the state by time lag, root mean square over random networks driven by noise. Dashed: "
        "mean-field theory, which holds where weights are drawn at each step (left) and for some tens of steps where "
        "they are the same (right). What is smaller than shown is cut off."
    )
    return {"gates": figure}


claims = {"lstm-gru-control-gradient-flow": _control, "gated-gradients-follow-mean-field": _theory_holds}

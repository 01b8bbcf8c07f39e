"""Who recalls a symbol seen 100 steps ago: gated cells, or the plain one too?

The first input is +1 or -1, all later ones are noise; the sign is asked for at the end. All cells have as many units,
the same optimiser and the same number of updates.
"""

from typing import Any

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, jax, jnp

kind = "host"
dtype = "float32"


class Config(lab.Config):
    lag: int = pydantic.Field(100, ge=3)
    """steps from the symbol to the question"""
    width: int = pydantic.Field(24, ge=2)
    """units"""
    batch: int = pydantic.Field(32, ge=2)
    """sequences, drawn anew at each update"""
    updates: int = pydantic.Field(400, ge=10)
    """updates of the weights"""
    rate: float = pydantic.Field(0.01, gt=0)
    """learning rate of Adam"""
    noise: float = pydantic.Field(1.0, ge=0)
    """standard deviation of the inputs after the first"""
    max_norm: float = pydantic.Field(1.0, gt=0)
    """norm that gradients are clipped to"""
    seeds: int = pydantic.Field(5, ge=1)
    """networks of each kind"""


VARIABLES = {
    "cell": Variable(("cell",), "", "recurrent cell"),
    "update": Variable(("update",), "", "update of the weights"),
    "draw": Variable(("draw",), "", "random network"),
    "loss": Variable(("cell", "draw", "update"), "nats", "cross-entropy of the sign"),
    "recalled": Variable(("cell", "draw"), "", "share of new sequences whose sign is recalled"),
    "at_start": Variable(("cell", "draw"), "", "gradient in the first state over that in the last, before training"),
    "at_end": Variable(("cell", "draw"), "", "the same after training"),
}


CELLS = ("rnn", "lstm", "gru")


def _cell(config, name, key):
    """A cell whose gates start with time scales up to the lag; an LSTM lets in what it forgets."""
    from jaxcalc import models

    keep = models.chrono_bias(key, config.width, config.lag)
    biases: dict[str, dict[str, Any]] = {
        "rnn": {},
        "lstm": {"forget_bias": keep, "input_bias": -keep},
        "gru": {"update_bias": keep},
    }
    return models.make_cell(name, 2, config.width, **biases[name])


def run(config, key):
    keys = jax.random.split(key, config.seeds)
    columns = {name: [] for name in ("loss", "recalled", "at_start", "at_end")}
    for name in CELLS:
        trained = jax.jit(jax.vmap(lambda key, name=name: _train(config, name, key)))(keys)
        for column, values in zip(columns.values(), trained, strict=True):
            column.append(np.asarray(values))
    return {
        "cell": np.array(CELLS),
        "update": np.arange(config.updates),
        "draw": np.arange(config.seeds),
        **{name: np.array(values) for name, values in columns.items()},
    }


def _draw(config, key, count):
    """Sequences (lag + 1, count, 2), the second input marking the symbol, and their signs (count,)."""
    of_sign, of_noise = jax.random.split(key)
    signs = jax.random.rademacher(of_sign, (count,), float)
    x = config.noise * jax.random.normal(of_noise, (config.lag + 1, count), float)
    x = x.at[0].set(signs)
    marks = jnp.zeros_like(x).at[0].set(1.0)
    return jnp.stack([x, marks], -1), signs


def _train(config, name, key):
    import optax

    from jaxcalc import models

    of_params, of_biases, of_training, of_test = jax.random.split(key, 4)
    network = models.recurrent_network(_cell(config, name, of_biases), 1)
    # The mean of softplus(-margin) is the cross-entropy of the sign.
    losses = lambda outputs, signs: jax.nn.softplus(-signs * outputs[-1, :, 0])
    solver = optax.chain(optax.clip_by_global_norm(config.max_norm), optax.adam(config.rate))

    def update(carry, key):
        params, state = carry
        x, signs = _draw(config, key, config.batch)
        value, gradient = jax.value_and_grad(lambda p: losses(network.apply(p, x), signs).mean())(params)
        changes, state = solver.update(gradient, state, params)
        return (optax.apply_updates(params, changes), state), value

    x, signs = _draw(config, of_test, 256)

    def through(params):
        gradients = models.state_gradients(network.trace, lambda outputs: losses(outputs, signs), params, x)
        norms = models.state_norms(gradients)
        return norms[1] / norms[-1]

    start = network.init(of_params)
    keys = jax.random.split(of_training, config.updates)
    (end, _), values = jax.lax.scan(update, (start, solver.init(start)), keys)
    recalled = jnp.mean(signs * network.apply(end, x)[-1, :, 0] > 0)
    return values, recalled, through(start), through(end)


def _need_gates(dataset):
    if dataset.sizes["draw"] < 5:
        raise NotJudged("needs 5 networks of each kind")
    gated, plain = dataset.recalled.sel(cell=["lstm", "gru"]), dataset.recalled.sel(cell="rnn")
    solved = (dataset.recalled > 0.95).sum("draw").values
    shares = zip(dataset.cell.values, solved, dataset.at_start.median("draw").values)
    words = "; ".join(f"{c} {n} of {dataset.sizes['draw']}, gradient at the start {g:.0e}" for c, n, g in shares)
    arrives = above(dataset.at_start, 0.0)
    return Finding(above(gated, 0.95) & below(plain, 0.7) & arrives, measured=f"solved by {words}", figure="long_lag")


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.6, letters=False)
    names = {"rnn": ("tanh", "vermilion"), "lstm": ("LSTM", "blue"), "gru": ("GRU", "green")}
    width = max(1, dataset.sizes["update"] // 50)
    for row, cell in enumerate(dataset.cell.values):
        name, color = names[str(cell)]
        for draw in range(dataset.sizes["draw"]):
            line = dataset.loss.sel(cell=cell).isel(draw=draw).rolling(update=width).mean()
            left.plot(
                dataset["update"], line, color=style.COLORS[color], linewidth=0.9, label=name if not draw else None
            )
        recalled = dataset.recalled.sel(cell=cell)
        right.plot(recalled, np.full(recalled.size, row), "o", color=style.COLORS[color], markersize=4, alpha=0.8)
    left.axhline(np.log(2), color="#333333", linewidth=0.8)
    left.set(xlabel="update", ylabel="cross-entropy (nats)", ylim=(-0.03, 1.0))
    left.legend(loc="upper right")
    style.name_rows(right, [names[str(cell)][0] for cell in dataset.cell.values])
    right.axvline(0.5, color="#333333", linewidth=0.8)
    right.set(xlabel="share recalled after training", xlim=(0.4, 1.03))
    figure.set_label(
        "Recalling a sign through noise, five networks of each kind: the plain cell stays at guessing (the lines at "
        "log 2 and at one half), gated cells that start open learn it."
    )
    return {"long_lag": figure}


claims = {"long-lags-need-gates": _need_gates}

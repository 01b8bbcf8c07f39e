"""What becomes of units: kinks, dead units, gradients through twenty layers?"""

import functools

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, close, equal, jax, jnp, less

kind = "host"

_CELLS = ("LSTM cell", "GRU cell")


class Config(lab.Config):
    layers: int = pydantic.Field(20, ge=20)
    """layers of the deep ReLU network"""
    width: int = pydantic.Field(128, ge=8)
    """units in each"""
    samples: int = pydantic.Field(100_000, ge=1000)
    """random pre-activations in which exact zeros are counted"""
    steps: int = pydantic.Field(200, ge=1)
    """steps of gradient descent of the dead unit"""


VARIABLES = {
    "spelling": Variable(("spelling",), "", "a way to write a rectifier"),
    "slope_at_zero": Variable(("spelling",), "", "what jax.grad gives at 0"),
    "source": Variable(("source",), "", "where pre-activations come from"),
    "zero_share": Variable(("source",), "", "share of them that is exactly 0"),
    "factor_at_3": Variable((), "", "slope of ReLU at 3"),
    "initialisation": Variable(("initialisation",), "", "of the weights"),
    "layer": Variable(("layer",), "", "layer, 0 being the embedded input"),
    "signal": Variable(("initialisation", "layer"), "", "root mean square norm of the gradient in a layer's output"),
    "unit": Variable(("unit",), "", "activation of the single unit"),
    "bias": Variable(("bias",), "", "its bias"),
    "gradient_norm": Variable(("unit", "bias"), "", "1-norm of the gradient in its parameters"),
    "moved": Variable(("unit",), "", "largest change of a parameter by gradient descent from a bias of -50"),
    "collapse": Variable((), "", "six linear layers against their product, relative"),
    "program": Variable(("program",), "", "a traced program"),
    "primitive": Variable(("primitive",), "", "a transcendental primitive"),
    "count": Variable(("program", "primitive"), "", "how often the program has it"),
}


def _zero_shares(samples, key):
    """How often a pre-activation is exactly 0."""
    from jaxcalc.models.dense import mlp

    keys = jax.random.split(key, 4)
    first = mlp([2, 4, 1], "relu").init(keys[0])[0]
    corners = jnp.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    normal = jax.random.normal(keys[1], (samples,))
    scale = jnp.max(jnp.abs(normal)) / 127
    halves = jax.random.normal(keys[2], (2, samples)).astype("bfloat16")
    share = lambda values: float(jnp.mean(values == 0))
    return {
        "float64 normals": share(normal),
        "XOR net at its start": share(corners @ first.weights + first.biases),
        "int8 normals": share(jnp.round(normal / scale)),
        "bfloat16 differences": share(halves[0] - halves[1]),
    }


def _counts() -> dict[str, dict[str, int]]:
    """Primitives of programs: the sigmoid forth and back, and the reference cells of recurrent networks."""
    import equinox

    from jaxcalc.functions.activations import activation
    from jaxcalc.programs import walk

    sigmoid = activation("sigmoid")
    key, vector, scalar = jax.random.key(0), jnp.zeros(3), jax.ShapeDtypeStruct((), "float64")
    lstm, gru = equinox.nn.LSTMCell(3, 3, key=key), equinox.nn.GRUCell(3, 3, key=key)
    programs = {
        "sigmoid": walk.trace(sigmoid.value, scalar),
        "sigmoid and slope": walk.trace(jax.value_and_grad(sigmoid.value), scalar),
        "LSTM cell": walk.trace(lambda x: lstm(x, (vector, vector)), vector),
        "GRU cell": walk.trace(lambda x: gru(x, vector), vector),
    }
    count = lambda program, name: sum(equation.name == name for equation in program.everything())
    return {p: {n: count(program, n) for n in ("logistic", "tanh", "exp")} for p, program in programs.items()}


def _dead_unit(steps, key):
    """The gradient of a single unit by its bias, and how far descent moves it from a bias of -50."""
    from jaxcalc.functions.activations import activation

    inputs = jax.random.normal(key, (256, 4))
    targets = jnp.sin(inputs[:, 0])
    biases = jnp.array([-50.0, -20.0, -10.0, *np.arange(-6.0, 4.5, 0.5)])

    def gradient(phi, bias, weights):
        loss = lambda p: jnp.mean((phi(inputs @ p[:-1] + p[-1]) - targets) ** 2)
        return jax.grad(loss)(jnp.append(weights, bias))

    weights = jnp.full(4, 0.5)

    @functools.partial(jax.jit, static_argnums=0)
    def moved(phi):
        start = jnp.append(weights, -50.0)
        end, _ = jax.lax.scan(lambda p, _: (p - 0.1 * gradient(phi, p[-1], p[:-1]), None), start, length=steps)
        return jnp.abs(end - start).max()

    norms = lambda phi: jax.vmap(lambda b: jnp.abs(gradient(phi, b, weights)).sum())(biases)
    units = {name: activation(name) for name in ("relu", "leaky_relu")}
    return {
        "unit": np.array(list(units)),
        "bias": biases,
        "gradient_norm": np.stack([norms(phi) for phi in units.values()]),
        "moved": np.array([float(moved(phi)) for phi in units.values()]),
    }


def run(config, key):
    from jaxcalc.functions.activations import activation
    from jaxcalc.models.dense import deep_network, gradient_flow

    keys = jax.random.split(key, 4)
    relu, leaky = activation("relu"), activation("leaky_relu")
    spellings = {
        "jax.nn.relu": relu.value,
        "maximum(x, 0)": lambda x: jnp.maximum(x, 0),
        "where(x > 0, x, 0)": lambda x: jnp.where(x > 0, x, 0.0),
        "leaky ReLU": leaky.value,
    }
    shares, counts = _zero_shares(config.samples, keys[0]), _counts()
    network = deep_network(8, config.width, 1, max_depth=config.layers, phi=relu, initialisation="he")
    x = jax.random.normal(keys[1], (32, 8))
    gains = {"He": 1.0, "deviation 0.5/sqrt(n)": 0.5 / 2**0.5}
    flow = lambda gain: gradient_flow(network, lambda y: y[:, 0], network.init(keys[2], gain=gain), x, config.layers)
    signals = jax.jit(jax.vmap(lambda gain: flow(gain).signal))(jnp.array(list(gains.values())))

    dead = _dead_unit(config.steps, keys[3])
    stack = jax.random.normal(key, (6, 8, 8))
    vectors = jax.random.normal(keys[1], (8, 50))
    one = jnp.linalg.multi_dot(list(stack))
    through = vectors
    for matrix in stack[::-1]:
        through = matrix @ through
    return {
        "spelling": np.array(list(spellings)),
        "slope_at_zero": np.array([float(jax.grad(fun)(0.0)) for fun in spellings.values()]),
        "source": np.array(list(shares)),
        "zero_share": np.array(list(shares.values())),
        "factor_at_3": jax.grad(relu.value)(3.0),
        "initialisation": np.array(list(gains)),
        "layer": np.arange(config.layers + 1),
        "signal": signals,
        **dead,
        "collapse": jnp.linalg.norm(through - one @ vectors) / jnp.linalg.norm(through),
        "program": np.array(list(counts)),
        "primitive": np.array(["logistic", "tanh", "exp"]),
        "count": np.array([list(row.values()) for row in counts.values()]),
    }


def _slope_at_zero(dataset):
    slopes, names = dataset.slope_at_zero.values, dataset.spelling.values
    # Leaky ReLU is another function: it is told, but not a spelling of ReLU.
    of_relu = slopes[names != "leaky ReLU"]
    return Finding(
        equal(np.minimum(abs(of_relu), abs(of_relu - 1)), 0.0),
        measured=", ".join(f"{name}: {slope:g}" for name, slope in zip(names, slopes)),
    )


def _exact_zeros(dataset):
    continuous, *others = shares = dataset.zero_share.values
    told = (f"{name}: {100 * share:.3g} %" for name, share in zip(dataset.source.values, shares))
    return Finding(equal(continuous, 0.0), limits=less(0.0, others), measured=", ".join(told))


def _unattenuated(dataset):
    ratios = (dataset.signal.isel(layer=0) / dataset.signal.isel(layer=-1)).values
    names, factor = dataset.initialisation.values, float(dataset.factor_at_3)
    told = ", ".join(f"{ratio:.2g} ({name})" for name, ratio in zip(names, ratios))
    return Finding(
        close({"factor": factor}) & above(ratios[0], 0.1),
        limits=~above(ratios[1], 1e-3),
        measured=f"factor {factor:g}; over {int(dataset.layer[-1])} layers the signal is multiplied by {told}",
        figure="signal",
    )


def _dying(dataset):
    (relu, leaky), (relu_moved, leaky_moved) = dataset.gradient_norm.sel(bias=-50.0).values, dataset.moved.values
    return Finding(
        equal([relu, relu_moved], 0.0) & less(0.0, [leaky, leaky_moved]),
        measured=f"gradient norm {relu:g} (ReLU), {leaky:.3g} (leaky); parameters moved by {relu_moved:g}, "
        f"{leaky_moved:.3g}",
        figure="dead",
    )


def _reuses_forward(dataset):
    forward, both = (dataset["count"].sel(program=p).values for p in ("sigmoid", "sigmoid and slope"))
    extra = (both - forward).sum()
    return Finding(
        close({"extra_transcendentals": extra}) & above(forward.sum(), 1),
        measured=f"{extra} more transcendental operations with the slope than without",
    )


def _gates(dataset):
    lstm, gru = (dataset["count"].sel(program=cell, primitive=["logistic", "tanh"]).values for cell in _CELLS)
    counts = dict(zip(("lstm_logistic", "lstm_tanh", "gru_logistic", "gru_tanh"), (*lstm, *gru)))
    return Finding(
        # tanh is in the cells, as often as said ...
        close(counts, tolerance=0.0),
        # ... but an LSTM has three gates and a GRU two, and there are as many sigmoids.
        limits=equal([lstm[0], gru[0]], [3, 2]),
        measured=f"LSTM {lstm[0]} sigmoids and {lstm[1]} tanh for 3 gates; GRU {gru[0]} and {gru[1]} for 2",
    )


def figures(dataset):
    back = dataset.layer[-1] - dataset.layer
    passed = (dataset.signal / dataset.signal.isel(layer=-1)).assign_coords(layer=back.values)
    expected = {"He": 1.0**back, "half": 0.125 ** (back / 2)}
    told = {name: {"label": f"weights: {name}"} for name in dataset.initialisation.values}
    figure, panels = style.chart(
        passed,
        "layer",
        hue="initialisation",
        looks=told,
        theory={name: size.assign_coords(layer=back.values) for name, size in expected.items()},
        log="y",
        xlabel="layers passed backwards",
        ylabel="gradient over its first size",
        ylim=(1e-11, 1e2),
        legend="lower left",
        width=4.2,
        height=2.8,
    )
    panels[0, 0].xaxis.get_major_locator().set_params(integer=True)
    figure.set_label(
        "An active ReLU passes the gradient unchanged, the weights do not: ReLU is no cure by itself. Dashed: the "
        "expected size for infinite width, 1 for He's weights and $8^{-l/2}$ for weights of half the usual deviation."
    )
    dead, panels = style.chart(
        dataset.gradient_norm,
        "bias",
        hue="unit",
        looks={"relu": {"label": "ReLU"}, "leaky_relu": {"label": "leaky ReLU"}},
        log="y",
        xlabel="bias of the unit",
        ylabel="gradient, 1-norm",
        xlim=(-60, 5),
        ylim=(1.5e-3, 60),
        width=4.2,
        height=2.8,
    )
    panels[0, 0].set_xscale("symlog", linthresh=5)
    style.ticks(panels[0, 0].xaxis, [-50, -20, -10, -5, 0, 4])
    dead.set_label(
        "A ReLU unit whose bias keeps it below 0 for every sample has a gradient of exactly 0 (hollow triangles)."
    )
    return {"signal": figure, "dead": dead}


claims = {
    "relu-derivative-at-zero-convention": _slope_at_zero,
    "relu-zero-has-probability-zero": _exact_zeros,
    "relu-passes-gradient-unattenuated": _unattenuated,
    "dying-relu": _dying,
    "linear-layers-collapse": lambda data: below(data.collapse),
    "sigmoid-backward-reuses-forward": _reuses_forward,
    "tanh-inside-lstm-gates": _gates,
}

"""What do activation functions do to values and to gradients, on paper and in floating point?

Every activation with its slope in closed form against automatic differentiation, and the printed tables (``curves``);
where floating point leaves the formula: outputs that are exactly 1, exponentials that overflow (``saturation``); and
what becomes of units: kinks, dead units, gradients through twenty layers (``units``).
"""

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Check, Config, Finding, Part, Variable, above, below, cited, close, equal, holds, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

_EPS = float(np.finfo(float).eps)


# -- curves ------------------------------------------------------------------------------------------------------------


class Curves(Config):
    reach: int = pydantic.Field(30, ge=20)
    """the grid goes from -reach to reach"""
    density: int = pydantic.Field(40, ge=4)
    """points for each unit of length"""


def run_curves(config: Curves, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions.activations import ACTIVATIONS, activation

    # Ratios of whole numbers, so that 0 and all whole numbers are on the grid exactly.
    x = jnp.arange(-config.reach * config.density, config.reach * config.density + 1) / config.density
    slope = lambda fun: jax.vmap(jax.grad(fun))(x)
    elu, leaky = activation("elu"), activation("leaky_relu")
    alphas, leaks = np.array([0.5, 1.0, 2.0]), np.array([0.01, 0.5, 2.0])
    return {
        "x": x,
        "activation": np.array(list(ACTIVATIONS)),
        "value": np.stack([phi(x) for phi in ACTIVATIONS.values()]),
        "derivative": np.stack([phi.derivative(x) for phi in ACTIVATIONS.values()]),
        "by_ad": np.stack([slope(phi) for phi in ACTIVATIONS.values()]),
        "by_exponentials": jnp.exp(-x) / (1 + jnp.exp(-x)) ** 2,
        "framework_gelu": jax.nn.gelu(x),
        "alpha": alphas,
        "elu": np.stack([elu(x, alpha=a) for a in alphas]),
        "elu_by_ad": np.stack([slope(lambda t, a=a: elu(t, alpha=a)) for a in alphas]),
        "leak": leaks,
        "leaky": np.stack([leaky(x, slope=a) for a in leaks]),
        "leaky_by_ad": np.stack([slope(lambda t, a=a: leaky(t, slope=a)) for a in leaks]),
        "leaky_by_maximum": np.stack([jnp.maximum(a * x, x) for a in leaks]),
    }


def _of(dataset: "xarray.Dataset", name: str) -> tuple["xarray.DataArray", "xarray.DataArray"]:
    """Value and slope of an activation."""
    mine = dataset.sel(activation=name)
    return mine.value, mine.by_ad


def _table(name: str, places: list[int]) -> Callable[["xarray.Dataset"], Finding]:
    """Values and slopes at some places are those that the ledger prints."""

    def judge(dataset: "xarray.Dataset") -> Finding:
        value, slope = (each.sel(x=places).values for each in _of(dataset, name))
        told = [[float(f"{v:.4f}") for v in row] for row in (value, slope)]
        return Finding(close({"value": value, "slope": slope}), measured=told)

    return judge


def _sigmoid_slope(dataset: "xarray.Dataset") -> Finding:
    s, slope = _of(dataset, "sigmoid")
    gaps = [abs(slope - s * (1 - s)).values, abs(slope - dataset.by_exponentials).values]
    told = f"largest differences {gaps[0].max():.2g} and {gaps[1].max():.2g}"
    return Finding(below(gaps), measured=told, figure="activations")


def _quarter(dataset: "xarray.Dataset") -> Finding:
    slope = _of(dataset, "sigmoid")[1]
    peak, elsewhere = float(slope.sel(x=0)), slope.values[slope.x.values != 0]
    told = f"{peak:.16g} at 0, at most {elsewhere.max():.6g} elsewhere on the grid"
    return Finding(close(peak) & less(elsewhere, peak), measured=told, figure="activations")


def _leaky(dataset: "xarray.Dataset") -> Finding:
    x, gentle = dataset.x.values, dataset.leak.values < 1
    by_maximum = abs(dataset.leaky - dataset.leaky_by_maximum).transpose("leak", "x").values
    expected = _leaky_slope(dataset.x, dataset.leak).transpose("leak", "x").values
    slopes = abs(dataset.leaky_by_ad.values - expected)
    steeper = by_maximum[~gentle][:, abs(x) <= 3].max()
    both = [by_maximum[gentle], slopes[gentle][:, x != 0]]
    worst = max(each.max() for each in both)
    told = f"largest difference {worst:g} for slopes below 1; at slope 2 up to {steeper:g} on [-3, 3]"
    return Finding(below(both), measured=told)


def _elu(dataset: "xarray.Dataset") -> Finding:
    expected = (dataset.elu + dataset.alpha).where(dataset.x < 0, 1.0)
    gap = abs(dataset.elu_by_ad - expected).isel(x=dataset.x.values != 0)
    return Finding(below(gap), figure="activations")


def _gelu(dataset: "xarray.Dataset") -> Finding:
    near = dataset.isel(x=abs(dataset.x.values) <= 6)
    (exact, slope), (fit, fitted) = _of(near, "gelu"), _of(near, "gelu_tanh")
    gap = abs(exact - fit).values
    farthest = abs(float(near.x[int(np.argmax(gap))]))
    framework, slope_gap = abs(near.framework_gelu - fit).values, abs(slope - fitted).values
    return Finding(
        below(gap) & below(framework, 16 * _EPS),
        # The values part by more than rounding, and the slopes by more than the values may.
        limits=~below(gap, 1e-6) & ~below(slope_gap),
        measured=f"values part by up to {gap.max():.3g} at |x| = {farthest:.2f}, slopes by "
        f"{slope_gap.max():.2g}; the framework's default is the tanh form to {framework.max():.1g}",
        figure="gelu",
    )


def _tanh_slope(dataset: "xarray.Dataset") -> Finding:
    t, slope = _of(dataset, "tanh")
    gap = abs(slope - (1 - t**2)).values[abs(dataset.x.values) <= 5]
    return Finding(
        below(gap) & equal(slope.sel(x=0), 1.0) & below(slope, 1.0),
        measured=f"largest difference {gap.max():.2g}, largest slope {slope.values.max():g}",
        figure="activations",
    )


def _scaled_sigmoid(dataset: "xarray.Dataset") -> Check:
    half = dataset.x.values[abs(dataset.x.values) <= 10]
    s, t = _of(dataset, "sigmoid")[0], _of(dataset, "tanh")[0]
    return below(abs(t.sel(x=half).values - (2 * s.sel(x=2 * half).values - 1)))


def _leaky_slope(x: "xarray.DataArray", leak: "xarray.DataArray") -> "xarray.DataArray":
    """The slope that leaky ReLU should have: ``leak`` below 0, 1 above."""
    return (0 * x + leak).where(x < 0, 1.0)


def figures_of_curves(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    names = [str(name) for name in dataset.activation.values]
    near = dataset.sel(x=dataset.x[abs(dataset.x) <= 4].values)
    figure, axes = style.subplots(3, 4, width="page", height=5.2, sharex=True)
    panels = np.ravel(axes)
    for panel, name in zip(panels, names):
        mine = near.sel(activation=name)
        panel.plot(near.x, mine.value, color=style.COLORS["blue"], label="value")
        panel.plot(near.x, mine.by_ad, color=style.COLORS["vermilion"], label="slope, by AD")
        panel.plot(near.x, mine.derivative, **{**style.THEORY, "zorder": 3}, label="slope, closed form")
        panel.set_title(name)
        panel.set_xlim(-4, 4)
        if name in ("linear", "quadratic"):
            panel.set_ylim(-4.2, 4.2)
    for panel in panels[len(names) :]:
        panel.axis("off")
        panel.legend(*panels[0].get_legend_handles_labels(), loc="center")
    axes[1, 3].tick_params(labelbottom=True)
    for panel in axes[-1, :3]:
        panel.set_xlabel("x")
    for panel in axes[:, 0]:
        panel.set_ylabel("value, slope")
    figure.set_label(
        "Activations and their slopes. At the kinks of ReLU and leaky ReLU automatic differentiation takes a side: 0 "
        "and 1."
    )
    wide = dataset.sel(x=dataset.x[abs(dataset.x) <= 6].values)
    gelu, panel = style.subplots(width=4.4, height=2.7)
    exact, fitted = wide.sel(activation="gelu"), wide.sel(activation="gelu_tanh")
    panel.plot(wide.x, 1e4 * (fitted.value - exact.value), color=style.COLORS["blue"], label="value")
    panel.plot(wide.x, 1e4 * (fitted.by_ad - exact.by_ad), color=style.COLORS["vermilion"], label="slope")
    panel.set(xlabel="x", ylabel="tanh form less exact form ($10^{-4}$)", xlim=(-6, 6))
    panel.legend(loc="upper left", ncols=2)
    panel.set_ylim(-10, 13)
    gelu.set_label(
        "What most code calls GELU is a fit: its value and slope less those of x times the normal distribution."
    )
    return {"activations": figure, "gelu": gelu}


curves = Part(
    Curves,
    {
        "x": Variable(("x",), "", "argument"),
        "activation": Variable(("activation",), "", "name of the activation"),
        "value": Variable(("activation", "x"), "", "value"),
        "derivative": Variable(("activation", "x"), "", "slope in closed form"),
        "by_ad": Variable(("activation", "x"), "", "slope by reverse mode"),
        "by_exponentials": Variable(("x",), "", "e^-x / (1 + e^-x)^2"),
        "framework_gelu": Variable(("x",), "", "jax.nn.gelu with its defaults"),
        "alpha": Variable(("alpha",), "", "parameter of ELU"),
        "elu": Variable(("alpha", "x"), "", "ELU"),
        "elu_by_ad": Variable(("alpha", "x"), "", "its slope by reverse mode"),
        "leak": Variable(("leak",), "", "slope of leaky ReLU below 0"),
        "leaky": Variable(("leak", "x"), "", "leaky ReLU"),
        "leaky_by_ad": Variable(("leak", "x"), "", "its slope by reverse mode"),
        "leaky_by_maximum": Variable(("leak", "x"), "", "max(leak x, x)"),
    },
    "host",
    run_curves,
    figures=figures_of_curves,
    claims={
        "sigmoid-at-zero": lambda data: Finding(equal(_of(data, "sigmoid")[0].sel(x=0)), figure="activations"),
        "sigmoid-derivative-identity": _sigmoid_slope,
        "sigmoid-derivative-max-quarter": _quarter,
        "sigmoid-table": _table("sigmoid", [-6, -3, 0, 3, 6]),
        "sigmoid-slope-at-5": lambda data: close(_of(data, "sigmoid")[1].sel(x=[-5, 5])),
        "leaky-relu-formula": _leaky,
        "elu-derivative": _elu,
        "gelu-definition-vs-code": _gelu,
        "relu-values": lambda data: close(_of(data, "relu")[0].sel(x=[-2, -1, 0, 1, 2])),
        "tanh-derivative-identity": _tanh_slope,
        "tanh-is-scaled-sigmoid": _scaled_sigmoid,
        "tanh-table": _table("tanh", [-2, -1, 0, 1, 2]),
        "tanh-slope-at-3": lambda data: close(_of(data, "tanh")[1].sel(x=[0, 3])),
        "relu-gelu-popularity": cited,
    },
    doc="What are the activations, and are their slopes what the formulas say?",
)

# -- saturation --------------------------------------------------------------------------------------------------------

_DTYPES = ("bfloat16", "float32", "float64")


class Saturation(Config):
    samples: int = pydantic.Field(1_000_000, ge=10_000)
    """standard normal inputs for the means"""


def _one_branch(x: float) -> float:
    """The sigmoid as the formula reads, a Python scalar."""
    return 1 / (1 + math.exp(-x))


def _two_branches(x: float) -> float:
    """The sigmoid by the sign of x: no exponential of a positive number."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def _ratio(x: float) -> float:
    """tanh as a ratio of exponentials, a Python scalar."""
    return (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x))


def _raises(fun: Callable[[float], float], x: float) -> bool:
    """Whether Python's floats overflow on the way."""
    try:
        fun(x)
    except OverflowError:
        return True
    return False


def run_saturation(config: Saturation, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions.activations import activation

    sigmoid, tanh = activation("sigmoid"), activation("tanh")
    z = np.arange(0, 161) / 4  # quarters up to 40 are numbers of bfloat16 too
    fine = np.arange(0, 40 * 512 + 1) / 512
    value, mirrored, product, careful, ones = [], [], [], [], []
    for dtype in _DTYPES:
        at = jnp.asarray(z, dtype)
        s = sigmoid(at)
        for column, numbers in (
            (value, s),
            (mirrored, sigmoid(-at)),
            (product, s * (1 - s)),
            (careful, sigmoid.derivative(at)),
        ):
            column.append(np.asarray(numbers, np.float64))
        points = jnp.asarray(fine, dtype)
        first = int(np.argmax(np.asarray(sigmoid(points)) == 1.0))
        ones.append(float(points[first]))
    x = jax.random.normal(key, (config.samples,))
    t = 10.0 ** np.linspace(-9, 1, 61)
    steps = -np.arange(0, 130.0, dtype=np.float32)
    with np.errstate(over="ignore"):
        single = np.float32(1) / (np.float32(1) + np.exp(-steps))
    return {
        "dtype": np.array(_DTYPES),
        "z": z,
        "sigmoid": np.stack(value),
        "sigmoid_of_negative": np.stack(mirrored),
        "product": np.stack(product),
        "careful": np.stack(careful),
        "exactly_one_from": np.array(ones),
        "one_branch_raises": np.asarray(_raises(_one_branch, -710.0)),
        "two_branches": np.asarray(_two_branches(-710.0)),
        "single_zero_from": steps[np.argmax(single == 0)],
        "t": t,
        "ratio_error": np.array([abs(_ratio(u) / math.tanh(u) - 1) for u in t]),
        "ratio_raises_at_710": np.asarray(_raises(_ratio, 710.0)),
        "tanh_at_710": np.asarray(math.tanh(710.0)),
        "mean_of_tanh": jnp.mean(tanh(x)),
        "mean_of_sigmoid": jnp.mean(sigmoid(x)),
        "least_sigmoid": jnp.min(sigmoid(x)),
    }


def _open_interval(dataset: "xarray.Dataset") -> Finding:
    double, ones = dataset.sel(dtype="float64"), dataset.exactly_one_from.values
    told = (f"{at:.2f} ({name})" for at, name in zip(ones, dataset.dtype.values))
    reached = dataset["sigmoid"].max("z", skipna=False)
    return Finding(
        less(double["sigmoid"][double.z.values <= 36], 1.0) & less(0.0, double.sigmoid_of_negative),
        limits=equal(reached, 1.0) & close(ones, [5.56, 16.64, 36.74], 0.1),
        measured="exactly 1 from z = " + ", ".join(told),
        figure="saturation",
    )


def _two_branches_hold(dataset: "xarray.Dataset") -> Finding:
    stable, single = float(dataset.two_branches), float(dataset.single_zero_from)
    told = "overflows" if dataset.one_branch_raises else "does not raise"
    return Finding(
        close(stable, math.exp(-710), 1e-9, relative=True) & holds(dataset.one_branch_raises) & equal(single, -89.0),
        measured=f"at -710: {stable:.2g} by two branches, one branch {told}; one branch in single "
        f"precision is 0 from {single:g}",
    )


def _ratio_of_exponentials(dataset: "xarray.Dataset") -> Finding:
    error, t = dataset.ratio_error.values, dataset.t.values
    moderate, tiny = error[t >= 0.01], float(error[0])
    told = "OverflowError" if dataset.ratio_raises_at_710 else "no error"
    return Finding(
        below(moderate, 1e-12) & close({"value_at_710": dataset.tanh_at_710}, tolerance=0.0),
        limits=holds(dataset.ratio_raises_at_710) | above(tiny, 1e-12),
        measured=f"relative error {moderate.max():.1g} for x from 0.01 to 10 and {tiny:.2g} at "
        f"{t[0]:.0e}; at 710 {told}",
        figure="ratio",
    )


def _centred(dataset: "xarray.Dataset") -> Finding:
    means = {"tanh_mean": dataset.mean_of_tanh, "sigmoid_mean": dataset.mean_of_sigmoid}
    of_tanh, of_sigmoid, least = (float(v) for v in (*means.values(), dataset.least_sigmoid))
    return Finding(
        close(means) & less(0.0, least),
        measured=f"means {of_tanh:.4f} and {of_sigmoid:.4f}, least sigmoid {least:.3g}",
    )


def figures_of_saturation(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.6, height=3.0)
    true = dataset.careful.sel(dtype="float64")
    for name, color, marker in zip(_DTYPES, ("vermilion", "blue", "green"), "so^"):
        error = np.maximum(abs(dataset["product"].sel(dtype=name) / true - 1), 1e-17)
        axis.plot(dataset.z, error, color=style.COLORS[color], marker=marker, markevery=8, label=name)
        at = float(dataset.exactly_one_from.sel(dtype=name))
        axis.axvline(at, color=style.COLORS[color], linewidth=0.8, linestyle=":")
    axis.plot(dataset.z, np.finfo(float).eps / 2 * np.exp(dataset.z), **style.THEORY, label="$e^z$ eps/2")
    axis.set(yscale="log", ylim=(3e-18, 8), xlim=(0, 40), xlabel="argument z", ylabel="relative error of s(1 - s)")
    axis.legend(loc="lower right", bbox_to_anchor=(0.9, 0.0))
    figure.set_label(
        "The slope s(1 - s) loses its digits as 1 - s cancels, and is 0 from where the sigmoid is exactly 1 (dotted): "
        "the relative error is 1. Dashed: half an eps of double precision times e^z."
    )
    ratio, panel = style.subplots(width=4.0, height=2.7)
    panel.plot(dataset.t, np.maximum(dataset.ratio_error, 1e-17), ".-", color=style.COLORS["blue"], label="measured")
    panel.plot(dataset.t, np.finfo(float).eps / 2 / dataset.t, **style.THEORY, label="eps / (2 x)")
    panel.set(xscale="log", yscale="log", xlabel="x", ylabel="relative error", ylim=(5e-18, 1e-6))
    panel.legend(loc="upper right")
    ratio.set_label("tanh as a ratio of exponentials loses relative accuracy as x becomes small, and overflows at 710.")
    return {"saturation": figure, "ratio": ratio}


saturation = Part(
    Saturation,
    {
        "dtype": Variable(("dtype",), "", "precision"),
        "z": Variable(("z",), "", "argument"),
        "sigmoid": Variable(("dtype", "z"), "", "sigmoid"),
        "sigmoid_of_negative": Variable(("dtype", "z"), "", "sigmoid of -z"),
        "product": Variable(("dtype", "z"), "", "slope as s(1 - s)"),
        "careful": Variable(("dtype", "z"), "", "slope as s(z) s(-z)"),
        "exactly_one_from": Variable(("dtype",), "", "least z with a sigmoid of exactly 1"),
        "one_branch_raises": Variable((), "", "whether 1 / (1 + e^-x) raises in Python at -710"),
        "two_branches": Variable((), "", "sigmoid by the sign of x at -710 in Python"),
        "single_zero_from": Variable((), "", "largest whole x where one branch in single precision gives 0"),
        "t": Variable(("t",), "", "argument of tanh"),
        "ratio_error": Variable(("t",), "", "relative error of tanh as a ratio of exponentials"),
        "ratio_raises_at_710": Variable((), "", "whether the ratio raises in Python at 710"),
        "tanh_at_710": Variable((), "", "math.tanh at 710"),
        "mean_of_tanh": Variable((), "", "mean output for standard normal inputs"),
        "mean_of_sigmoid": Variable((), "", "mean output for standard normal inputs"),
        "least_sigmoid": Variable((), "", "least output among them"),
    },
    "host",
    run_saturation,
    figures=figures_of_saturation,
    claims={
        "sigmoid-open-unit-interval": _open_interval,
        "stable-sigmoid-two-branches": _two_branches_hold,
        "tanh-pure-python-ratio-of-exponentials": _ratio_of_exponentials,
        "tanh-zero-centred-sigmoid-not": _centred,
    },
    doc="Where does floating point leave the formulas of sigmoid and tanh?",
)

# -- units -------------------------------------------------------------------------------------------------------------


_CELLS = ("LSTM cell", "GRU cell")


class Units(Config):
    layers: int = pydantic.Field(20, ge=20)
    """layers of the deep ReLU network"""
    width: int = pydantic.Field(128, ge=8)
    """units in each"""
    samples: int = pydantic.Field(100_000, ge=1000)
    """random pre-activations in which exact zeros are counted"""
    steps: int = pydantic.Field(200, ge=1)
    """steps of gradient descent of the dead unit"""


def _zero_shares(samples: int, key: Any) -> dict[str, float]:
    """How often a pre-activation is exactly 0."""
    import jax
    import jax.numpy as jnp

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
    import jax
    import jax.numpy as jnp

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


def run_units(config: Units, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

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

    inputs = jax.random.normal(keys[3], (256, 4))
    targets = jnp.sin(inputs[:, 0])
    biases = jnp.array([-50.0, -20.0, -10.0, *np.arange(-6.0, 4.5, 0.5)])

    def gradient(phi, bias, weights):
        loss = lambda p: jnp.mean((phi(inputs @ p[:-1] + p[-1]) - targets) ** 2)
        return jax.grad(loss)(jnp.append(weights, bias))

    weights = jnp.full(4, 0.5)

    @functools.partial(jax.jit, static_argnums=0)
    def moved(phi):
        start = jnp.append(weights, -50.0)
        end, _ = jax.lax.scan(lambda p, _: (p - 0.1 * gradient(phi, p[-1], p[:-1]), None), start, length=config.steps)
        return jnp.abs(end - start).max()

    norms = lambda phi: jax.vmap(lambda b: jnp.abs(gradient(phi, b, weights)).sum())(biases)
    pair = {"relu": relu, "leaky_relu": leaky}
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
        "unit": np.array(list(pair)),
        "bias": biases,
        "gradient_norm": np.stack([norms(phi) for phi in pair.values()]),
        "moved": np.array([float(moved(phi)) for phi in pair.values()]),
        "collapse": jnp.linalg.norm(through - one @ vectors) / jnp.linalg.norm(through),
        "program": np.array(list(counts)),
        "primitive": np.array(["logistic", "tanh", "exp"]),
        "count": np.array([list(row.values()) for row in counts.values()]),
    }


def _slope_at_zero(dataset: "xarray.Dataset") -> Finding:
    slopes, names = dataset.slope_at_zero.values, dataset.spelling.values
    # Leaky ReLU is another function: it is told, but not a spelling of ReLU.
    of_relu = slopes[names != "leaky ReLU"]
    return Finding(
        equal(np.minimum(abs(of_relu), abs(of_relu - 1)), 0.0),
        measured=", ".join(f"{name}: {slope:g}" for name, slope in zip(names, slopes)),
    )


def _exact_zeros(dataset: "xarray.Dataset") -> Finding:
    continuous, *others = shares = dataset.zero_share.values
    told = (f"{name}: {100 * share:.3g} %" for name, share in zip(dataset.source.values, shares))
    return Finding(equal(continuous, 0.0), limits=less(0.0, others), measured=", ".join(told))


def _unattenuated(dataset: "xarray.Dataset") -> Finding:
    ratios = (dataset.signal.isel(layer=0) / dataset.signal.isel(layer=-1)).values
    names, factor = dataset.initialisation.values, float(dataset.factor_at_3)
    told = ", ".join(f"{ratio:.2g} ({name})" for name, ratio in zip(names, ratios))
    return Finding(
        close({"factor": factor}) & above(ratios[0], 0.1),
        limits=~above(ratios[1], 1e-3),
        measured=f"factor {factor:g}; over {int(dataset.layer[-1])} layers the signal is multiplied by {told}",
        figure="signal",
    )


def _dying(dataset: "xarray.Dataset") -> Finding:
    (relu, leaky), (relu_moved, leaky_moved) = dataset.gradient_norm.sel(bias=-50.0).values, dataset.moved.values
    return Finding(
        equal([relu, relu_moved], 0.0) & less(0.0, [leaky, leaky_moved]),
        measured=f"gradient norm {relu:g} (ReLU), {leaky:.3g} (leaky); parameters moved by {relu_moved:g}, "
        f"{leaky_moved:.3g}",
        figure="dead",
    )


def _reuses_forward(dataset: "xarray.Dataset") -> Finding:
    forward, both = (dataset["count"].sel(program=p).values for p in ("sigmoid", "sigmoid and slope"))
    extra = (both - forward).sum()
    return Finding(
        close({"extra_transcendentals": extra}) & above(forward.sum(), 1),
        measured=f"{extra} more transcendental operations with the slope than without",
    )


def _gates(dataset: "xarray.Dataset") -> Finding:
    lstm, gru = (dataset["count"].sel(program=cell, primitive=["logistic", "tanh"]).values for cell in _CELLS)
    counts = dict(zip(("lstm_logistic", "lstm_tanh", "gru_logistic", "gru_tanh"), (*lstm, *gru)))
    return Finding(
        # tanh is in the cells, as often as said ...
        close(counts, tolerance=0.0),
        # ... but an LSTM has three gates and a GRU two, and there are as many sigmoids.
        limits=equal([lstm[0], gru[0]], [3, 2]),
        measured=f"LSTM {lstm[0]} sigmoids and {lstm[1]} tanh for 3 gates; GRU {gru[0]} and {gru[1]} for 2",
    )


def figures_of_units(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.2, height=2.8)
    last = int(dataset.layer[-1])
    for name, color, marker in zip(dataset.initialisation.values, ("blue", "vermilion"), "os"):
        signal = dataset.signal.sel(initialisation=name)
        axis.plot(
            last - dataset.layer,
            signal / signal[-1],
            color=style.COLORS[color],
            marker=marker,
            label=f"weights: {name}",
        )
    back = np.arange(last + 1)
    axis.plot(back, 0.125 ** (back / 2), **style.THEORY, label=r"$8^{-l/2}$")
    axis.plot(back, np.ones(last + 1), **style.THEORY)
    axis.set(yscale="log", xlabel="layers passed backwards", ylabel="gradient over its first size", ylim=(1e-11, 1e4))
    axis.legend(loc="upper right")
    axis.xaxis.get_major_locator().set_params(integer=True)
    figure.set_label(
        "An active ReLU passes the gradient unchanged, the weights do not: ReLU is no cure by itself. Dashed: the "
        "expected size for infinite width, 1 for He's weights."
    )
    dead, panel = style.subplots(width=4.2, height=2.8)
    for name, color, marker in zip(dataset.unit.values, ("vermilion", "blue"), "so"):
        panel.plot(
            dataset.bias,
            dataset.gradient_norm.sel(unit=name),
            color=style.COLORS[color],
            marker=marker,
            label=str(name),
        )
    panel.set_yscale("symlog", linthresh=1e-3, linscale=0.4)
    panel.set_xscale("symlog", linthresh=5)
    panel.set_xticks([-50, -20, -10, -5, 0, 4], ["-50", "-20", "-10", "-5", "0", "4"])
    panel.set(xlabel="bias of the unit", ylabel="gradient, 1-norm", xlim=(-60, 5))
    panel.set_ylim(-2e-4, 60)
    panel.set_yticks([0, 1e-3, 1e-2, 1e-1, 1, 10], ["0", "$10^{-3}$", "$10^{-2}$", "$10^{-1}$", "1", "10"])
    panel.legend(loc="upper left")
    dead.set_label("A ReLU unit whose bias keeps it below 0 for every sample has a gradient of exactly 0.")
    return {"signal": figure, "dead": dead}


units = Part(
    Units,
    {
        "spelling": Variable(("spelling",), "", "a way to write a rectifier"),
        "slope_at_zero": Variable(("spelling",), "", "what jax.grad gives at 0"),
        "source": Variable(("source",), "", "where pre-activations come from"),
        "zero_share": Variable(("source",), "", "share of them that is exactly 0"),
        "factor_at_3": Variable((), "", "slope of ReLU at 3"),
        "initialisation": Variable(("initialisation",), "", "of the weights"),
        "layer": Variable(("layer",), "", "layer, 0 being the embedded input"),
        "signal": Variable(
            ("initialisation", "layer"), "", "root mean square norm of the gradient in a layer's output"
        ),
        "unit": Variable(("unit",), "", "activation of the single unit"),
        "bias": Variable(("bias",), "", "its bias"),
        "gradient_norm": Variable(("unit", "bias"), "", "1-norm of the gradient in its parameters"),
        "moved": Variable(("unit",), "", "largest change of a parameter by gradient descent from a bias of -50"),
        "collapse": Variable((), "", "six linear layers against their product, relative"),
        "program": Variable(("program",), "", "a traced program"),
        "primitive": Variable(("primitive",), "", "a transcendental primitive"),
        "count": Variable(("program", "primitive"), "", "how often the program has it"),
    },
    "host",
    run_units,
    figures=figures_of_units,
    claims={
        "relu-derivative-at-zero-convention": _slope_at_zero,
        "relu-zero-has-probability-zero": _exact_zeros,
        "relu-passes-gradient-unattenuated": _unattenuated,
        "dying-relu": _dying,
        "linear-layers-collapse": lambda data: below(data.collapse),
        "sigmoid-backward-reuses-forward": _reuses_forward,
        "tanh-inside-lstm-gates": _gates,
    },
    doc="What becomes of units: kinks, dead units, gradients through twenty layers?",
)

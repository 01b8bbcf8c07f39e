"""Do the rules of differentiation hold, to rounding, and what do textbook examples come to?

Every rule as a hand-written formula against automatic differentiation (``rules``), worked examples against what is
printed of them (``examples``), compositions of fifty layers as products of local derivatives (``chain``), and what a
derivative is in the first place: a limit, a tangent, a sign, a stationary point (``foundations``).
"""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import (
    Check,
    Config,
    Finding,
    Part,
    Variable,
    above,
    below,
    cited,
    close,
    equal,
    holds,
    less,
    slope,
)

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

# -- rules -------------------------------------------------------------------------------------------------------------

# The rules, by claim.
_LAWS = (
    "power-rule",
    "power-rule-negative-and-fractional",
    "sum-difference-constant-rules",
    "cubic-example",
    "product-rule",
    "quotient-rule",
    "quotient-as-product-with-power",
    "x2-exp-derivative-identity",
    "chain-rule",
    "chain-three-levels",
)
# The reference table, in the order in which it is printed.
_TABLE = ("xn", "exp", "ln", "sin", "cos", "sigmoid", "tanh", "relu", "abs", "ax", "loga")


# How those that have no name of their own are written.
_SHOWN = {"xn": "$x^3$", "abs": "$|x|$", "ax": "$2.5^x$", "loga": r"$\log_{2.5} x$"}


class Rules(Config):
    points: int = pydantic.Field(201, ge=2)
    """points at which each rule is checked"""


def _rules() -> dict[str, list[tuple[Callable[[Any], Any], Callable[[Any], Any], float, float]]]:
    """Claim -> [(function, its derivative by the rule, from, to), ...]."""
    import jax.numpy as jnp
    from jax.nn import relu, sigmoid

    power = lambda n: (lambda x: x**n, lambda x: n * x ** (n - 1), 0.3, 3.0)
    inner, of_inner = lambda x: x**2 + jnp.sin(x), lambda x: 2 * x + jnp.cos(x)
    three = lambda x: jnp.exp(jnp.sin(x**2))
    base = 2.5
    ratio = lambda x: (jnp.cos(x) * (2 + jnp.cos(x)) + jnp.sin(x) ** 2) / (2 + jnp.cos(x)) ** 2
    return {
        "power-rule": [power(n) for n in (2, 3, 5, -1, 0.5, -2.5)],
        "power-rule-negative-and-fractional": [
            (lambda x: 1 / x, lambda x: -1 / x**2, 0.3, 3.0),
            (jnp.sqrt, lambda x: 1 / (2 * jnp.sqrt(x)), 0.3, 3.0),
            (lambda x: 5.0 + 0 * x, jnp.zeros_like, 0.3, 3.0),
        ],
        "sum-difference-constant-rules": [
            (lambda x: jnp.sin(x) + jnp.exp(x), lambda x: jnp.cos(x) + jnp.exp(x), -2.0, 2.0),
            (lambda x: jnp.sin(x) - jnp.exp(x), lambda x: jnp.cos(x) - jnp.exp(x), -2.0, 2.0),
            (lambda x: 3.7 * jnp.sin(x) + 5.0, lambda x: 3.7 * jnp.cos(x), -2.0, 2.0),
        ],
        "cubic-example": [(lambda x: 5 * x**3 - 2 * x**2 + 7 * x - 3, lambda x: 15 * x**2 - 4 * x + 7, -2.0, 2.0)],
        "product-rule": [
            (lambda x: jnp.sin(x) * jnp.exp(x), lambda x: jnp.cos(x) * jnp.exp(x) + jnp.sin(x) * jnp.exp(x), -2.0, 2.0)
        ],
        "quotient-rule": [(lambda x: jnp.sin(x) / (2 + jnp.cos(x)), ratio, -3.0, 3.0)],
        "quotient-as-product-with-power": [
            (
                lambda x: jnp.sin(x) * (2 + jnp.cos(x)) ** -1,
                lambda x: jnp.cos(x) / (2 + jnp.cos(x)) + jnp.sin(x) ** 2 * (2 + jnp.cos(x)) ** -2,
                -3.0,
                3.0,
            )
        ],
        "x2-exp-derivative-identity": [(lambda x: x**2 * jnp.exp(x), lambda x: jnp.exp(x) * (2 * x + x**2), -2.0, 3.0)],
        "chain-rule": [
            (lambda x: jnp.tanh(inner(x)), lambda x: (1 - jnp.tanh(inner(x)) ** 2) * of_inner(x), -2.0, 2.0)
        ],
        "chain-three-levels": [
            (three, lambda x: jnp.exp(jnp.sin(x**2)) * jnp.cos(x**2) * (2 * x), -2.0, 2.0),
        ],
        "table-derivative-xn": [power(3)],
        "table-derivative-exp": [(jnp.exp, jnp.exp, -3.0, 3.0)],
        "table-derivative-ln": [(jnp.log, lambda x: 1 / x, 0.2, 4.0)],
        "table-derivative-sin": [(jnp.sin, jnp.cos, -4.0, 4.0)],
        "table-derivative-cos": [(jnp.cos, lambda x: -jnp.sin(x), -4.0, 4.0)],
        "table-derivative-sigmoid": [(sigmoid, lambda x: sigmoid(x) * (1 - sigmoid(x)), -6.0, 6.0)],
        "table-derivative-tanh": [(jnp.tanh, lambda x: 1 - jnp.tanh(x) ** 2, -4.0, 4.0)],
        "table-derivative-relu": [(relu, lambda x: (x > 0).astype(x.dtype), 0.01, 4.0)],
        "table-derivative-abs": [(jnp.abs, jnp.sign, -4.0, 1.3 * np.pi)],  # no point of which is the kink
        "table-derivative-ax": [(lambda x: base**x, lambda x: base**x * np.log(base), -3.0, 3.0)],
        "table-derivative-loga": [(lambda x: jnp.log(x) / np.log(base), lambda x: 1 / (x * np.log(base)), 0.2, 4.0)],
    }


def run_rules(config: Rules, key: Any) -> dict[str, Any]:
    import jax

    names, columns = [], {name: [] for name in ("at", "value", "derivative", "by_rule")}
    for claim, cases in _rules().items():
        for number, (fun, rule, low, high) in enumerate(cases):
            x = jax.numpy.linspace(low, high, config.points)
            names.append(claim if len(cases) == 1 else f"{claim} {number + 1}")
            for name, values in zip(columns, (x, fun(x), jax.vmap(jax.grad(fun))(x), rule(x))):
                columns[name].append(np.asarray(values))
    return {"rule": np.array(names), **{name: np.stack(values) for name, values in columns.items()}}


def _residuals(dataset: "xarray.Dataset") -> "xarray.DataArray":
    """The largest difference of each rule over the largest derivative."""
    gap = abs(dataset.derivative - dataset.by_rule).max("point", skipna=False)
    return gap / np.maximum(abs(dataset.by_rule).max("point", skipna=False), 1.0)


def _obeyed(claim: str, dataset: "xarray.Dataset") -> Finding:
    """All cases of a rule."""
    cases = [name for name in dataset.rule.values.astype(str) if name.partition(" ")[0] == claim]
    return Finding(below(_residuals(dataset).sel(rule=cases)), figure="residuals")


def figures_of_rules(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    residuals = _residuals(dataset) / np.finfo(float).eps
    figure, axis = style.subplots(width=5.4, height=0.8 + 0.17 * residuals.size)
    places = np.arange(residuals.size)
    axis.plot(np.maximum(residuals.values, 0.05), places, "o", color=style.COLORS["blue"])
    axis.set_yticks(places, [str(name).replace("table-derivative-", "table: ") for name in residuals.rule.values])
    axis.set_ylim(residuals.size - 0.5, -0.5)
    axis.set(xscale="log", xlim=(0.04, 1e2), xlabel="largest residual over the largest derivative, in units of eps")
    axis.axvline(1.0, **style.THEORY)
    figure.set_label("Rules of differentiation against automatic differentiation; exact agreement is drawn at 0.05.")
    table = [f"table-derivative-{name}" for name in _TABLE]
    drawn, panels = style.subplots(3, 4, width="page", height=4.6)
    for panel, name in zip(panels.ravel(), table):
        one = dataset.sel(rule=name)
        panel.plot(one["at"], one.value, color=style.COLORS["blue"], label="f")
        panel.plot(one["at"], one.derivative, color=style.COLORS["vermilion"], label="f'")
        short = name.removeprefix("table-derivative-")
        panel.set_title(_SHOWN.get(short, short))
    panels.ravel()[-1].axis("off")
    panels.ravel()[-1].legend(*panels.ravel()[0].get_legend_handles_labels(), loc="center")
    drawn.set_label("The derivative table: each function and its derivative.")
    return {"residuals": figure, "table": drawn}


rules = Part(
    Rules,
    {
        "rule": Variable(("rule",), "", "the claim, and which of its cases"),
        "at": Variable(("rule", "point"), "", "where the derivative is taken"),
        "value": Variable(("rule", "point"), "", "the function"),
        "derivative": Variable(("rule", "point"), "", "its derivative by automatic differentiation"),
        "by_rule": Variable(("rule", "point"), "", "its derivative by the rule, written out"),
    },
    "host",
    run_rules,
    figures=figures_of_rules,
    claims={
        claim: functools.partial(_obeyed, claim) for claim in (*_LAWS, *(f"table-derivative-{name}" for name in _TABLE))
    },
    doc="Do the rules of differentiation hold to rounding?",
)

# -- examples ----------------------------------------------------------------------------------------------------------


class Examples(Config):
    weight: float = 100.0
    """weight of the house-price example"""
    area: float = 1200.0
    """square feet of the house-price example, not scaled"""


def _examples() -> dict[str, Callable[[], list[Any]]]:
    """Claim -> the numbers that it prints."""
    import jax
    import jax.numpy as jnp
    from jax.nn import sigmoid

    slopes = lambda fun, at: [float(jax.grad(fun)(float(x))) for x in at]
    helper = lambda coefficient, exponent: [coefficient * exponent, exponent - 1]
    bump = lambda x: x**2 * jnp.exp(x)
    return {
        "power-rule-cube-identity-constant": lambda: [
            *slopes(lambda x: x**3, [1.7]),
            *slopes(lambda x: x, [1.7]),
            *slopes(lambda x: 4.0 + 0 * x, [1.7]),
        ],
        "quartic-derivative-values": lambda: slopes(lambda x: 3 * x**4 + 2 * x**2 - 7 * x + 5, (0, 1, 2)),
        "power-rule-function-outputs": lambda: [*helper(3, 4), *helper(1, 0.5)],
        "house-quadratic-slope-at-100": lambda: slopes(lambda w: (w - 150) ** 2, [100]),
        "x2-exp-derivative-printed-array": lambda: slopes(bump, (0, 1, 2)),
        "x2-exp-derivative-at-1": lambda: slopes(bump, [1]),
        "chain-sin-x2": lambda: slopes(lambda x: jnp.sin(x**2), [1]),
        "chain-sigmoid-3x-plus-2": lambda: slopes(lambda x: sigmoid(3 * x + 2), (0, 1, 2)),
        "square-table": lambda: [*(float(x) ** 2 for x in range(-2, 3)), *slopes(lambda x: x**2, range(-2, 3))],
        "square-first-principles": lambda: slopes(lambda x: x**2, [3]),
    }


def run_examples(config: Examples, key: Any) -> dict[str, Any]:
    import jax
    from jax.nn import sigmoid

    found = {name: make() for name, make in _examples().items()}
    widest = max(map(len, found.values()))
    padded = [np.pad(np.asarray(v, float), (0, widest - len(v)), constant_values=np.nan) for v in found.values()]
    steps = 2.0 ** -np.arange(1, 21)
    quotient = ((3.0 + steps) ** 2 - 9.0) / steps
    pull = jax.grad(lambda w, area: (sigmoid(w * area) - 1.0) ** 2)
    return {
        "example": np.array(list(found)),
        "measured": np.stack(padded),
        "step": steps,
        "quotient_residual": abs(quotient - (6.0 + steps)),
        "activation": np.asarray(sigmoid(config.weight * config.area)),
        "gradient": np.asarray(pull(config.weight, config.area)),
        "scaled_gradient": np.asarray(pull(1e-3 * config.weight, 1e-3 * config.area)),
        "rules_needed": np.asarray(len(_primitives())),
        "sign_changes": np.asarray(_sign_changes()),
    }


def _primitives() -> set[str]:
    """The primitives that the functions of the reference table are made of, each with a derivative rule of its own."""
    import jax

    from jaxcalc.programs import walk

    found: set[str] = set()
    for claim, cases in _rules().items():
        if claim.startswith("table-derivative-"):
            for fun, *_ in cases:
                program = walk.trace(fun, jax.ShapeDtypeStruct((), "float64"))
                found |= {equation.name for equation in program.everything()}
    return found - {"convert_element_type", "broadcast_in_dim"}


def _sign_changes() -> int:
    """How often the sine changes its sign on (0, 2000 pi], ends counted once."""
    x = (np.arange(4001) + 0.5) * np.pi / 2
    signs = np.sign(np.sin(x))
    return int(np.count_nonzero(signs[1:] * signs[:-1] < 0))


def _printed(claim: str, dataset: "xarray.Dataset") -> Check:
    """The numbers of an example; how many they are is the ledger's."""
    return close(dataset.measured.sel(example=claim).dropna("place"))


def _first_principles(dataset: "xarray.Dataset") -> Check:
    return _printed("square-first-principles", dataset) & equal(dataset.quotient_residual, 0.0)


def _raw_price(dataset: "xarray.Dataset") -> Finding:
    raw, scaled = float(dataset.gradient), float(dataset.scaled_gradient)
    return Finding(
        less(0.0, abs(scaled)),
        limits=equal(dataset.activation, 1.0) & equal(raw, 0.0),
        measured=f"with areas in thousands and prices in millions a gradient of {scaled:.3g}; as printed "
        f"an activation of {float(dataset.activation):.17g} and a gradient of {raw:g}",
    )


def _five_suffice(dataset: "xarray.Dataset") -> Finding:
    needed, changes = float(dataset.rules_needed), float(dataset.sign_changes)
    return Finding(
        below(needed, 5) & below(changes, 1),
        measured=f"the table needs {needed:g} rules; the sine changes its sign {changes:g} times",
    )


_EXAMPLES = (
    "power-rule-cube-identity-constant",
    "quartic-derivative-values",
    "power-rule-function-outputs",
    "house-quadratic-slope-at-100",
    "x2-exp-derivative-printed-array",
    "x2-exp-derivative-at-1",
    "chain-sin-x2",
    "chain-sigmoid-3x-plus-2",
    "square-table",
)
examples = Part(
    Examples,
    {
        "example": Variable(("example",), "", "the claim"),
        "measured": Variable(("example", "place"), "", "the numbers that it is about"),
        "step": Variable(("step",), "", "dyadic step h"),
        "quotient_residual": Variable(("step",), "", "difference quotient of x^2 at 3 less 6 + h"),
        "activation": Variable((), "", "sigmoid of weight times area"),
        "gradient": Variable((), "", "derivative of the squared error by the weight"),
        "scaled_gradient": Variable((), "", "the same in thousands of square feet and millions of the price's unit"),
        "rules_needed": Variable((), "", "primitives with a derivative rule behind the reference table"),
        "sign_changes": Variable((), "", "of the sine on (0, 2000 pi]"),
    },
    "host",
    run_examples,
    claims={
        **{claim: functools.partial(_printed, claim) for claim in _EXAMPLES},
        "square-first-principles": _first_principles,
        "running-example-sigmoid-of-raw-price": _raw_price,
        "five-derivatives-suffice": _five_suffice,
    },
    doc="What do textbook examples of derivatives come to?",
)

# -- chain -------------------------------------------------------------------------------------------------------------


class Chain(Config):
    layers: int = pydantic.Field(50, ge=2)
    """layers of tanh, each with a weight of its own"""


def run_chain(config: Chain, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    from jax.nn import sigmoid

    weights = jnp.linspace(0.9, 1.3, config.layers)

    def values(x):
        def layer(a, w):
            a = jnp.tanh(w * a)
            return a, a

        return jax.lax.scan(layer, x, weights)[1]

    x = jnp.asarray(0.4)
    outputs = values(x)
    factors = weights * (1 - outputs**2)
    by_depth = jax.jacfwd(values)(x)
    w, feature, target = 0.7, 0.9, 1.0
    score = sigmoid(w * feature)
    return {
        "layer": np.arange(1, config.layers + 1),
        "factor": factors,
        "product": jnp.cumprod(factors),
        "derivative": by_depth,
        "two_step": jax.grad(lambda w: (sigmoid(w * feature) - target) ** 2)(w),
        "two_step_product": 2 * (score - target) * score * (1 - score) * feature,
    }


def _is_product(dataset: "xarray.Dataset") -> Finding:
    fifty = dataset.sel(layer=np.arange(1, 51))
    gap = abs(fifty["product"] / fifty.derivative - 1).values.max()
    return Finding(
        close(fifty["product"], fifty.derivative, relative=True),
        measured=f"{gap:.2g} over 50 layers; product {float(fifty['product'][-1]):.3g}",
        figure="chain",
    )


def figures_of_chain(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.6, height=3.0)
    axis.plot(dataset.layer, dataset.factor, ".", color=style.COLORS["orange"], label="local derivative of a layer")
    axis.plot(dataset.layer, dataset["product"], color=style.COLORS["blue"], label="product of them so far")
    axis.plot(dataset.layer, dataset.derivative, "k--", linewidth=1.0, label="derivative by jacfwd")
    axis.set(xlabel="layer", ylabel="derivative", yscale="log")
    axis.legend(loc="best")
    figure.set_label("The derivative of a chain is the product of its local derivatives.")
    return {"chain": figure}


chain = Part(
    Chain,
    {
        "layer": Variable(("layer",), "", "layers so far"),
        "factor": Variable(("layer",), "", "local derivative"),
        "product": Variable(("layer",), "", "product of the local derivatives so far"),
        "derivative": Variable(("layer",), "", "derivative by the input, by forward mode"),
        "two_step": Variable((), "", "derivative of loss(sigmoid(w x)) by w"),
        "two_step_product": Variable((), "", "product of its three local derivatives"),
    },
    "host",
    run_chain,
    figures=figures_of_chain,
    claims={
        "fifty-layer-chain-is-product": _is_product,
        "two-step-model-three-factors": lambda dataset: close(dataset.two_step, dataset.two_step_product),
    },
    doc="Is the derivative of a composition the product of local derivatives, fifty layers deep?",
)

# -- foundations -------------------------------------------------------------------------------------------------------


class Foundations(Config):
    samples: int = pydantic.Field(2000, ge=10)
    """random points for the rule of signs"""
    seed_of_samples: int = 0
    """seed of those points"""


def run_foundations(config: Foundations, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    h = 10.0 ** -np.arange(1, 17)
    x = np.random.default_rng(config.seed_of_samples).uniform(-4, 4, config.samples)
    bumpy = lambda x: jnp.sin(3 * x) + 0.3 * x**2
    pull, steps = jax.vmap(jax.grad(bumpy))(jnp.asarray(x)), np.array([1e-3, 1e-2, 1e-1, 1.0])
    drops = [np.asarray(bumpy(x) - bumpy(x - step * pull)) for step in steps]
    shapes = {"x^3": lambda x: x**3, "-x^2": lambda x: -(x**2), "x^4": lambda x: x**4}
    around = jnp.linspace(-0.1, 0.1, 21)
    steep = lambda w: 1e6 * w**2
    line = 2.0 * np.linspace(-1, 1, 40) + 1.0
    return {
        "h": h,
        "quotient_error": abs((np.sin(1 + h) - np.sin(1.0)) / h - np.cos(1.0)),
        "tangent_error": abs(np.exp(0.3 + h) - np.exp(0.3) * (1 + h)),
        "step": steps,
        "falls": np.array([np.mean(np.heaviside(drop, 0.0)) for drop in drops]),
        "shape": np.array(list(shapes)),
        "slope_at_zero": np.array([float(jax.grad(f)(0.0)) for f in shapes.values()]),
        "is_minimum": np.array([bool((f(around) >= f(0.0)).all()) for f in shapes.values()]),
        "slope_of_steep": np.asarray(jax.grad(steep)(0.0)),
        "change_of_steep": steep(h),
        "nudge_ratio": np.asarray((4998.0 - 5000.0) / 0.001),
        "implied_loss": np.asarray((-2000.0 / (2 * 1200.0)) ** 2),
        "sinc": np.sin(h) / h,
        "product_of_limits": (np.sin(h) / h) * (np.expm1(h) / h),
        "cosine_of": np.cos(np.sin(h)),
        "sign_of": np.sign(abs(h)),
        "sign_at_limit": np.asarray(np.sign(0.0)),
        "line": _fitted(np.linspace(-1, 1, 40), line),
    }


def _fitted(x: np.ndarray, y: np.ndarray) -> Any:
    """Slope and intercept of the line that gradient descent on the mean squared error ends at."""
    import jax
    import jax.numpy as jnp

    loss = lambda p: jnp.mean((p[0] * x + p[1] - y) ** 2)
    step = lambda p, _: (p - 0.4 * jax.grad(loss)(p), None)
    return jax.lax.scan(step, jnp.zeros(2), None, length=400)[0]


def _nudge(dataset: "xarray.Dataset") -> Finding:
    ratio, implied = float(dataset.nudge_ratio), float(dataset.implied_loss)
    return Finding(
        close(ratio),
        limits=~close(implied, 5000.0, 1.0),
        measured=f"{ratio:.6g}; that slope with 1200 square feet belongs to a loss of {implied:.3g}, not 5000",
    )


def _quotient(dataset: "xarray.Dataset") -> Finding:
    large = dataset.sel(h=slice(None, 0.9e-6))
    return Finding(slope(large.h, large.quotient_error), figure="limit")


def _tangent(dataset: "xarray.Dataset") -> Finding:
    large = dataset.sel(h=slice(None, 0.9e-5))
    return Finding(slope(large.h, large.tangent_error), figure="limit")


def _insensitive(dataset: "xarray.Dataset") -> Finding:
    """What a nudge changes falls faster than the nudge, and yet may be large."""
    change = dataset.change_of_steep
    nudged = float(_at(change, 1e-2))
    return Finding(
        equal(dataset.slope_of_steep, 0.0) & slope(dataset.h, change),
        limits=above(nudged, 1.0),
        measured=f"slope {float(dataset.slope_of_steep):g}, a nudge of 1e-08 changes the loss by "
        f"{float(_at(change, 1e-8)):.2g}, one of 0.01 by {nudged:g}",
    )


def _signs(dataset: "xarray.Dataset") -> Finding:
    shares = zip(dataset.step.values, dataset.falls.values)
    return Finding(
        equal(dataset.falls.sel(step=1e-3)),
        measured=", ".join(f"{100 * share:.1f} % at step {step:g}" for step, share in shares),
        figure="signs",
    )


def _stationary(dataset: "xarray.Dataset") -> Finding:
    minimum, slopes = dataset.is_minimum, dataset.slope_at_zero
    there = ", ".join(dataset["shape"].values[minimum.values.astype(bool)])
    return Finding(
        equal(slopes) & holds(minimum.sel(shape="x^4")),
        limits=~holds(minimum),
        measured=f"slopes {slopes.values.tolist()}; a minimum only of {there}",
    )


def _sinc(dataset: "xarray.Dataset") -> Finding:
    found = dataset.sinc.sel(h=slice(None, 0.9e-4))
    return Finding(close(found), measured=", ".join(f"{value:.8f}" for value in found.values))


def _composed(dataset: "xarray.Dataset") -> Check:
    return close(
        {
            "limit_cos": _at(dataset.cosine_of, 1e-8),
            "limit_sign": _at(dataset.sign_of, 1e-8),
            "sign_at_limit": dataset.sign_at_limit,
        }
    )


def _at(values: "xarray.DataArray", h: float) -> "xarray.DataArray":
    return values.sel(h=h, method="nearest", tolerance=1e-3 * h)


def figures_of_foundations(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.6, height=3.0)
    h = dataset.h.values
    axis.plot(h, dataset.quotient_error, "o-", color=style.COLORS["blue"], label="quotient of sin at 1")
    error = np.maximum(dataset.tangent_error.values, 1e-18)
    axis.plot(h, error, "s-", color=style.COLORS["vermilion"], label="tangent of exp at 0.3")
    axis.plot(h[:8], 0.42 * h[:8], **style.THEORY)
    axis.plot(h[:8], 0.67 * h[:8] ** 2, **style.THEORY)
    axis.set(xscale="log", yscale="log", xlabel="step h", ylabel="error", ylim=(1e-18, 1))
    axis.legend(loc="lower right")
    figure.set_label(
        "The difference quotient's error falls with h until rounding takes over; the tangent's falls with its square. "
        "Dashed: h |f''| / 2 and h^2 f'' / 2."
    )
    signs, panel = style.subplots(width=4.0, height=2.6)
    panel.plot(dataset.step, 100 * dataset.falls, "o-", color=style.COLORS["blue"])
    panel.set(
        xscale="log", xlabel="step, in multiples of the slope", ylabel="points where the value falls (%)", ylim=(0, 105)
    )
    signs.set_label("A step against the slope lowers the value if it is short: the rule is local.")
    return {"limit": figure, "signs": signs}


foundations = Part(
    Foundations,
    {
        "h": Variable(("h",), "", "step"),
        "quotient_error": Variable(("h",), "", "forward difference of sin at 1 less cos 1"),
        "tangent_error": Variable(("h",), "", "exp less its tangent at 0.3"),
        "step": Variable(("step",), "", "step against the slope, in multiples of it"),
        "falls": Variable(("step",), "", "share of points where the value falls"),
        "shape": Variable(("shape",), "", "a function with a stationary point at 0"),
        "slope_at_zero": Variable(("shape",), "", "its derivative there"),
        "is_minimum": Variable(("shape",), "", "whether nothing near is lower"),
        "slope_of_steep": Variable((), "", "derivative of 1e6 w^2 at 0"),
        "change_of_steep": Variable(("h",), "", "change of 1e6 w^2 from 0 to h"),
        "nudge_ratio": Variable((), "", "change of the loss over change of the weight"),
        "implied_loss": Variable((), "", "squared error that has a slope of -2000 at 1200 square feet"),
        "sinc": Variable(("h",), "", "sin(h) / h"),
        "product_of_limits": Variable(("h",), "", "sin(h) / h times (e^h - 1) / h"),
        "cosine_of": Variable(("h",), "", "cos(sin(h))"),
        "sign_of": Variable(("h",), "", "sign(|h|)"),
        "sign_at_limit": Variable((), "", "sign(0)"),
        "line": Variable(("parameter",), "", "slope and intercept that gradient descent ends at"),
    },
    "host",
    run_foundations,
    figures=figures_of_foundations,
    claims={
        "nudge-ratio-worked-example": _nudge,
        "derivative-is-limit-of-quotient": _quotient,
        "derivative-is-tangent-slope": _tangent,
        "zero-derivative-means-insensitive": _insensitive,
        "sign-rule-of-derivative": _signs,
        "zero-derivative-means-minimum": _stationary,
        "sinc-limit-table": _sinc,
        "numerical-limit-sinc": lambda dataset: close(_at(dataset.sinc, 1e-8)),
        "limit-product-law": lambda dataset: close(_at(dataset.product_of_limits, 1e-8)),
        "limit-composition-law": _composed,
        "linear-regression-finds-slope-and-intercept": lambda dataset: close(dataset.line),
        "newton-leibniz-history": cited,
    },
    doc="What is a derivative: a limit, a tangent, a sign, a stationary point?",
)

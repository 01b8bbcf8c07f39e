"""How far can derivatives from values alone be trusted?

Error against step for every scheme in two precisions (``steps``), central against one-sided quotients at many points
(``rivals``), and the listings and prints of popular texts, with their traps (``listings``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

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
    less,
)

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure

# -- steps -------------------------------------------------------------------------------------------------------------

_PRECISIONS = ("float32", "float64")


class Steps(Config):
    at: float = 1.0
    """where exp(sin x) is differentiated"""
    halvings: int = pydantic.Field(50, ge=12, le=60)
    """steps 2^-1, 2^-2, ... to this power"""


def _smooth(x: Any) -> Any:
    import jax.numpy as jnp

    return jnp.exp(jnp.sin(x))


def run_steps(config: Steps, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import Scheme, finite_differences, stencil

    schemes, steps = get_args(Scheme), 2.0 ** -np.arange(1.0, config.halvings + 1)
    error = np.full((len(_PRECISIONS), len(schemes), len(steps)), np.nan)
    theory_step, theory_error = np.full((2, len(_PRECISIONS), len(schemes)), np.nan)
    floor = np.zeros(len(_PRECISIONS))
    for i, precision in enumerate(_PRECISIONS):
        x = jnp.asarray(config.at, precision)
        there = float(x)
        exact = np.cos(there) * np.exp(np.sin(there))
        relative = lambda value, exact=exact: abs(np.asarray(value, float) / exact - 1)
        floor[i] = relative(jax.grad(_smooth)(x))
        # A shorter step is lost in the point, except off the real line.
        usable = steps >= 2 * float(jnp.finfo(precision).eps)
        for j, scheme in enumerate(schemes):
            quotient = jax.jit(lambda h, s=scheme, x=x: finite_differences.derivative(_smooth, scheme=s, step=h)(x))
            taken = usable | (scheme == "complex step")
            error[i, j, taken] = relative(jax.vmap(quotient)(jnp.asarray(steps[taken], precision)))
            chosen = finite_differences.step_sizes(x, scheme=scheme)
            theory_step[i, j], theory_error[i, j] = chosen, relative(quotient(chosen))
    return {
        "precision": np.array(_PRECISIONS),
        "scheme": np.array(schemes),
        "step": steps,
        "order": np.array([stencil(scheme).order for scheme in schemes]),
        "error": error,
        "theory_step": theory_step,
        "theory_error": theory_error,
        "floor": floor,
    }


def _judge_orders(dataset: "xarray.Dataset") -> Finding:
    # 2^-6 to 2^-13: long enough for truncation to be all, short enough for its leading term to be.
    window = np.log(dataset.error.sel(precision="float64").isel(step=slice(5, 13)))
    order = lambda name: np.polyfit(np.log(window.step), window.sel(scheme=name), 1)[0]
    forward, backward, central = map(order, ("forward", "backward", "central"))
    return Finding(
        close({"forward": [forward, backward], "central": central}),
        measured=f"forward {forward:.3f}, backward {backward:.3f}, central {central:.3f}",
    )


def tables_of_steps(dataset: "xarray.Dataset") -> dict[str, list[dict[str, Any]]]:
    rows = []
    for precision in map(str, dataset.precision.values):
        for scheme in map(str, dataset.scheme.values):
            one = dataset.sel(precision=precision, scheme=scheme)
            best = int(np.nanargmin(one.error.values))
            rows.append(
                {
                    "precision": precision,
                    "scheme": scheme,
                    "order": int(one.order),
                    "best step": float(f"{float(dataset.step[best]):.2g}"),
                    "error there": float(f"{float(one.error[best]):.2g}"),
                    "step by theory": float(f"{float(one.theory_step):.2g}"),
                    "error at it": float(f"{float(one.theory_error):.2g}"),
                    "automatic differentiation": float(f"{float(one.floor):.2g}"),
                }
            )
    return {"Best step and the step by theory": rows}


def figures_of_steps(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, panels = style.subplots(1, 2, width="page", height=3.2, sharey=True)
    # One-sided quotients coincide: backward is drawn open, around forward.
    colors = ("blue", "sky", "vermilion", "green", "purple", "orange")
    for panel, precision in zip(panels, map(str, dataset.precision.values)):
        data = dataset.sel(precision=precision)
        for scheme, color, marker in zip(map(str, data.scheme.values), colors, "oo^DvP"):
            one = data.sel(scheme=scheme)
            backward = scheme == "backward"
            look: dict[str, Any] = {"color": style.COLORS[color], "marker": marker, "label": scheme, "markersize": 3}
            if backward:
                look |= {
                    "markersize": 5,
                    "markerfacecolor": "none",
                    "markeredgewidth": 0.7,
                    "linewidth": 0,
                    "zorder": 1,
                }
            if scheme == "complex step":
                # Of central's order: a wide line below it.
                look |= {"linewidth": 3.5, "marker": "", "alpha": 0.6, "zorder": 1}
            panel.plot(data.step, np.maximum(one.error.values, 1e-17), **look)
            if not backward and scheme != "complex step":
                panel.plot(
                    one.theory_step,
                    max(float(one.theory_error), 1e-17),
                    "*",
                    markersize=11,
                    markeredgewidth=0.6,
                    markeredgecolor="black",
                    color=style.COLORS[color],
                    zorder=4,
                )
        eps = float(np.finfo(precision).eps)
        for order, scale in ((1, 0.6), (2, 0.6), (4, 0.15)):
            line = scale * data.step.values**order
            panel.plot(data.step[line > eps], line[line > eps], **style.THEORY)
        panel.axhline(max(float(data.floor), 1e-17), color="black", linewidth=1.0, label="automatic differentiation")
        panel.set(xscale="log", yscale="log", xlabel="step h", title=precision, ylim=(4e-18, 20), xlim=(eps / 4, 1))
    panels[0].set_ylabel("relative error of the derivative")
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    style.panel_labels(panels)
    figure.set_label(
        "Derivative of exp(sin x) by difference quotients: truncation falls with the step, rounding grows. Stars: the "
        "step by theory (the complex step's is far to the left). Dashed: slopes 1, 2 and 4. An exact "
        "result is drawn at 1e-17."
    )
    return {"steps": figure}


steps = Part(
    Steps,
    {
        "precision": Variable(("precision",), "", "of the function's values"),
        "scheme": Variable(("scheme",), "", "of the difference quotient"),
        "step": Variable(("step",), "", "step h; of a Richardson ladder, the smallest"),
        "order": Variable(("scheme",), "", "order of accuracy"),
        "error": Variable(("precision", "scheme", "step"), "", "relative error of the derivative"),
        "theory_step": Variable(("precision", "scheme"), "", "the step that balances truncation and rounding"),
        "theory_error": Variable(("precision", "scheme"), "", "relative error at that step"),
        "floor": Variable(("precision",), "", "relative error of automatic differentiation"),
    },
    "host",
    run_steps,
    figures=figures_of_steps,
    claims={"forward-first-central-second-order": _judge_orders},
    tables=tables_of_steps,
    doc="How does the error of a difference quotient depend on its step, and what is the best step?",
)

# -- rivals ------------------------------------------------------------------------------------------------------------


class Rivals(Config):
    points: int = pydantic.Field(4000, ge=10)
    """points at which each function is differentiated"""


def _convex() -> dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], float, float]]:
    """Functions without an inflection: name -> (function, its derivative, from, to)."""
    import jax.numpy as jnp

    return {
        "exp": (jnp.exp, jnp.exp, -1.0, 1.0),
        "sin": (jnp.sin, jnp.cos, 0.2, 1.4),
        "log": (jnp.log, lambda x: 1 / x, 0.5, 3.0),
        "sqrt": (jnp.sqrt, lambda x: 0.5 / jnp.sqrt(x), 0.5, 3.0),
        "1/x": (lambda x: 1 / x, lambda x: -1 / x**2, 0.5, 3.0),
    }


def run_rivals(config: Rivals, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import finite_differences

    h = jnp.asarray([*(10.0 ** -np.arange(3, 12)), np.finfo(float).eps ** (1 / 3)])
    errors = []
    for fun, slope, low, high in _convex().values():
        x = jnp.linspace(low, high, config.points)

        @jax.jit
        def of_all(x, fun=fun, slope=slope):
            def error(scheme, h):
                derived = jax.vmap(finite_differences.derivative(fun, scheme=scheme, step=h))(x)
                return abs(derived / slope(x) - 1)

            return jax.vmap(lambda h: jnp.stack([error(s, h) for s in ("forward", "backward", "central")]))(h)

        errors.append(of_all(x))
    # [function, step, scheme, point]
    error = np.asarray(errors)
    cubic = lambda x: x**3
    at = -1e-3 / 3
    forward, central = (
        abs(float(finite_differences.derivative(cubic, scheme=s, step=1e-3)(at)) - 3 * at**2)
        for s in ("forward", "central")
    )
    return {
        "rival_step": np.asarray(h),
        "function": np.array(list(_convex())),
        "loses": (error[:, :, :2].min(axis=2) < error[:, :, 2]).mean(axis=2).T,
        "median_error": np.median(error, axis=(0, 3)),
        "stencil": np.array(["forward", "backward", "central"]),
        "at_inflection": np.array([forward, central]),
    }


def _judge_central(dataset: "xarray.Dataset") -> Finding:
    data = dataset.sortby("rival_step")
    at = lambda h: data.sel(rival_step=h, method="nearest", tolerance=h / 100)
    share = lambda h: float(at(h).loses.mean(skipna=False))
    median = lambda h: float(at(h).median_error.sel(stencil="central"))
    long, usual, short = map(share, (1e-3, 1e-7, 1e-9))
    popular, best = median(1e-7), median(np.finfo(float).eps ** (1 / 3))
    forward, central = dataset.at_inflection.values
    return Finding(
        close({"fraction_central_loses": long}),
        # Where rounding rules, and next to an inflection.
        limits=above(short, 0.1) & less(best, popular) & less(forward, central),
        measured=f"loses at {100 * long:.2f} % of points for h = 1e-3, "
        f"{100 * usual:.2f} % for 1e-7, {100 * short:.0f} % for 1e-9; "
        f"median error {popular:.2g} at 1e-7, {best:.2g} at eps^(1/3); next to the inflection "
        f"of x^3 forward {forward:.2g}, central {central:.2g} for h = 1e-3",
    )


def figures_of_rivals(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    order = np.argsort(dataset.rival_step.values)
    data = dataset.isel(rival_step=order)
    h = data.rival_step.values
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7)
    left.plot(h, 100 * data.loses.mean("function"), "o-", color=style.COLORS["vermilion"])
    left.set(xscale="log", xlabel="step h", ylabel="points where central loses (%)", ylim=(-2, 55))
    for name, color, marker in zip(map(str, data.stencil.values), ("blue", "sky", "vermilion"), "os^"):
        look: dict[str, Any] = {"color": style.COLORS[color], "marker": marker, "label": name}
        if name == "backward":
            look |= {"linewidth": 0, "markersize": 7, "markerfacecolor": "none", "markeredgewidth": 0.9}
        right.plot(h, data.median_error.sel(stencil=name), **look)
    right.axvline(np.finfo(float).eps ** (1 / 3), **style.THEORY)
    right.annotate("eps$^{1/3}$", (np.finfo(float).eps ** (1 / 3), 1e-3), (3, 0), textcoords="offset points")
    right.set(xscale="log", yscale="log", xlabel="step h", ylabel="median relative error")
    right.legend(loc="lower left")
    style.panel_labels((left, right))
    figure.set_label(
        "Central against one-sided quotients in float64, over five functions without an inflection: central wins while "
        "truncation dominates. Dashed: its best step by theory."
    )
    return {"rivals": figure}


rivals = Part(
    Rivals,
    {
        "rival_step": Variable(("rival_step",), "", "step h"),
        "function": Variable(("function",), "", "what is differentiated"),
        "stencil": Variable(("stencil",), "", "which neighbours the quotient looks at"),
        "loses": Variable(("rival_step", "function"), "", "share of points where a one-sided error is the smaller"),
        "median_error": Variable(("rival_step", "stencil"), "", "median relative error over points and functions"),
        "at_inflection": Variable(("two",), "", "forward and central error of x^3 at -h/3, h = 1e-3"),
    },
    "host",
    run_rivals,
    figures=figures_of_rivals,
    claims={"central-most-accurate": _judge_central},
    doc="Is the central quotient always the most accurate?",
)

# -- listings ----------------------------------------------------------------------------------------------------------


class Listings(Config):
    sizes: tuple[int, ...] = (10, 100, 1000)
    """numbers of parameters for which function values are counted"""
    draws: int = pydantic.Field(2000, ge=100)
    """noisy quotients"""


def _quotient(f: Callable[[Any], Any], x: Any, h: Any) -> Any:
    """The central quotient as listings have it: by the step that was asked for, not by the one that is taken."""
    return (f(x + h) - f(x - h)) / (2 * h)


def _sliced_gradient(f: Callable[[Any], Any], w: Any, h: float = 1e-7) -> list[float]:
    """The listing that copies by a slice."""
    found = []
    for i in range(len(w)):
        above, below = w[:], w[:]
        above[i] += h
        below[i] -= h
        found.append(float((f(above) - f(below)) / (2 * h)))
    return found


def _copied_gradient(f: Callable[[Any], Any], w: np.ndarray, h: float = 1e-7) -> np.ndarray:
    """The listing for arrays, which keeps their dtype."""
    found = []
    for i in range(len(w)):
        above, below = w.copy(), w.copy()
        above[i], below[i] = w[i] + h, w[i] - h
        found.append((f(above) - f(below)) / (2 * h))
    return np.array(found)


def _four_points(f: Callable[[Any], Any], w: np.ndarray, h: float) -> np.ndarray:
    """The listing of the Hessian by four values for each entry."""
    found = np.zeros((len(w), len(w)))
    for i, j in np.ndindex(found.shape):
        corners = []
        for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            moved = w.copy()
            moved[i] += a * h
            moved[j] += b * h
            corners.append(f(moved))
        found[i, j] = (corners[0] - corners[1] - corners[2] + corners[3]) / (4 * h**2)
    return found


def _counted(fun: Callable[[np.ndarray], Any]) -> tuple[Callable[[Any], Any], list[int]]:
    """A scalar function and the number of its evaluations so far, also where they are batched."""
    import jax

    calls = [0]

    def count(x):
        calls[0] += 1
        return np.asarray(fun(np.asarray(x)), "float32")

    # The thread that calls back does not know that float64 is on; for counting, precision does not matter.
    out = jax.ShapeDtypeStruct((), "float32")
    return (lambda x: jax.pure_callback(count, out, x, vmap_method="sequential")), calls


def _calls(sizes: tuple[int, ...], scheme: Any) -> np.ndarray:
    """How often the library evaluates a function for its gradient."""
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import finite_differences

    found = []
    for n in sizes:
        fun, calls = _counted(lambda x: np.sum(x**2))
        jax.block_until_ready(jax.jit(finite_differences.gradient(fun, scheme=scheme))(jnp.ones(n)))
        found.append(calls[0])
    return np.array(found)


def _checks() -> list[bool]:
    """Whether a right and a wrong rule pass: JAX's checker to order 2, and this library's."""
    import jax
    import jax.numpy as jnp
    from jax.test_util import check_grads

    from jaxcalc.engines import check_gradient

    def with_slope(factor):
        wave = jax.custom_vjp(lambda x: jnp.sin(x) * x)
        slope = lambda x: factor * (jnp.cos(x) * x + jnp.sin(x))
        wave.defvjp(lambda x: (jnp.sin(x) * x, x), lambda x, g: (g * slope(x),))
        return wave

    x, found = jnp.asarray(1.3), []
    for factor in (1.0, 1.5):
        fun = with_slope(factor)
        try:
            check_grads(fun, (x,), order=2, modes=("rev",))
            accepted = True
        except AssertionError:
            accepted = False
        report = check_gradient(fun, jax.grad(fun), x)
        found += [accepted, report.passed, report.num_unresolved == 0]
    return found


def _relative_difference(dtype: Any) -> float:
    """The listing's gradient check of x^2 + 3 x y at (1, 2)."""
    w = np.array([1, 2], dtype)
    exact = np.array([2 * w[0] + 3 * w[1], 3 * w[0]], float)
    found = np.asarray(_copied_gradient(lambda w: w[0] ** 2 + 3 * w[0] * w[1], w, 1e-5), float)
    return float(np.linalg.norm(exact - found) / (np.linalg.norm(exact) + np.linalg.norm(found)))


def run_listings(config: Listings, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.engines import check_gradient, finite_differences

    bowl, h = lambda w: w[0] ** 2 + 3 * w[1] ** 2, 1e-7
    gradient = finite_differences.gradient(bowl, step=h)
    square, at = lambda x: x * x, 3.0
    kinds = ("forward", "backward", "central")
    nominal = ((square(at + h) - square(at)) / h, (square(at) - square(at - h)) / h, _quotient(square, at, h))
    exact = [float(finite_differences.derivative(square, scheme=kind, step=h)(at)) for kind in kinds]

    product = lambda w: w[0] ** 2 + 3 * w[0] * w[1]
    analytic = lambda w: jnp.stack([2 * w[0] + 3 * w[1], 3 * w[0]])
    reports = [check_gradient(product, analytic, jnp.asarray([1, 2], dtype)) for dtype in ("float64", "float32")]

    curved, calls = _counted(lambda w: w[0] ** 2 + 3 * w[1] ** 2)
    jax.block_until_ready(jax.jit(finite_differences.hessian(curved))(jnp.ones(2)))
    four = [0]

    def tallied(w):
        four[0] += 1
        return bowl(w)

    _four_points(tallied, np.ones(2), 1e-5)

    x = np.linspace(0.2, 1.2, 401)
    single = lambda h: np.abs(_quotient(np.sin, x.astype("float32"), np.float32(h)) / np.cos(x) - 1).max()
    draw = np.random.default_rng(0)
    noisy = lambda x: x**2 + 1e-6 * draw.standard_normal(config.draws)
    wide = float(finite_differences.step_sizes(1.0, noise=1e-6))
    found = {
        "square, -2 to 2": [float(finite_differences.derivative(square, step=h)(float(x))) for x in range(-2, 3)],
        "errors at 3, step as asked": [abs(value - 6.0) for value in nominal],
        "errors at 3, step as taken": [abs(value - 6.0) for value in exact],
        "bowl at (2, 1), list": _sliced_gradient(bowl, [2.0, 1.0]),
        "bowl at (2, 1), library": gradient(jnp.asarray([2.0, 1.0])),
        "bowl at (2, 1), array by slice": _sliced_gradient(bowl, np.array([2.0, 1.0])),
        "bowl at (4, 2), floats": _copied_gradient(bowl, np.array([4.0, 2.0])),
        "bowl at (4, 2), integers": _copied_gradient(bowl, np.array([4, 2])),
        "bowl at (4, 2), integers, library": gradient(jnp.asarray([4, 2])),
        "relative difference by dtype": [_relative_difference(dtype) for dtype in ("float64", "float32", "int64")],
        "library's check by dtype": [report.passed and report.num_unresolved == 0 for report in reports],
        "right rule accepted": _checks(),
        "Hessian, h = 1e-5": _four_points(bowl, np.ones(2), 1e-5),
        "Hessian, h = 1e-4": _four_points(bowl, np.ones(2), 1e-4),
        "Hessian, library": finite_differences.hessian(bowl)(jnp.ones(2)),
        "Hessian, evaluations": [four[0], calls[0]],
        "sine, relative error": [np.abs(_quotient(np.sin, x, h) / np.cos(x) - 1).max(), single(h), single(5e-3)],
        "floor at 1": [_quotient(np.floor, 1.0, h)],
        "noisy square, spread": [_quotient(noisy, 1.0, h).std(), _quotient(noisy, 1.0, wide).std()],
    }
    widest = max(np.size(values) for values in found.values())
    padded = [
        np.pad(np.ravel(np.asarray(v, float)), (0, widest - np.size(v)), constant_values=np.nan) for v in found.values()
    ]
    return {
        "listing": np.array(list(found)),
        "printed": np.stack(padded),
        "parameters": np.array(config.sizes),
        "central_calls": _calls(config.sizes, "central"),
        "forward_calls": _calls(config.sizes, "forward"),
    }


def _printed(dataset: "xarray.Dataset", name: str, count: int) -> np.ndarray:
    """The numbers of a listing, as many as it gives; NaN pads the rest, and may be among them."""
    return dataset.printed.sel(listing=name).values[:count]


def _judge_square(dataset: "xarray.Dataset") -> Check:
    return close(_printed(dataset, "square, -2 to 2", 5))


def _judge_three(dataset: "xarray.Dataset") -> Finding:
    nominal = _printed(dataset, "errors at 3, step as asked", 3)
    exact = _printed(dataset, "errors at 3, step as taken", 3)
    named = zip(("forward", "backward", "central"), nominal)
    return Finding(
        less(nominal[2], nominal[:2]) & less(exact[2], exact[:2]),
        measured=", ".join(f"{name} {error:.3g}" for name, error in named)
        + f"; by the step as taken {exact[0]:.3g}, {exact[1]:.3g}, {exact[2]:.3g}",
    )


def _judge_bowl(dataset: "xarray.Dataset") -> Finding:
    listed = _printed(dataset, "bowl at (2, 1), list", 2)
    own = _printed(dataset, "bowl at (2, 1), library", 2)
    words = f"list {listed.tolist()}, library {own.tolist()}"
    return Finding(close(listed) & close(own), measured=words)


def _judge_dtypes(dataset: "xarray.Dataset") -> Finding:
    floats = _printed(dataset, "bowl at (4, 2), floats", 2)
    integers = _printed(dataset, "bowl at (4, 2), integers", 2)
    own = _printed(dataset, "bowl at (4, 2), integers, library", 2)
    shown = [np.round(values, 8).tolist() for values in (floats, integers, own)]
    return Finding(
        close(floats),
        # The point itself is no trouble: the library differentiates there.
        limits=~close(integers) & close(own),
        measured="floats {}, integers {}; library on integers {}".format(*shown),
    )


def _judge_relative_difference(dataset: "xarray.Dataset") -> Finding:
    found = _printed(dataset, "relative difference by dtype", 3)
    passed = _printed(dataset, "library's check by dtype", 2)
    named = ", ".join(f"{k} {v:.3g}" for k, v in zip(("float64", "float32", "int"), found))
    rightly = f"{int(passed.sum())} of 2 floating-point dtypes"
    return Finding(
        below(found[0]),
        limits=~below(found[1:]),
        measured=f"{named}; steps by dtype pass the right gradient in {rightly}",
    )


def _judge_checkers(dataset: "xarray.Dataset") -> Finding:
    # Of each rule: JAX's checker, this library's, and whether that resolved every entry.
    right, wrong = np.split(_printed(dataset, "right rule accepted", 6), 2)
    return Finding(
        equal(right, [1, 1, 1]) & equal(wrong, [0, 0, 1]),
        measured=f"right rule accepted {right[:2].astype(bool).tolist()}, "
        f"wrong by a factor 1.5 {wrong[:2].astype(bool).tolist()}",
    )


def _judge_central_calls(dataset: "xarray.Dataset") -> Finding:
    n, calls = dataset.parameters.values, dataset.central_calls.values
    per_parameter = np.polyfit(n, calls, 1)[0]
    return Finding(
        close({"evals_per_parameter": calls / n, "n_1e6": np.rint(1e6 * per_parameter)}),
        measured=dict(zip(map(str, n), calls.tolist())),
    )


def _judge_forward_calls(dataset: "xarray.Dataset") -> Finding:
    n, calls = dataset.parameters.values, dataset.forward_calls.values
    counted = ", ".join(f"{size}: {count}" for size, count in zip(n, calls))
    return Finding(
        close({"evals": np.rint(np.polyval(np.polyfit(n, calls, 1), 1e8))}),
        measured=f"{counted}; one for each parameter and one to start from",
    )


def _judge_hessian(dataset: "xarray.Dataset") -> Finding:
    hessian = _printed(dataset, "Hessian, h = 1e-5", 4)
    finer = _printed(dataset, "Hessian, h = 1e-4", 4)
    four, own = map(int, _printed(dataset, "Hessian, evaluations", 2))
    at = f"{np.round(hessian, 8).tolist()} at 1e-5, {np.round(finer, 8).tolist()} at 1e-4"
    return Finding(
        close(hessian),
        # NumPy prints eight decimals.
        limits=~close(hessian, tolerance=5e-9),
        measured=f"{at}; {four} evaluations, {own} by the library",
    )


def _judge_any_function(dataset: "xarray.Dataset") -> Finding:
    double, single, longer = _printed(dataset, "sine, relative error", 3)
    (at_floor,) = _printed(dataset, "floor at 1", 1)
    spread, wider = _printed(dataset, "noisy square, spread", 2)
    sine = f"sine {double:.2g} in float64, in float32 {single:.2g} (step 5e-3: {longer:.2g})"
    return Finding(
        close({"relative_error": double}, tolerance=1e-6),
        limits=above(abs(at_floor), 1e3) & above(single, 0.1) & above(spread, 1.0),
        measured=f"{sine}; floor at 1 {at_floor:.3g}; noise of 1e-6 spreads a slope of 2 by "
        f"{spread:.2g} ({wider:.2g} by a step that knows the noise)",
    )


def figures_of_listings(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axis = style.subplots(width=4.2, height=2.8)
    n = dataset.parameters.values
    axis.plot(n, dataset.central_calls, "^", color=style.COLORS["vermilion"], label="central")
    axis.plot(n, dataset.forward_calls, "o", color=style.COLORS["blue"], label="forward")
    axis.plot(n, 2 * n, **style.THEORY)
    axis.plot(n, n + 1, **style.THEORY)
    axis.set(xscale="log", yscale="log", xlabel="parameters n", ylabel="evaluations of the function")
    axis.legend(loc="upper left")
    figure.set_label("Evaluations that a gradient by differences takes, counted. Dashed: 2 n and n + 1.")
    return {"calls": figure}


listings = Part(
    Listings,
    {
        "listing": Variable(("listing",), "", "what was run"),
        "printed": Variable(("listing", "place"), "", "the numbers that it gives"),
        "parameters": Variable(("parameters",), "", "number of parameters"),
        "central_calls": Variable(("parameters",), "", "evaluations for a central gradient, counted"),
        "forward_calls": Variable(("parameters",), "", "evaluations for a forward gradient, counted"),
    },
    "host",
    run_listings,
    figures=figures_of_listings,
    claims={
        "central-difference-square-table": _judge_square,
        "three-differences-at-3": _judge_three,
        "numerical-gradient-bowl-at-2-1": _judge_bowl,
        "numerical-gradient-slice-copy": lambda dataset: Finding(
            close(_printed(dataset, "bowl at (2, 1), list", 2)),
            limits=~close(_printed(dataset, "bowl at (2, 1), array by slice", 2)),
        ),
        "numerical-gradient-bowl-at-4-2": _judge_dtypes,
        "gradient-check-quadratic": _judge_relative_difference,
        "gradcheck-compares-analytic-and-numeric": _judge_checkers,
        "central-difference-costs-2n-evals": _judge_central_calls,
        "nudge-test-needs-one-pass-per-parameter": _judge_forward_calls,
        "numerical-hessian-print": _judge_hessian,
        "numerical-differentiation-works-for-any-function": _judge_any_function,
        "torch-gradcheck-and-clip-apis": cited,
    },
    doc="What do the listings of popular texts print, and where do they go wrong?",
)

"""How far can derivatives from values alone be trusted?

Error against step for every scheme in two precisions (``steps``), central against one-sided quotients at many points
(``rivals``), and the listings and prints of popular texts, with their traps (``listings``).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pydantic

from experiments._judged import entry, judged
from jaxcalc.lab import Claim, Config, Part, Variable

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


def claims_of_steps(dataset: "xarray.Dataset") -> list[Claim]:
    from jaxcalc import measure

    wanted = entry("forward-first-central-second-order")
    one, steps = dataset.sel(precision="float64"), dataset.step.values
    # Long enough for truncation to be all, short enough for the leading term to be.
    asymptotic = (steps < 0.02) & (steps > 1e-4)
    orders = {
        name: measure.exponent(steps[asymptotic], one.error.sel(scheme=name).values[asymptotic])
        for name in map(str, dataset.scheme.values)
        if name in ("forward", "backward", "central")
    }
    known = {**wanted.expected, "backward": wanted.expected["forward"]}
    return [
        judged(
            wanted.id,
            all(abs(orders[name] - known[name]) <= (wanted.tolerance or 0.0) for name in known),
            measured=", ".join(f"{name} {order:.3f}" for name, order in orders.items()),
            figure="steps",
        )
    ]


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
    claims=claims_of_steps,
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


def claims_of_rivals(dataset: "xarray.Dataset") -> list[Claim]:
    loses = dataset.loses.mean("function")
    at = lambda h: int(np.argmin(abs(np.log(dataset.rival_step.values / h))))
    long, usual, short = (float(loses[at(h)]) for h in (1e-3, 1e-7, 1e-9))
    median = dataset.median_error.sel(stencil="central").values
    best = float(median[at(np.finfo(float).eps ** (1 / 3))])
    wanted = entry("central-most-accurate")
    forward, central = dataset.at_inflection.values
    return [
        judged(
            wanted.id,
            abs(long - wanted.expected["fraction_central_loses"]) <= (wanted.tolerance or 0.0),
            limits=short > 0.1,
            measured=f"loses at {100 * long:.2f} % of points for h = 1e-3, {100 * usual:.2f} % for 1e-7, "
            f"{100 * short:.0f} % for 1e-9; median error {median[at(1e-7)]:.2g} at 1e-7, {best:.2g} at eps^(1/3); next "
            f"to the inflection of x^3 forward {forward:.2g}, central {central:.2g} for h = 1e-3",
            figure="rivals",
        )
    ]


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
    claims=claims_of_rivals,
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


def claims_of_listings(dataset: "xarray.Dataset") -> list[Claim]:
    def printed(name):
        values = dataset.printed.sel(listing=name).values
        return values[~np.isnan(values)]

    def near(id, *names):
        """Whether the printed numbers are the ledger's."""
        known = entry(id)
        wanted = np.ravel(np.asarray(known.expected, float))
        return all(
            printed(name).shape == wanted.shape and (abs(printed(name) - wanted) <= known.tolerance).all()
            for name in names
        )

    show = lambda values: [float(f"{value:.9g}") for value in values]
    nominal, exact = printed("errors at 3, step as asked"), printed("errors at 3, step as taken")
    differences, library = printed("relative difference by dtype"), printed("library's check by dtype")
    threshold = entry("gradient-check-quadratic").tolerance or 0.0
    checks = printed("right rule accepted")
    hessian, finer = printed("Hessian, h = 1e-5"), printed("Hessian, h = 1e-4")
    four, own = printed("Hessian, evaluations")
    double, single, longer = printed("sine, relative error")
    (step_at_floor,) = printed("floor at 1")
    spread, wider = printed("noisy square, spread")
    n = dataset.parameters.values
    central, forward = dataset.central_calls.values, dataset.forward_calls.values
    wanted = entry("central-difference-costs-2n-evals").expected
    per_entry, base = np.polyfit(n, forward, 1)
    (nudges,) = entry("nudge-test-needs-one-pass-per-parameter").expected.values()
    slack = entry("nudge-test-needs-one-pass-per-parameter").tolerance or 0.0
    return [
        judged(
            "central-difference-square-table",
            near("central-difference-square-table", "square, -2 to 2"),
            measured=[f"{value:.4f}" for value in printed("square, -2 to 2")],
        ),
        judged(
            "three-differences-at-3",
            int(np.argmin(nominal)) == 2 and int(np.argmin(exact)) == 2,
            measured=", ".join(f"{k} {e:.3g}" for k, e in zip(("forward", "backward", "central"), nominal))
            + f"; by the step as taken {exact[0]:.3g}, {exact[1]:.3g}, {exact[2]:.3g}",
        ),
        judged(
            "numerical-gradient-bowl-at-2-1",
            near("numerical-gradient-bowl-at-2-1", "bowl at (2, 1), list", "bowl at (2, 1), library"),
            measured=f"list {printed('bowl at (2, 1), list').tolist()}, library "
            f"{printed('bowl at (2, 1), library').tolist()}",
        ),
        judged(
            "numerical-gradient-slice-copy",
            near("numerical-gradient-slice-copy", "bowl at (2, 1), list"),
            limits=not near("numerical-gradient-slice-copy", "bowl at (2, 1), array by slice"),
            measured=f"a list gives {show(printed('bowl at (2, 1), list'))}, an array "
            f"{show(printed('bowl at (2, 1), array by slice'))}",
        ),
        judged(
            "numerical-gradient-bowl-at-4-2",
            near("numerical-gradient-bowl-at-4-2", "bowl at (4, 2), floats"),
            limits=not near("numerical-gradient-bowl-at-4-2", "bowl at (4, 2), integers"),
            measured=f"floats {show(printed('bowl at (4, 2), floats'))}, integers "
            f"{show(printed('bowl at (4, 2), integers'))}; library on integers "
            f"{show(printed('bowl at (4, 2), integers, library'))}",
        ),
        judged(
            "gradient-check-quadratic",
            differences[0] < threshold,
            limits=bool((differences[1:] > threshold).any()),
            measured=", ".join(f"{k} {d:.3g}" for k, d in zip(("float64", "float32", "int"), differences))
            + f"; steps by dtype pass the right gradient in {int(library.sum())} of 2 floating-point dtypes",
        ),
        judged(
            "gradcheck-compares-analytic-and-numeric",
            # Of each rule: JAX's checker, this library's, and whether that resolved every entry.
            checks.tolist() == [True, True, True, False, False, True],
            measured=f"right rule accepted {checks[:2].astype(bool).tolist()}, "
            f"wrong by a factor 1.5 {checks[3:5].astype(bool).tolist()}",
        ),
        judged(
            "central-difference-costs-2n-evals",
            bool((central == wanted["evals_per_parameter"] * n).all())
            and round(np.polyfit(n, central, 1)[0] * 1e6) == wanted["n_1e6"],
            measured=dict(zip(n.tolist(), central.tolist())),
            figure="calls",
        ),
        judged(
            "nudge-test-needs-one-pass-per-parameter",
            abs(per_entry * nudges + base - nudges) <= slack + 1e-6 * slack,
            measured=f"{dict(zip(n.tolist(), forward.tolist()))}: one for each parameter and one to start from",
            figure="calls",
        ),
        judged(
            "numerical-hessian-print",
            near("numerical-hessian-print", "Hessian, h = 1e-5"),
            # NumPy prints eight decimals.
            limits=not (np.round(hessian, 8) == np.ravel(entry("numerical-hessian-print").expected)).all(),
            measured=f"{np.round(hessian, 8).tolist()} at 1e-5, {np.round(finer, 8).tolist()} at 1e-4; {int(four)} "
            f"evaluations, {int(own)} by the library",
        ),
        judged(
            "numerical-differentiation-works-for-any-function",
            double < 1e-6,
            limits=abs(step_at_floor) > 1e3 and single > 0.1 and spread > 1.0,
            measured=f"sine {double:.2g} in float64, in float32 {single:.2g} (step 5e-3: {longer:.2g}); floor at 1 "
            f"{step_at_floor:.3g}; noise of 1e-6 spreads a slope of 2 by {spread:.2g} ({wider:.2g} by a step that "
            "knows the noise)",
        ),
        judged("torch-gradcheck-and-clip-apis", None),
    ]


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
    claims=claims_of_listings,
    doc="What do the listings of popular texts print, and where do they go wrong?",
)

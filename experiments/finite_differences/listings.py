"""What do the listings of popular texts print, and where do they go wrong?"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, above, below, cited, close, equal, less

kind = "host"
dtype = "float64"


class Config(lab.Config):
    sizes: tuple[int, ...] = (10, 100, 1000)
    """numbers of parameters for which function values are counted"""
    draws: int = pydantic.Field(2000, ge=100)
    """noisy quotients"""


VARIABLES = {
    "listing": Variable(("listing",), "", "what was run"),
    "printed": Variable(("listing", "place"), "", "the numbers that it gives"),
    "parameters": Variable(("parameters",), "", "number of parameters"),
    "central_calls": Variable(("parameters",), "", "evaluations for a central gradient, counted"),
    "forward_calls": Variable(("parameters",), "", "evaluations for a forward gradient, counted"),
}


def _quotient(f, x, h):
    """The central quotient as listings have it: by the step that was asked for, not by the one that is taken."""
    return (f(x + h) - f(x - h)) / (2 * h)


def _sliced_gradient(f, w, h=1e-07):
    """The listing that copies by a slice."""
    found = []
    for i in range(len(w)):
        above, below = w[:], w[:]
        above[i] += h
        below[i] -= h
        found.append(float((f(above) - f(below)) / (2 * h)))
    return found


def _copied_gradient(f, w, h=1e-07):
    """The listing for arrays, which keeps their dtype."""
    found = []
    for i in range(len(w)):
        above, below = w.copy(), w.copy()
        above[i], below[i] = w[i] + h, w[i] - h
        found.append((f(above) - f(below)) / (2 * h))
    return np.array(found)


def _four_points(f, w, h):
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


def _counted(fun):
    """A scalar function and the number of its evaluations so far, also where they are batched."""
    import jax

    calls = [0]

    def count(x):
        calls[0] += 1
        return np.asarray(fun(np.asarray(x)), "float32")

    # The thread that calls back does not know that float64 is on; for counting, precision does not matter.
    out = jax.ShapeDtypeStruct((), "float32")
    return (lambda x: jax.pure_callback(count, out, x, vmap_method="sequential")), calls


def _calls(sizes, scheme):
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


def _relative_difference(dtype):
    """The listing's gradient check of x^2 + 3 x y at (1, 2)."""
    w = np.array([1, 2], dtype)
    exact = np.array([2 * w[0] + 3 * w[1], 3 * w[0]], float)
    found = np.asarray(_copied_gradient(lambda w: w[0] ** 2 + 3 * w[0] * w[1], w, 1e-5), float)
    return float(np.linalg.norm(exact - found) / (np.linalg.norm(exact) + np.linalg.norm(found)))


def run(config, key):
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


def _printed(dataset, name, count):
    """The numbers of a listing, as many as it gives; NaN pads the rest, and may be among them."""
    return dataset.printed.sel(listing=name).values[:count]


def _judge_square(dataset):
    return close(_printed(dataset, "square, -2 to 2", 5))


def _judge_three(dataset):
    nominal = _printed(dataset, "errors at 3, step as asked", 3)
    exact = _printed(dataset, "errors at 3, step as taken", 3)
    named = zip(("forward", "backward", "central"), nominal)
    return Finding(
        less(nominal[2], nominal[:2]) & less(exact[2], exact[:2]),
        measured=", ".join(f"{name} {error:.3g}" for name, error in named)
        + f"; by the step as taken {exact[0]:.3g}, {exact[1]:.3g}, {exact[2]:.3g}",
    )


def _judge_bowl(dataset):
    listed = _printed(dataset, "bowl at (2, 1), list", 2)
    own = _printed(dataset, "bowl at (2, 1), library", 2)
    words = f"list {listed.tolist()}, library {own.tolist()}"
    return Finding(close(listed) & close(own), measured=words)


def _judge_dtypes(dataset):
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


def _judge_relative_difference(dataset):
    found = _printed(dataset, "relative difference by dtype", 3)
    passed = _printed(dataset, "library's check by dtype", 2)
    named = ", ".join(f"{k} {v:.3g}" for k, v in zip(("float64", "float32", "int"), found))
    rightly = f"{int(passed.sum())} of 2 floating-point dtypes"
    return Finding(
        below(found[0]),
        limits=~below(found[1:]),
        measured=f"{named}; steps by dtype pass the right gradient in {rightly}",
    )


def _judge_checkers(dataset):
    # Of each rule: JAX's checker, this library's, and whether that resolved every entry.
    right, wrong = np.split(_printed(dataset, "right rule accepted", 6), 2)
    return Finding(
        equal(right, [1, 1, 1]) & equal(wrong, [0, 0, 1]),
        measured=f"right rule accepted {right[:2].astype(bool).tolist()}, "
        f"wrong by a factor 1.5 {wrong[:2].astype(bool).tolist()}",
    )


def _judge_central_calls(dataset):
    n, calls = dataset.parameters.values, dataset.central_calls.values
    per_parameter = np.polyfit(n, calls, 1)[0]
    return Finding(
        close({"evals_per_parameter": calls / n, "n_1e6": np.rint(1e6 * per_parameter)}),
        measured=dict(zip(map(str, n), calls.tolist())),
    )


def _judge_forward_calls(dataset):
    n, calls = dataset.parameters.values, dataset.forward_calls.values
    counted = ", ".join(f"{size}: {count}" for size, count in zip(n, calls))
    return Finding(
        close({"evals": np.rint(np.polyval(np.polyfit(n, calls, 1), 1e8))}),
        measured=f"{counted}; one for each parameter and one to start from",
    )


def _judge_hessian(dataset):
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


def _judge_any_function(dataset):
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


def figures(dataset):
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


claims = {
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
}

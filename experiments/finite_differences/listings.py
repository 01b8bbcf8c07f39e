"""What do the listings of popular texts print, and where do they go wrong?"""

import numpy as np
import pydantic

from experiments.finite_differences import evaluations
from jaxcalc import lab
from jaxcalc.lab import FACTS, Finding, above, below, cited, close, equal, jax, jnp, judge_facts, less, pack_facts

kind = "host"


class Config(lab.Config):
    draws: int = pydantic.Field(2000, ge=100)
    """noisy quotients"""


VARIABLES = {**FACTS}


def _quotient(f, x, h):
    """The central quotient as listings have it: by the step as asked for, not as taken."""
    return (f(x + h) - f(x - h)) / (2 * h)


def _sliced_gradient(f, w, h=1e-07):
    """The listing that copies by a slice."""
    found = []
    for i in range(len(w)):
        above, below = w[:], w[:]
        above[i] += h
        below[i] -= h
        found.append((f(above) - f(below)) / (2 * h))
    return np.array(found)


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


def run(config, key):
    return pack_facts(_slopes() | _gradients() | _checks() | _hessians() | _troubles(config))


def _slopes():
    from jaxcalc.engines import finite_differences

    square, at, h = lambda x: x * x, 3.0, 1e-7
    slope = lambda x, scheme: float(finite_differences.derivative(square, scheme=scheme, step=h)(x))
    forward, backward = (square(at + h) - square(at)) / h, (square(at) - square(at - h)) / h
    as_asked = forward, backward, _quotient(square, at, h)
    as_taken = [slope(at, scheme) for scheme in ("forward", "backward", "central")]
    return {
        "central-difference-square-table": [slope(float(x), "central") for x in range(-2, 3)],
        "three-differences-at-3": abs(np.array([as_asked, as_taken]) - 6.0),
    }


def _bowl(w):
    return w[0] ** 2 + 3 * w[1] ** 2


def _gradients():
    from jaxcalc.engines import finite_differences

    gradient = finite_differences.gradient(_bowl, step=1e-7)
    listed = _sliced_gradient(_bowl, [2.0, 1.0])
    return {
        "numerical-gradient-bowl-at-2-1": [listed, gradient(jnp.asarray([2.0, 1.0]))],
        "numerical-gradient-slice-copy": [listed, _sliced_gradient(_bowl, np.array([2.0, 1.0]))],
        "numerical-gradient-bowl-at-4-2": [
            _copied_gradient(_bowl, np.array([4.0, 2.0])),
            _copied_gradient(_bowl, np.array([4, 2])),
            gradient(jnp.asarray([4, 2])),
        ],
    }


def _checks():
    """What checkers say of right and wrong gradients."""
    from jax.test_util import check_grads

    from jaxcalc.engines import check_gradient

    product = lambda w: w[0] ** 2 + 3 * w[0] * w[1]
    exact = lambda w: jnp.stack([2 * w[0] + 3 * w[1], 3 * w[0]])

    def difference(dtype):
        found, right = _copied_gradient(product, np.array([1, 2], dtype), 1e-5), [8.0, 3.0]
        return np.linalg.norm(found - right) / (np.linalg.norm(right) + np.linalg.norm(found))

    points = [jnp.asarray([1, 2], dtype) for dtype in ("float64", "float32")]
    reports = [check_gradient(product, exact, point) for point in points]

    def verdicts(factor):
        """Whether JAX's checker accepts a rule off by a factor, and this library's, and wholly."""
        wave = jax.custom_vjp(lambda x: jnp.sin(x) * x)
        slope = lambda x: factor * (jnp.cos(x) * x + jnp.sin(x))
        wave.defvjp(lambda x: (jnp.sin(x) * x, x), lambda x, g: (g * slope(x),))
        x = jnp.asarray(1.3)
        report = check_gradient(wave, jax.grad(wave), x)
        try:
            check_grads(wave, (x,), order=2, modes=("rev",))
        except AssertionError:
            return [False, report.passed, report.num_unresolved == 0]
        return [True, report.passed, report.num_unresolved == 0]

    return {
        "gradient-check-quadratic": [
            *map(difference, ("float64", "float32", "int64")),
            *(report.passed and report.num_unresolved == 0 for report in reports),
        ],
        "gradcheck-compares-analytic-and-numeric": [verdicts(1.0), verdicts(1.5)],
    }


def _hessians():
    from jaxcalc.engines import finite_differences

    tallied, four = [], lambda h: _four_points(_bowl, np.ones(2), h)
    _four_points(lambda w: tallied.append(w) or _bowl(w), np.ones(2), 1e-5)
    own = finite_differences.hessian(_bowl)(jnp.ones(2))
    counts = [len(tallied), evaluations(finite_differences.hessian, 2)]
    matrices = np.ravel([four(1e-5), four(1e-4), own])
    return {"numerical-hessian-print": [*matrices, *counts]}


def _troubles(config):
    from jaxcalc.engines import finite_differences

    h, x = 1e-7, np.linspace(0.2, 1.2, 401)
    wrong = lambda x, h: abs(_quotient(np.sin, x, h) / np.cos(x.astype(float)) - 1).max()
    single = lambda h: wrong(x.astype("float32"), np.float32(h))
    draw = np.random.default_rng(0)
    noisy = lambda x: x**2 + 1e-6 * draw.standard_normal(config.draws)
    spread = lambda h: _quotient(noisy, 1.0, h).std()
    knowing = float(finite_differences.step_sizes(1.0, noise=1e-6))
    return {
        "numerical-differentiation-works-for-any-function": [
            *(wrong(x, h), single(h), single(5e-3)),
            _quotient(np.floor, 1.0, h),
            *(spread(h), spread(knowing)),
        ]
    }


def _judge_three(numbers):
    nominal, exact = numbers.reshape(2, 3)
    named = zip(("forward", "backward", "central"), nominal)
    return Finding(
        less(nominal[2], nominal[:2]) & less(exact[2], exact[:2]),
        measured=", ".join(f"{name} {error:.3g}" for name, error in named)
        + f"; by the step as taken {exact[0]:.3g}, {exact[1]:.3g}, {exact[2]:.3g}",
    )


def _judge_bowl(numbers):
    listed, own = numbers.reshape(2, 2)
    words = f"list {listed.tolist()}, library {own.tolist()}"
    return Finding(close(listed) & close(own), measured=words)


def _judge_slices(numbers):
    of_list, of_array = numbers.reshape(2, 2)
    return Finding(close(of_list), limits=~close(of_array))


def _judge_dtypes(numbers):
    floats, integers, own = numbers.reshape(3, 2)
    shown = [np.round(values, 8).tolist() for values in (floats, integers, own)]
    return Finding(
        close(floats),
        # The point itself is no trouble: the library differentiates there.
        limits=~close(integers) & close(own),
        measured="floats {}, integers {}; library on integers {}".format(*shown),
    )


def _judge_relative_difference(numbers):
    found, passed = numbers[:3], numbers[3:]
    named = ", ".join(f"{k} {v:.3g}" for k, v in zip(("float64", "float32", "int"), found))
    return Finding(
        below(found[0]),
        limits=~below(found[1:]),
        measured=f"{named}; steps by dtype pass the right gradient in {passed.sum():g} of 2 floating-point dtypes",
    )


def _judge_checkers(numbers):
    right, wrong = numbers.reshape(2, 3)
    return Finding(
        equal(right, [1, 1, 1]) & equal(wrong, [0, 0, 1]),
        measured=f"right rule accepted {right[:2].astype(bool).tolist()}, "
        f"wrong by a factor 1.5 {wrong[:2].astype(bool).tolist()}",
    )


def _judge_hessian(numbers):
    hessian, longer, _ = numbers[:12].reshape(3, 4)
    four, own = numbers[12:]
    return Finding(
        close(hessian),
        # NumPy prints eight decimals.
        limits=~close(hessian, tolerance=5e-9),
        measured=f"{np.round(hessian, 8).tolist()} at 1e-5, "
        f"{np.round(longer, 8).tolist()} at 1e-4; {four:g} evaluations, {own:g} by the library",
    )


def _judge_any_function(numbers):
    double, single, longer, at_floor, spread, wider = numbers
    return Finding(
        close({"relative_error": double}, tolerance=1e-6),
        limits=above(abs(at_floor), 1e3) & above(single, 0.1) & above(spread, 1.0),
        measured=f"sine {double:.2g} in float64, in float32 {single:.2g} (step 5e-3: {longer:.2g}); "
        f"floor at 1 {at_floor:.3g}; noise of 1e-6 spreads a slope of 2 by {spread:.2g} ({wider:.2g} "
        "by a step that knows the noise)",
    )


claims = {
    **judge_facts(
        {
            "central-difference-square-table": close,
            "three-differences-at-3": _judge_three,
            "numerical-gradient-bowl-at-2-1": _judge_bowl,
            "numerical-gradient-slice-copy": _judge_slices,
            "numerical-gradient-bowl-at-4-2": _judge_dtypes,
            "gradient-check-quadratic": _judge_relative_difference,
            "gradcheck-compares-analytic-and-numeric": _judge_checkers,
            "numerical-hessian-print": _judge_hessian,
            "numerical-differentiation-works-for-any-function": _judge_any_function,
        }
    ),
    "torch-gradcheck-and-clip-apis": cited,
}

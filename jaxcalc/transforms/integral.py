"""Definite integrals of functions: fixed rules and adaptive Gauss-Kronrod, differentiated by Leibniz."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero
from jax.flatten_util import ravel_pytree

from jaxcalc import checks
from jaxcalc.functions.quadrature import RULES, gauss_kronrod, quadrature_rule
from jaxcalc.transforms.guards import sending
from jaxcalc.transforms.lifting import hoisted

__all__ = ["Integral", "IntegralMethod", "integral"]

IntegralMethod = Literal[
    "auto", "adaptive", "left", "right", "midpoint", "trapezoid", "simpson", "gauss-legendre", "tanh-sinh"
]
_METHODS = get_args(IntegralMethod)
assert _METHODS[2:] == tuple(RULES)

_DEFAULT_POINTS = {"adaptive": 21, "trapezoid": 1001, "simpson": 1001, "gauss-legendre": 32, "tanh-sinh": 65}
_UNIFORM_POINTS = 1000
_LEVEL = 0.99  # what falls by less over a quarter of all orders of magnitude does not fall
_START = 4  # intervals to begin with, each to be halved: two on each side of the split point
_ROUNDING = 50  # eps times the integral of |f|: below that a difference of two rules is noise
_MOVED = 8  # eps |x|: points of an interval as narrow as that are not told apart
_MURKY = 0.1  # of that width, and what an interval holds is not known
_BENIGN = 10  # times more may that cost than the rounding of the sum
_UNSEEN = 1.3  # what is extrapolated to an end, times this, is a bound
_APART = 64.0  # the ratio of the distances from which it is extrapolated
# A contraction of errors per bisection is believed up to here; an algebraic singularity x^s has 2^-(1+s).
_SLOWEST = 0.99
# Where halving an interval reduces the error by more than this, the integrand is smooth: a kink gains 4, a jump 2.
_SPECTRAL = 1 / 256
_ROUGH = 10  # where it is not, estimates are multiplied by this

_CONVERGED, _BUDGET, _NOISE, _NON_FINITE, _NO_ESTIMATE = range(5)
_WORDS = (
    "converged: the error bound is within the tolerance",
    "out of budget: the error is above the tolerance with max_intervals in use or all as narrow as rounding allows, or "
    "the integral diverges; raise max_intervals or tol, or split the interval where the integrand is singular",
    "at rounding level: the error bound is above the tolerance, and as small as this precision allows; raise tol or "
    "atol, or use double precision",
    "not finite: the integrand is NaN or infinite at a node on every scale; check it and the limits",
    "no estimate: a fixed rule does not know its error; use method='adaptive'",
)


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["value", "error", "status", "evaluations"], meta_fields=[]
)
@dataclass(frozen=True)
class Integral:
    """A definite integral and how far to trust it.

    Args:
      value: what ``fun`` returns, integrated.
      error: a bound on ``abs(value - exact)``, like ``value``; infinite where there is none, as at a pole inside
        that rounding keeps from being resolved; NaN for the fixed rules.
      status: 0 converged, 1 out of budget, 2 at rounding level, 3 not finite, 4 no estimate.
      evaluations: how often the integrand was evaluated.
    """

    value: Any
    error: Any
    status: jax.Array
    evaluations: jax.Array

    @property
    def converged(self) -> jax.Array:
        """Whether the error bound is within the tolerance."""
        return self.status == _CONVERGED

    def explain(self) -> str:
        """The status in words, with the remedy, one line per different status."""
        return "\n".join(_WORDS[code] for code in np.unique(np.asarray(self.status)))


def integral(
    fun: Callable[..., Any],
    /,
    *,
    method: IntegralMethod | str = "auto",
    num_points: int | None = None,
    tol: jax.typing.ArrayLike | None = None,
    atol: jax.typing.ArrayLike | None = None,
    max_intervals: int = 512,
    report: bool = False,
) -> Callable[..., Any]:
    """The definite integral of a function of one variable.

        I(a, b, args) = INT_a^b f(x, args) dx,    dI = f(b) db - f(a) da + INT_a^b (df/dargs . dargs) dx

    ``"adaptive"`` halves the interval with the largest error until the sum of the errors is within tolerance. The error
    of an interval is the difference of its Gauss and Kronrod rules, or what bisecting the interval before it changed if
    that is more: an estimate for the weaker rule stands for the stronger one. Where bisecting gains less than a smooth
    integrand would, that counts tenfold (more at singularities that converge slowly), and errors are not believed to
    fall faster than by 1/2. It sees what the nodes see: a peak narrower than the gaps of the first grid may go
    unnoticed. A singularity belongs at a limit of integration, 0 at best: a pole elsewhere is resolved no closer than
    to rounding, and of a strong one (``|x - c|^-0.8``) that loses more than the bound knows.

    Args:
      fun: from a real scalar and ``args`` to an array or PyTree of arrays (integers become floats).
      method: ``"left"``, ``"right"``, ``"midpoint"`` (Riemann sums), ``"trapezoid"``, ``"simpson"``,
        ``"gauss-legendre"``, ``"tanh-sinh"``: one rule over the whole interval; ``"adaptive"``, which ``"auto"`` is.
      num_points: nodes of the rule, each one evaluation; of ``"adaptive"``, the odd number per interval (15, 21, ...).
      tol: for ``"adaptive"``, the error relative to the largest entry of the value; by default the root of eps.
      atol: for ``"adaptive"``, the absolute error that is good enough too; by default 0.
      max_intervals: the most intervals of ``"adaptive"``.
      report: whether to return an ``Integral`` (value, error bound, status, evaluations) in place of the value alone.

    Returns:
      ``integrated(a, b, *args)``: what ``fun`` returns, integrated from ``a`` to ``b``. Either may be infinite, and
      ``a > b`` changes the sign. The value alone is NaN where ``"adaptive"`` gave up; at rounding level it is not.
      Ready for ``jit``, ``vmap`` and ``grad``, forward and reverse, in the limits, in ``args`` and in floating-point
      values that ``fun`` closes over; the derivative in ``args`` is summed on the same nodes.

    Raises:
      ValueError: for an unknown method, a ``num_points`` that it does not take, limits that are NaN or no scalars, a
        tolerance that is negative or not finite.
      TypeError: if ``fun`` is no function or returns nothing, or a limit is no real number.

    Cost:
      ``num_points`` evaluations in one batch; ``"adaptive"`` ``num_points`` for each of 4 intervals and of their 8
      halves, and twice as many for each further bisection; its derivatives in ``args`` ``num_points * max_intervals``
      evaluations of the tangent.

    Source:
      R. Piessens et al., QUADPACK, 1983, for the adaptive scheme; L. F. Shampine, Vectorized adaptive quadrature in
      MATLAB, 2008, for the changes of variable.
    """
    choices: dict[str, Any] = {"method": method, "num_points": num_points, "tol": tol, "atol": atol}
    return named_integral("integral", fun, **choices, max_intervals=max_intervals, report=report)


def named_integral(
    who: str,
    fun: Callable[..., Any],
    *,
    method: str,
    num_points: int | None,
    tol: Any,
    atol: Any = None,
    max_intervals: int = 512,
    report: bool = False,
) -> Callable[..., Any]:
    """``integral`` in the name of whoever asks."""
    checks.function(who, fun)
    scheme = _scheme(who, method, num_points, tol, atol, max_intervals)

    @jax.jit
    def core(a, b, tolerances, args):
        return _integrate(who, fun, scheme, a, b, tolerances, args)

    @sending
    def integrated(a, b, *args):
        a, b = _bound(who, a), _bound(who, b)
        dtype = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
        relative = jnp.finfo(dtype).eps ** 0.5 if tol is None else tol
        tolerances = jnp.asarray(relative, dtype), jnp.asarray(0.0 if atol is None else atol, dtype)
        found = core(a.astype(dtype), b.astype(dtype), tolerances, args)
        if report:
            return found
        trusted = (found.status != _BUDGET) & (found.status != _NON_FINITE)
        # A factor, and no choice: it makes the gradient NaN as well.
        return jax.tree.map(lambda v: v * jnp.where(trusted, 1, jnp.nan).astype(v.dtype), found.value)

    return integrated


class _Scheme(NamedTuple):
    """A resolved method: change of variable, nodes (one tuple of arrays), weights, and what only adapting needs."""

    change: Callable[..., Any]
    nodes: tuple[np.ndarray, ...]
    weights: np.ndarray
    gauss: np.ndarray | None = None
    max_intervals: int = 0


def _scheme(who: str, method: str, num_points: int | None, tol: Any, atol: Any, max_intervals: int) -> _Scheme:
    checks.one_of(who, "method", method, _METHODS)
    method = "adaptive" if method == "auto" else method
    default = _DEFAULT_POINTS.get(method, _UNIFORM_POINTS)
    points = checks.integer(who, "num_points", default if num_points is None else num_points)
    if method != "adaptive":
        if tol is not None or atol is not None:
            raise ValueError(f"{who}: tol and atol are for method='adaptive', got method={method!r}.")
        rule = quadrature_rule(method, points, who=who)
        return _Scheme(_whole, (rule.nodes, rule.complements), rule.weights)
    if points < 7 or points % 2 == 0:
        raise ValueError(f"{who}: num_points of 'adaptive' must be odd and at least 7, got {points}. Use 15 or 21.")
    checks.integer(who, "max_intervals", max_intervals, least=2 * _START)
    for name, given in (("tol", tol), ("atol", atol)):
        if given is not None:
            checks.tolerance(who, name, given)
    rule, gauss = gauss_kronrod(points)
    return _Scheme(_halves, (rule.nodes, rule.complements), rule.weights, gauss, max_intervals)


def _bound(who: str, value: Any) -> jax.Array:
    """A limit as a floating-point scalar."""
    checks.not_nan(who, "a limit", checks.scalar(who, "a limit", value))
    return jnp.asarray(value, jnp.result_type(value, float))


def _integrate(who: str, fun, scheme: _Scheme, a, b, tolerances, args) -> Integral:
    """The integral by a resolved scheme, limits and tolerances being of one dtype."""
    # What fun closes over becomes an operand: a rule for derivatives may not close over what is differentiated.
    opened, consts = hoisted(fun, jnp.ones_like(a), *args)
    leaves, tree = jax.tree.flatten((args, consts))

    def floating(x, leaves):
        args, consts = jax.tree.unflatten(tree, leaves)
        return jax.tree.map(lambda y: jnp.asarray(y, jnp.result_type(y, a.dtype)), opened(consts, x, *args))

    shapes = jax.eval_shape(floating, a, leaves)
    zeros, unravel = ravel_pytree(jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), shapes))
    if zeros.size == 0:
        raise TypeError(f"{who}: fun must return at least one number, got none.")
    vector = lambda x, leaves: ravel_pytree(floating(x, leaves))[0]

    if scheme.gauss is None:
        mesh = _Mesh(tuple(jnp.asarray(n, a.dtype) for n in scheme.nodes), jnp.asarray(scheme.weights, a.dtype))
        known, status = None, jnp.int32(_NO_ESTIMATE)
        error = jnp.full(zeros.shape, jnp.nan, zeros.real.dtype)
        evaluations = jnp.int32(mesh.weights.size)
    else:
        frozen = jax.lax.stop_gradient((a, b, leaves, tolerances))
        known, error, status, evaluations, mesh = _refine(scheme, vector, *frozen)
    value = _leibniz(scheme.change, vector)(a, b, leaves, mesh, known)
    # Errors are real, whatever the value is.
    error = jax.tree.map(jnp.real, unravel(error.astype(zeros.dtype)))
    return Integral(unravel(value), error, status, evaluations)


# -- changes of variable -------------------------------------------------------------------------------------------


def _whole(lo, hi, t, c):
    """``x`` and ``|dx/dt|`` at ``t`` and ``c = 1 - t`` in [0, 1], and which nodes count; affine if finite."""
    below, above = jnp.isinf(lo), jnp.isinf(hi)
    first, last = jnp.where(below, 0, lo), jnp.where(above, 0, hi)
    counts = ~(below & (t == 0)) & ~(above & (c == 0))
    inner, outer = jnp.where(t == 0, 1, t), jnp.where(c == 0, 1, c)
    up, down = t / outer, c / inner
    x, slope = first * c + last * t, jnp.broadcast_to(last - first, t.shape)
    x = jnp.where(above, first + up * up, jnp.where(below, last - down * down, x))
    slope = jnp.where(above, 2 * up / outer**2, jnp.where(below, 2 * down / inner**2, slope))
    x = jnp.where(below & above, (1 / outer - 1 / inner) / 2, x)
    slope = jnp.where(below & above, (1 / outer**2 + 1 / inner**2) / 2, slope)
    return _inside(lo, hi, x, slope, counts, (t > 0) & (c > 0))


def _halves(lo, hi, r):
    """``x`` and ``|dx/dr|`` for ``r`` in [-1, 1]: ``|r|`` counts from the lower end if ``r > 0``, else from the upper.

    Each end lies at 0, where floating-point numbers are dense, and algebraic singularities there get weaker:
    ``x = end + (split - end) r^2``, or ``split +- (1 / r^2 - 1)`` towards infinity. ``r = +-1`` is the split point.
    """
    below, above = jnp.isinf(lo), jnp.isinf(hi)
    split, unit = _split(lo, hi)
    u = jnp.where(r == 0, 1, jnp.abs(r))
    lower = r > 0
    end = jnp.where(lower, jnp.where(below, split, lo), jnp.where(above, split, hi))
    far = jnp.where(lower, below, above)
    outward = jnp.where(lower, -unit, unit)
    x = jnp.where(far, split + outward * (1 / u**2 - 1), end + (split - end) * u**2)
    slope = jnp.where(far, 2 * unit / u**3, 2 * u * jnp.abs(split - end))
    return _inside(lo, hi, x, slope, r != 0, r != 0)


def _split(lo, hi):
    """A point well inside the interval, and a unit of length for what is infinite."""
    below, above = jnp.isinf(lo), jnp.isinf(hi)
    first, last = jnp.where(below, 0, lo), jnp.where(above, 0, hi)
    unit = jnp.maximum(1, jnp.finfo(lo.dtype).eps ** 0.5 * jnp.abs(first + last))
    point = jnp.where(above, first + unit, jnp.where(below, last - unit, first / 2 + last / 2))
    return jnp.where(below & above, 0, point), unit


def _inside(lo, hi, x, slope, counts, interior):
    """Points moved to safety: to the next number, where rounded onto an end that is not theirs, or out of the sum.

    Between neighbours there is no number, and the ends stand for what lies between.
    """
    counts &= jnp.isfinite(x) & jnp.isfinite(slope) & (slope != 0) & (lo != hi)
    low, high = _next(lo, hi), _next(hi, lo)
    x = jnp.where(interior & (low < hi), jnp.clip(x, low, high), x)
    return jnp.where(counts, x, _split(lo, hi)[0]), jnp.where(counts, slope, 0)


def _next(x, towards):
    """The next normal number; subnormal ones are taken for 0 on some devices."""
    x, towards = jax.lax.stop_gradient((x, towards))  # what does not move with the limits
    tiny, y = jnp.finfo(x.dtype).tiny, jax.lax.nextafter(x, towards)
    return jnp.where(jnp.abs(y) < tiny, jnp.sign(towards - x) * tiny, y)


def _ordered(a, b):
    """The limits in increasing order, and the sign that this costs, NaN if a limit is."""
    sign = jnp.where(a <= b, 1, jnp.where(a > b, -1, jnp.nan)).astype(a.dtype)
    return jnp.where(a <= b, a, b), jnp.where(a <= b, b, a), sign


# -- sums and their derivatives ------------------------------------------------------------------------------------


class _Mesh(NamedTuple):
    """Nodes before the change of variable, and weights."""

    nodes: tuple[jax.Array, ...]
    weights: jax.Array


def _samples(change, vector, lo, hi, nodes, leaves) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Points (n,), integrand (n, m) and integrand times the slope of the change of variable (n, m) at all nodes."""
    x, slope = change(lo, hi, *nodes)
    values = jax.vmap(vector, (0, None))(x, leaves)
    return x, values, jnp.where(slope[:, None] == 0, 0, slope[:, None] * values)


def _leibniz(change, vector):
    """``(a, b, leaves, mesh, known) -> `` the integral, with the Leibniz rule; ``known`` is its value or None."""

    @jax.custom_jvp
    def value(a, b, leaves, mesh, known):
        if known is not None:
            return known
        lo, hi, sign = _ordered(a, b)
        samples = _samples(change, vector, lo, hi, mesh.nodes, leaves)[2]
        return sign * (mesh.weights[:, None] * samples).sum(0)

    def rule(primals, tangents):
        a, b, leaves, mesh, known = primals
        da, db, moves, _, _ = tangents
        out = value(a, b, leaves, mesh, known)
        change_of_value = jnp.zeros_like(out)
        for end, step, sign in ((b, db, 1), (a, da, -1)):
            if not isinstance(step, SymbolicZero):
                change_of_value += sign * step * _end_value(vector, end, leaves)
        moving = [i for i, move in enumerate(moves) if not _still(move)]
        if moving:
            slope = functools.partial(_slope, vector, moving, len(leaves))
            operands = [*leaves, *(moves[i] for i in moving)]
            change_of_value += _leibniz(change, slope)(a, b, operands, mesh, None)
        return out, change_of_value

    value.defjvp(rule, symbolic_zeros=True)
    return value


def _still(move: Any) -> bool:
    """Whether a tangent is that of something constant."""
    return isinstance(move, SymbolicZero) or move.dtype == jax.dtypes.float0


def _end_value(vector, end, leaves) -> jax.Array:
    """The integrand at a limit, 0 at infinity."""
    finite = jnp.isfinite(end)
    return jnp.where(finite, vector(jnp.where(finite, end, 0), leaves), 0)


def _slope(vector, moving: Sequence[int], count: int, x, operands) -> jax.Array:
    """The derivative of the integrand along the moving leaves, whose tangents follow the leaves."""
    leaves, moves = operands[:count], operands[count:]

    def along(*moved):
        current = list(leaves)
        for i, leaf in zip(moving, moved):
            current[i] = leaf
        return vector(x, current)

    # Not jax.jvp: JAX 0.12 transposes a call with a custom rule as it stands, and takes for linear in it whatever
    # nested jit (such as jnp.where's) computes a value and its slope together. Linearised, the two are apart.
    return jax.linearize(along, *(leaves[i] for i in moving))[1](*moves)


# -- adapting ------------------------------------------------------------------------------------------------------


class _Intervals(NamedTuple):
    """Up to N intervals, the first ``used`` in use: ends (N,); value, error, floor, noise, doubt (N, m)."""

    left: jax.Array
    right: jax.Array
    value: jax.Array
    error: jax.Array
    floor: jax.Array
    noise: jax.Array
    doubt: jax.Array
    used: jax.Array


def _heavy_tail(vector, lo, hi, leaves) -> jax.Array:
    """Whether ``|x f(x)|`` does not fall far out on an infinite side: then the integral has no value.

    What is halved without end near infinity would otherwise pass for one, of the largest numbers that there are.
    """
    # Three, lest a square overflow at the last.
    far = 10.0 ** (np.log10(float(jnp.finfo(lo.dtype).max)) * np.array([0.125, 0.25, 0.5]))
    inside = jnp.where(jnp.isfinite(lo), lo, jnp.where(jnp.isfinite(hi), hi, 0))
    low = jnp.where(jnp.isneginf(lo), jnp.asarray(-far, lo.dtype), inside)
    high = jnp.where(jnp.isposinf(hi), jnp.asarray(far, lo.dtype), inside)
    x = jnp.concatenate([low, high])
    size = jnp.abs(x[:, None] * jax.vmap(lambda x: vector(x, leaves))(x))
    size = size.reshape(2, 3, -1)
    near, out = size[:, :-1], size[:, 1:]
    infinite = jnp.stack([jnp.isneginf(lo), jnp.isposinf(hi)])
    return jnp.any(infinite[:, None, None] & (near > 0) & (out >= _LEVEL * near))


def _unseen(vector, lo, hi, leaves, reach, t, doubtful) -> jax.Array:
    """What lies between each end and the nearest points that there are, beyond what these stand for; shape (2, m).

    With ``g(d) = d |f(d)|`` at distance d (or 1 / d, far out) and the exponent ``p = g' d / g`` there, a power has
    ``g / p`` in store, and a power of the logarithm, whose exponent falls, ``g / p / (1 - c)``, ``c = p' d / p^2``:
    endless, where p is not positive or c not below 1.

    Args:
      reach: how long the intervals at the lower and at the upper end are, before the change of variable; shape (2,).
      t: nodes on [0, 1], shape (n,).
      doubtful: whether to extrapolate where no node was lost to rounding as well.
    """
    last = (4 / jnp.finfo(lo.dtype).max) ** (2 / 3)  # the furthest point has a finite slope
    split, unit = _split(lo, hi)

    def at_end(end, outward, reach):
        far = jnp.isinf(end)
        r = -outward * reach * t
        x, slope = _halves(lo, hi, r)
        counts = slope > 0
        distance = jnp.abs(jnp.where(far, x, x - end))
        # Nodes that do not count, or had to move.
        cut = (~counts | (~far & (2 * jnp.abs(split - end) * r**2 < distance))).any()
        furthest = jnp.where(counts.any(), jnp.where(counts, distance, 0).max(), 1 / last)
        extreme = jnp.where(far, furthest, jnp.where(counts, distance, jnp.inf).min())
        ratios = jnp.asarray([1, _APART, _APART**2], lo.dtype)
        inner = jnp.minimum(extreme * ratios, jnp.abs(split - end))
        outer = jnp.maximum(extreme / ratios, jnp.abs(split) + unit)
        points = jnp.where(far, outward * outer, jnp.where(far, 0, end) - outward * inner)
        distances = jnp.abs(jnp.where(far, points, points - jnp.where(far, 0, end)))
        g = distances[:, None] * jnp.abs(jax.vmap(vector, (0, None))(points, leaves))
        steps = jnp.abs(jnp.diff(jnp.log(distances)))[:, None]
        near, further = jnp.diff(jnp.log(g), axis=0) / steps
        overall = jnp.log(g[2] / g[0]) / steps.sum()
        exponent = jnp.where(near > 0, near, overall)  # of what oscillates one of three values may be small by chance
        c = jnp.where(near > 0, jnp.maximum((further - near) / steps.mean() / (near * further), 0), 0)
        c = jnp.where(jnp.isfinite(c), c, 0)
        store = jnp.where((exponent > 0) & (c < 1), 1 / (exponent * (1 - c)), jnp.inf)
        rest = _UNSEEN * g[0] * jnp.maximum(jnp.where(far, store, store - 1), 0)
        told = (cut | doubtful) & (steps[0] > np.log(2)) & (g[0] > 0)
        return jnp.where(told, jnp.where(jnp.isnan(rest), jnp.inf, rest), 0)

    ends, signs = jnp.stack([lo, hi]), jnp.asarray([-1.0, 1.0], lo.dtype)
    return jax.vmap(at_end)(ends, signs, reach)


def _blur(first, last):
    """How wide an interval is in which points are not told apart, as a fraction of the one between two points."""
    eps, tiny = jnp.finfo(first.dtype).eps, jnp.finfo(first.dtype).tiny
    width = jnp.maximum(jnp.abs(last - first), tiny)
    return jnp.minimum(_MOVED * eps * jnp.maximum(jnp.abs(first), jnp.abs(last)) / width, 1)


def _refine(scheme: _Scheme, vector, a, b, leaves, tolerances):
    """Value, error, status, evaluations and the mesh by global bisection."""
    tol, atol = tolerances
    lo, hi, sign = _ordered(a, b)
    t, c = (jnp.asarray(n, a.dtype) for n in scheme.nodes)
    assert scheme.gauss is not None
    weights, gauss = jnp.asarray(scheme.weights, a.dtype), jnp.asarray(scheme.gauss, a.dtype)
    most = scheme.max_intervals

    @jax.vmap
    def measure(left, right):
        x, values, samples = _samples(scheme.change, vector, lo, hi, (left * c + right * t,), leaves)
        samples = (right - left) * samples
        mean = lambda w, y: (w[:, None] * y).sum(0)
        size = jnp.finfo(a.dtype).eps * mean(weights, jnp.abs(samples))
        # Rounding moves the points as well, by eps |x|: the integrand answers with its slope. Of an interval that was
        # bisected until it is as narrow as that nothing is known; one that is short by itself is taken for smooth.
        hidden = jnp.where(right - left < 0.75 / _START, _blur(x[0], x[-1]) ** 2, 0) / jnp.finfo(x.dtype).eps
        slopes = (jnp.abs(x[1:, None]) * jnp.abs(jnp.diff(values, axis=0))).sum(0)
        noise = _ROUNDING * size
        floor = noise + hidden * size + jnp.finfo(a.dtype).eps * slopes
        kronrod = mean(weights, samples)
        gap = jnp.abs(kronrod - mean(gauss, samples))
        return kronrod, jnp.where(jnp.isfinite(gap), gap, jnp.inf), floor, noise

    def halved(left, right, value, error, doubt):
        """Ends, value, error, floor, noise and doubt (what estimates differ by) of both halves of an interval."""
        middle = left + (right - left) / 2
        ends = jnp.stack([left, middle]), jnp.stack([middle, right])
        values, gaps, floors, noise = measure(*ends)
        # At a kink or a pole inside, two rules may agree by chance: what the whole interval missed counts too.
        missed = jnp.abs(values.sum(0) - value)
        doubts = jnp.maximum(gaps, jnp.where(jnp.isfinite(missed), missed, 0))
        # Geometric series: had each bisection so far left a fraction r of the error, all further ones together
        # would take away r / (1 - r) of what the last took.
        before, after = doubt.max(), doubts.max(1).sum()
        fraction = jnp.where(jnp.isfinite(before) & (before > 0), after / before, 0.5)
        fraction = jnp.where(jnp.isfinite(fraction), jnp.minimum(fraction, _SLOWEST), _SLOWEST)
        # Unless the integrand is seen to be smooth, or all is noise, no half is believed to gain more than a factor 2.
        smooth = (fraction < _SPECTRAL) | (doubts <= floors)
        rough = jnp.maximum(_ROUGH, fraction / (1 - fraction)) * doubts
        rough = jnp.maximum(rough, jnp.where(jnp.isfinite(error), error, jnp.where(jnp.isfinite(doubt), doubt, 0)) / 2)
        errors = jnp.maximum(jnp.where(smooth, doubts, rough), floors)
        return *ends, values, jnp.where(jnp.isfinite(gaps), errors, jnp.inf), floors, noise, doubts

    def urgency(s: _Intervals):
        middle = s.left + (s.right - s.left) / 2
        divisible = (s.left < middle) & (middle < s.right)
        return jnp.where(divisible, jnp.where(s.error > s.floor, s.error, 0).max(1), 0)

    def within(s: _Intervals, unseen: Any = 0.0):
        value, error = s.value.sum(0), (s.error.sum(0) + unseen).max()
        return jnp.isfinite(value).all() & (error <= jnp.maximum(atol, tol * jnp.abs(value).max()))

    def bisect(s: _Intervals):
        worst = jnp.argmax(urgency(s))
        left, right, value, error, floor, noise, doubt = halved(
            s.left[worst], s.right[worst], s.value[worst], s.error[worst], s.doubt[worst]
        )
        put = lambda old, pair: old.at[jnp.stack([worst, s.used])].set(pair)
        return _Intervals(
            put(s.left, left),
            put(s.right, right),
            put(s.value, value),
            put(s.error, error),
            put(s.floor, floor),
            put(s.noise, noise),
            put(s.doubt, doubt),
            s.used + 1,
        )

    edges = jnp.linspace(-1, 1, _START + 1, dtype=a.dtype)
    value, gap, floor, noise = measure(edges[:-1], edges[1:])
    # Unused places repeat the first interval with weight 0, so that no new point is evaluated for nothing.
    pad = lambda rows, fill: jnp.concatenate([rows, jnp.broadcast_to(fill, (most - _START, *rows.shape[1:]))])
    blank = lambda rows: pad(rows, jnp.zeros((), rows.dtype))
    # Without an estimate of what a bisection changes no interval is done.
    unknown = blank(jnp.full_like(gap, jnp.inf))
    ends = pad(edges[:-1], edges[0]), pad(edges[1:], edges[1])
    start = _Intervals(*ends, blank(value), unknown, blank(floor), blank(noise), blank(gap), jnp.int32(_START))
    end = jax.lax.while_loop(lambda s: (s.used < most) & ~within(s) & (urgency(s).max() > 0), bisect, start)
    used = jnp.arange(most) < end.used
    finite = jnp.isfinite(end.value).all() & jnp.isfinite(end.error).all() & ~jnp.isnan(sign)
    finite &= ~_heavy_tail(vector, lo, hi, leaves)
    # An interval at an end, which is 0 before the change of variable, has an estimate of what lies beyond its nodes.
    at_ends = used & jnp.stack([end.left == 0, end.right == 0])
    reach = jnp.where(at_ends, end.right - end.left, jnp.inf).min(1)
    estimated = jnp.where(at_ends[..., None], end.error, 0).sum(1)
    unseen = jnp.maximum(_unseen(vector, lo, hi, leaves, reach, t, ~within(end)) - estimated, 0).sum(0)
    # What was not resolved down to where points are not told apart, as at a pole inside, has no bound.
    ends = [_halves(lo, hi, r)[0] for r in (end.left, end.right)]
    murky = jnp.where(((_blur(*ends) > _MURKY) & used)[:, None], end.error, 0).sum(0)
    murky = ~within(end, unseen) & (murky > _BENIGN * end.noise.sum(0))
    unseen = jnp.where(murky, jnp.inf, unseen)
    noisy = (end.error <= end.floor).all() & (end.floor.sum(0) + unseen <= _BENIGN * end.noise.sum(0)).all()
    status = jnp.where(noisy, _NOISE, _BUDGET)
    status = jnp.where(finite, jnp.where(within(end, unseen), _CONVERGED, status), _NON_FINITE).astype(jnp.int32)
    nodes = end.left[:, None] * c + end.right[:, None] * t
    mesh = _Mesh((nodes.ravel(),), (jnp.where(used, end.right - end.left, 0)[:, None] * weights).ravel())
    evaluations = t.size * (_START + 2 * (end.used - _START))
    return sign * end.value.sum(0), end.error.sum(0) + unseen, status, evaluations, mesh

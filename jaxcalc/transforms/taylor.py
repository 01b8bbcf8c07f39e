"""Taylor coefficients along a line, by arithmetic on truncated power series, for whole programs."""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import jaxpr_as_fun

from jaxcalc import checks
from jaxcalc.programs import primitives, walk
from jaxcalc.programs.walk import Equation
from jaxcalc.transforms import interpreter
from jaxcalc.transforms.choose import make_plan
from jaxcalc.transforms.guards import own_transfers
from jaxcalc.transforms.jacobian_routes import attempt, vector_route
from jaxcalc.transforms.lifting import LeafMap, abstract, is_concrete, lift, with_vector
from jaxcalc.transforms.plan import Operator, Request, Route

__all__ = ["TAYLOR", "TaylorMethod", "along", "nested", "nth_derivative", "series", "steep", "taylor"]


TaylorMethod = Literal["auto", "series", "nested"]

# Recurrences of higher order have so many operations, each on arrays of another length, that one program is compiled
# several times faster than they are one by one.
_LONG = 12
# Nested, the next derivative doubles the program: beyond this order it is not even traced to be priced.
_NESTED = 5


def taylor(
    fun: Callable[[Any], Any], order: int, /, *, method: TaylorMethod | str = "auto"
) -> Callable[[Any, Any], Any]:
    """The Taylor coefficients of a function along a line.

        c_m = (1 / m!) d^m/dt^m f(x + t v) at t = 0,    m = 0, ..., order

    Every intermediate value is a power series in t, cut off after ``order``: linear operations act on each coefficient,
    products are Cauchy products, ``exp``, ``sin``, ``tanh``, ... follow the recurrences of their differential
    equations, and any other primitive is integrated from its own derivative: ``y' = Df(x(t)) x'(t)``, a program again,
    wanted to one order less. Loops and branches run once, on series. Where a ``jax.custom_jvp`` rule of one's own
    gives another function than its own as the value, no series describes both, and from order 2 on the whole is
    differentiated by nested forward mode.

    Args:
      fun: from one array or PyTree of floating-point arrays to one array or PyTree of such.
      order: how many derivatives, 0 or more.
      method: ``"series"``, or ``"nested"``, forward mode in forward mode; ``"auto"`` takes the least predicted time,
        and series where a slope may be infinite: they know that what stands still has none.

    Returns:
      ``coefficients(x, v)``, where ``v`` is a PyTree like ``x``: what ``fun`` returns, with a leading axis of length
      ``order + 1`` on every leaf. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      TypeError: if ``order`` is no integer, or an argument or result not of floating-point.
      ValueError: for an unknown method, if ``order`` is negative, or ``x`` and ``v`` differ in structure or shape.
      NotImplementedError: where ``x`` reaches a ``jax.custom_vjp`` function, which has no forward derivative.

    Cost:
      ``order^2 / 2`` times the function where it multiplies, ``order`` times where it is linear (nested forward mode:
      ``2^order``).

    Source:
      A. Griewank, A. Walther, Evaluating Derivatives, 2nd ed., 2008, chapter 13.
    """
    return along(fun, order, "taylor", checks.one_of("taylor", "method", method, get_args(TaylorMethod)))


def nth_derivative(fun: Callable[[Any], Any], n: int, /) -> Callable[[Any], Any]:
    """The n-th derivative of a function of one number.

        t -> d^n f / dt^n

    Args:
      fun: from a floating-point scalar to an array or PyTree of arrays.
      n: 0 or more.

    Returns:
      ``derivative(t)``, like what ``fun`` returns. Ready for ``jit``, ``vmap`` and ``grad``.

    Raises:
      TypeError: if ``n`` is no integer or ``t`` no floating-point number.
      ValueError: if ``n`` is negative or ``t`` no scalar.

    Cost:
      That of ``taylor(fun, n)``.
    """
    n = checks.integer("nth_derivative", "n", n, least=0)
    coefficients = along(fun, n, "nth_derivative", "series")
    step, factor = _near_one(n)

    def derivative(t):
        with own_transfers():
            t = jnp.asarray(checks.scalar("nth_derivative", "t", t))
            checks.floating("nth_derivative", "t", t, "Convert it to a float.", real=False)
            towards = jnp.full_like(t, step)
        stacks = coefficients(t, towards)
        with own_transfers():
            return jax.tree.map(lambda rows: rows[n] * factor, stacks)

    return derivative


def _near_one(n: int) -> tuple[float, float]:
    """A step s of few digits and ``n! / s^n``, near 1: the last coefficient along s is of the derivative's own size.

    Along 1 it would be ``n!`` times smaller, and underflow where the derivative does not.
    """
    if n == 0:
        return 1.0, 1.0
    exponent = math.lgamma(n + 1) / n / math.log(2)
    # Up to there a power of two will do, which changes no rounding.
    bits = 0 if n <= 8 else 6
    step = Fraction(round(2 ** (exponent - math.floor(exponent) + bits)), 2**bits) * 2 ** math.floor(exponent)
    return float(step), float(Fraction(math.factorial(n)) / step**n)


def along(fun: Callable[[Any], Any], order: int, who: str, method: str = "series") -> Callable[[Any, Any], Any]:
    """``taylor`` in the name of whoever asks."""
    checks.function(who, fun)
    order = checks.integer(who, "order", order, least=0)

    def coefficients(x, v):
        if order > _LONG and is_concrete((x, v)):
            return compiled(x, v)
        with own_transfers() as guarded:
            return eagerly(guarded(fun), x, v)

    def eagerly(called, x, v):
        leaves, tree = jax.tree.flatten(jax.tree.map(jnp.asarray, x))
        for leaf in leaves:
            checks.floating(who, "x", leaf, "Close over what does not move.", real=False)
        steps = jax.tree.leaves(checks.vector(who, "v", v, "x", x))
        found = []

        def flat(*arrays):
            outputs, structure = jax.tree.flatten(called(jax.tree.unflatten(tree, arrays)))
            found[:] = [structure]
            return outputs

        chosen = _cheapest(fun, order, x, v) if method == "auto" else method
        rows = (_nested if chosen == "nested" else series)(who, flat, leaves, steps, order)
        return jax.tree.unflatten(found[0], rows)

    compiled = jax.jit(coefficients)
    return coefficients


def series(who: str, fun: Callable[..., Any], point: Sequence[Any], step: Sequence[Any], order: int) -> list[Any]:
    """The coefficients of a function of arrays along a line, one stack an output."""
    program = interpreter.program_of(fun, *point)
    checks.returns_floating(who, program.outputs, real=False)
    # Coefficients have an axis more than what they are multiplied by; that is no accident of the user's.
    with jax.numpy_rank_promotion("allow"):
        lines = [_line(leaf, towards, order) for leaf, towards in zip(point, step)]
        try:
            outputs = interpreter.propagate(_algebra(Context(order, who, {})), program, lines)
        except _NoSeries:
            return _nested(who, fun, point, step, order)
        return [_lifted(output, order).rows for output in outputs]


class _NoSeries(Exception):
    """A value whose derivatives depend on the order in which they are taken."""


def _nested(who: str, fun: Callable[..., Any], point: Sequence[Any], step: Sequence[Any], order: int) -> list[Any]:
    program = jax.make_jaxpr(fun)(*abstract(point))
    checks.returns_floating(who, program.out_avals, real=False)
    fun = jaxpr_as_fun(program)  # what is evaluated several times runs the user's Python once
    equations = interpreter.program_of(fun, *point).everything()
    given = next((each for each in equations if each.name == "custom_vjp_call"), None)
    if order and given is not None:  # JAX finds out late, when it compiles, and names nobody
        like = tuple(abstract(point))
        if attempt(lambda x, t: jax.jvp(lambda *y: tuple(fun(*y)), x, t)[1], like, like)[0] is None:
            raise interpreter.refusal(who, given)
    return nested(fun, [jnp.stack(pair) for pair in zip(point, step)], order)


# -- planning ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Choices:
    order: int
    method: str = "auto"
    memory_budget: int | None = None


def _choices(*, order: Any = None, method: str = "auto", memory_budget: int | None = None) -> _Choices:
    checks.one_of("taylor", "method", method, get_args(TaylorMethod))
    budget = checks.num_bytes("taylor", "memory_budget", memory_budget)
    return _Choices(checks.integer("taylor", "order", order, least=0), method, budget)


def _lift(fun: Callable[..., Any], args: Sequence[Any], choices: _Choices) -> LeafMap:
    if len(args) != 2:
        raise TypeError(f"taylor: two arguments are wanted, the point and the direction, got {len(args)}.")
    x, v = args
    point = jax.tree.leaves(x)
    core = lift("taylor", fun, 0, (x,), holomorphic=bool(point) and all(map(jnp.iscomplexobj, point)))
    return with_vector("taylor", core, v, "x")


def _routes(core: LeafMap, choices: _Choices, slack: float = 1.0) -> list[Route]:
    methods = {"series": series, "nested": _nested}
    found = []
    for method in methods if choices.method == "auto" else (choices.method,):
        refused = _passed_over(core, choices.order) if choices.method == "auto" and method == "nested" else ""
        if refused:
            found.append(Route(method, refused=refused))
            continue
        follow = lambda at, v, rule=methods[method]: rule("taylor", at.plain, at.inputs, v, choices.order)
        found.append(vector_route(core, method, follow, passes=1 if method == "series" else 2**choices.order))
    return found


def _passed_over(core: LeafMap, order: int) -> str:
    """Why nested forward mode is not even priced, unless it is asked for by name."""
    if order > _NESTED:
        return f"{2**order} times the function: 2 to the power of the order"
    infinite = steep(core.plain, *abstract(core.inputs))
    return "a slope may be infinite, and forward mode multiply it by 0" if infinite else ""


def steep(fun: Callable[..., Any], *like: Any) -> bool:
    """Whether a function has a value or a slope that may be infinite where its arguments are not."""
    program = walk.trace(fun, *like)  # with custom rules opened: the function itself tells
    reached, outermost = walk.dependents(program, range(len(program.inputs))), set(program.equations)
    for equation in program.everything():
        if not primitives.of(equation.name).infinite or (
            equation in outermost and not any(value in reached for value in equation.inputs)
        ):
            continue
        if equation.name == "square" or equation.params.get("y", -1) > 0:  # powers are nowhere steep
            continue
        if equation.name == "div" and equation.inputs[1].literal is not None and np.all(equation.inputs[1].literal):
            continue
        return True
    return False


def _cheapest(fun: Callable[[Any], Any], order: int, x: Any, v: Any) -> str:
    """The planned method; up to order 1 both are one forward derivative, and far up one alone is possible."""
    if not 2 <= order <= _NESTED:
        return "series"
    try:
        with own_transfers() as guard:
            return make_plan(Request(TAYLOR, fun, _Choices(order), (x, v), guard)).chosen.method
    except (TypeError, ValueError):  # what series cannot follow either they say in their own words
        return "series"


TAYLOR = Operator("taylor", _choices, _lift, _routes, lambda core, choices, rows, aux: core.output_tree(rows))


# -- series --------------------------------------------------------------------------------------------------------


class Series:
    """A truncated power series.

    Args:
      rows: the coefficients, shape ``(order + 1, *S)``.
      origin: what is the same for a series and its truncations; an equation need not be run on it twice.
    """

    __slots__ = ("origin", "rows")

    def __init__(self, rows: Any, origin: Any = None):
        self.rows, self.origin = rows, object() if origin is None else origin

    def truncated(self, order: int) -> "Series":
        """The first coefficients, up to an order."""
        return Series(self.rows[: order + 1], self.origin)


jax.tree_util.register_pytree_node(Series, lambda series: ((series.rows,), None), lambda _, rows: Series(rows[0]))


class Context(NamedTuple):
    """The order wanted, by whom, and what has been worked out: (primitive, parameters, origins, order) to outputs."""

    order: int
    who: str
    done: dict[Any, Any]


def _algebra(context: Context) -> interpreter.Algebra:
    order = context.order
    return interpreter.Algebra(
        carried=lambda operand: isinstance(operand, Series),
        value=_value,
        apply=functools.partial(_apply, context),
        # A fresh origin: within a loop's body nothing worked out outside may be found, nor the reverse.
        settle=lambda operand: Series(operand.rows) if isinstance(operand, Series) else operand,
        kind=lambda operand: isinstance(operand, Series) or None,
        join=lambda first, second: first or second,
        cast=lambda operand, kind: operand if kind is None else _lifted(operand, order),
        top=True,
        split=_turned,
        merge=_turned,
        otherwise=functools.partial(_by_nesting, context),
    )


def _by_nesting(context: Context, equation: Equation, operands: list[Any]) -> list[Any]:
    """An equation whose rule is another function than its value: what its own derivatives say, one in the other."""
    if equation.name == "custom_vjp_call":
        raise interpreter.refusal(context.who, equation)
    if context.order > 1 and interpreter.authored(equation):  # JAX's own rules give what their functions have
        raise _NoSeries
    moving = [isinstance(operand, Series) for operand in operands]
    values = list(map(_value, operands))
    curves = [operand.rows for operand in operands if isinstance(operand, Series)]
    rest = iter(nested(interpreter.along(equation, values, moving), curves, context.order))
    if context.order and _may_be_infinite(equation, moving):
        rest = iter([_standing(next(rest), [operand for operand in operands if isinstance(operand, Series)])])
    outputs = interpreter.bind(equation, *values)
    return [Series(next(rest)) if value.inexact else output for output, value in zip(outputs, equation.outputs)]


def nested(fun: Callable[..., Sequence[Any]], curves: Sequence[Any], order: int) -> list[Any]:
    """The coefficients of a function along curves, by forward mode in forward mode: ``2^order`` times the function.

    Args:
      fun: from arrays to several.
      curves: for each array its first coefficients along the curve, on a leading axis.
      order: of the last coefficient.
    """

    def on_curve(t):
        power = lambda rows: functools.reduce(
            lambda sum, row: sum * t.astype(row.real.dtype) + row, rows[-2::-1], rows[-1]
        )
        return tuple(fun(*map(power, curves)))

    derivatives = lambda t: (on_curve(t),)
    for _ in range(order):
        derivatives = functools.partial(_and_one_more, derivatives)
    widest = max((rows.real.dtype for rows in curves), key=lambda dtype: dtype.itemsize, default=jnp.result_type(float))
    # The values are taken at the point itself: an infinite coefficient times t = 0 is no number.
    found = [tuple(fun(*(rows[0] for rows in curves))), *derivatives(jnp.zeros((), widest))[1:]]
    return [jnp.stack([row / math.factorial(m) for m, row in enumerate(rows)]) for rows in zip(*found)]


def _and_one_more(derivatives: Callable[[Any], Any], t: Any) -> Any:
    """The derivatives of a function of t, and the slope of the last of them."""
    values, slopes = jax.jvp(derivatives, (t,), (jnp.ones_like(t),))
    return (*values, slopes[-1])


def _value(operand: Any) -> Any:
    return operand.rows[0] if isinstance(operand, Series) else operand


def _turned(operand: Any) -> Any:
    """The series with the first axis of its values before that of its coefficients, and back."""
    return Series(jnp.swapaxes(operand.rows, 0, 1)) if isinstance(operand, Series) else operand


def _lifted(operand: Any, order: int) -> Series:
    """A plain array as a constant series."""
    if isinstance(operand, Series):
        return operand
    operand = jnp.asarray(operand)
    return Series(_joined(operand, _zeros(operand, order)))


def _zeros(like: Any, count: int) -> Any:
    """Coefficients that vanish, sharded as the array before them."""
    return jnp.broadcast_to(jnp.zeros_like(like), (count, *like.shape))


def _line(point: Any, step: Any, order: int) -> Series:
    return Series(jnp.concatenate([point[None], step[None], _zeros(point, order - 1)]) if order else point[None])


def _joined(first: Any, rest: Any) -> Any:
    return jnp.concatenate([first[None], rest])


# -- rules ---------------------------------------------------------------------------------------------------------


def _apply(context: Context, equation: Equation, operands: list[Any]) -> list[Any]:
    """The outputs of one equation."""
    moving = [isinstance(operand, Series) for operand in operands]
    series = [operand for operand in operands if isinstance(operand, Series)]
    key = (equation.primitive, str(equation.params), tuple(_name(operand) for operand in operands), context.order)
    if key in context.done:
        return context.done[key][0]
    values = [_value(operand) for operand in operands]
    outputs = interpreter.bind(equation, *values)
    inexact = [value.inexact for value in equation.outputs]
    if context.order == 0:
        rows = [output[None] for output, flag in zip(outputs, inexact) if flag]
    elif interpreter.flat(equation, moving):
        fun = interpreter.along(equation, values, moving)
        points = tuple(one.rows[0] for one in series)
        higher = jax.vmap(lambda *t: jax.jvp(fun, points, t)[1])(*(one.rows[1:] for one in series))
        rows = [_joined(output, more) for output, more in zip(_some(outputs, inexact), higher)]
    elif interpreter.bilinear(equation, moving):
        rows = [_cauchy(lambda a, b: interpreter.bind(equation, a, b)[0], *(one.rows for one in series))]
    elif equation.name == "div" and len(series) in (1, 2):
        rows = [_quotient(operands[0], _widened(operands[1], equation.outputs[0].shape))]
    elif equation.name == "pow" and (moving[1] or interpreter.known(values[1])):
        rows = [_general_power(context, equation, operands, outputs[0])]
    elif equation.name in _RECURRENCES and equation.inputs[0].shape == equation.outputs[0].shape:
        rows = [_RECURRENCES[equation.name](equation, series[0].rows, outputs[0])]
    else:
        higher = _integrated(context, equation, values, moving, series)
        rows = [_joined(output, more) for output, more in zip(_some(outputs, inexact), higher)]
    if _may_be_infinite(equation, moving) and context.order:  # 0 times an infinite slope is no number
        rows = [_standing(rows[0], series)]
    rest = iter(rows)
    results = [Series(next(rest)) if flag else output for output, flag in zip(outputs, inexact)]
    context.done[key] = results, operands  # the operands too: what the key names must stay alive
    return results


def _widened(operand: Series, shape: Sequence[int]) -> Any:
    """The coefficients with all axes of a shape: JAX divides arrays by scalars as they are."""
    rows = operand.rows
    return rows if rows.ndim > len(shape) else rows.reshape(-1, *(1,) * len(shape))


def _standing(rows: Any, series: Sequence[Series]) -> Any:
    """The coefficients of an elementwise function: elements whose operands stand still do so, though the slope is none.

    Where the slope is finite they are 0 by themselves, and their own derivatives need not be.
    """
    still = functools.reduce(operator.and_, ((_widened(each, rows.shape[1:])[1:] == 0).all(0) for each in series))
    lost = still & ~jnp.isfinite(rows[1:])
    return rows.at[1:].set(jnp.where(lost, 0, rows[1:]))


# Finite wherever their arguments are, but for the range of the dtype.
_OVERFLOWING = frozenset({"cosh", "exp", "exp2", "expm1", "sinh"})


def _may_be_infinite(equation: Equation, moving: Sequence[bool]) -> bool:
    """Whether it acts element by element and its value or slope may be infinite; of a custom rule nothing is known."""
    if equation.name == "custom_jvp_call":
        return interpreter.elementwise_body(equation, moving)
    return bool(primitives.of(equation.name).infinite) or equation.name in _OVERFLOWING


def _name(operand: Any) -> int:
    return id(operand.origin) if isinstance(operand, Series) else id(operand)


def _some(outputs: Sequence[Any], flags: Sequence[bool]) -> list[Any]:
    return [output for output, flag in zip(outputs, flags) if flag]


def _integrated(
    context: Context, equation: Equation, values: list[Any], moving: list[bool], series: list[Series]
) -> list[Any]:
    """Coefficients 1 and up of any primitive, from the series of its derivative along the curve."""
    order = context.order
    fun = interpreter.along(equation, values, moving)
    points = tuple(one.rows[0] for one in series)
    program = walk.prune(interpreter.program_of(lambda x, t: jax.jvp(fun, x, t)[1], points, points))
    factors = range(1, order + 1)
    speeds = [Series(one.rows[1:] * _column(factors, one.rows)) for one in series]
    operands = [*(one.truncated(order - 1) for one in series), *speeds]
    slopes = interpreter.propagate(_algebra(context._replace(order=order - 1)), program, operands)
    rows = [_lifted(slope, order - 1).rows for slope in slopes]
    return [slope / _column(factors, slope) for slope in rows]


def _column(numbers: Sequence[int], like: Any) -> Any:
    return jnp.asarray(list(numbers), jnp.finfo(like.dtype).dtype).reshape(-1, *(1,) * (like.ndim - 1))


def _cauchy(product: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """``sum_i B(a_i, b_(m-i))`` for all m."""
    length = left.shape[0]
    total = jax.vmap(functools.partial(product, left[0]))(right)
    for i in range(1, length):
        total = total.at[i:].add(jax.vmap(functools.partial(product, left[i]))(right[: length - i]))
    return total


def _quotient(numerator: Any, below: Any) -> Any:
    """``q_m = (a_m - sum_j b_j q_(m-j)) / b_0``, the sum over j from 1."""
    length = below.shape[0]
    above = _lifted(numerator, length - 1).rows
    rows = (above[0] / below[0])[None]
    for m in range(1, length):
        rows = _appended(rows, (above[m] - (below[1 : m + 1] * rows[::-1]).sum(0)) / below[0])
    return rows


def _appended(rows: Any, row: Any) -> Any:
    return jnp.concatenate([rows, row[None].astype(rows.dtype)])


def _speeds(x: Any) -> Any:
    """``j x_j``, from j = 1."""
    return x[1:] * _column(range(1, x.shape[0]), x)


def _moved(speeds: Any, slopes: Any) -> Any:
    """Coefficient m of y, from ``y' = g x'`` and the m coefficients of g known so far."""
    m = slopes.shape[0]
    return (speeds[:m] * slopes[::-1]).sum(0) / m


def _exponential(_, x: Any, start: Any) -> Any:
    speeds, rows = _speeds(x), start[None]
    for _m in range(1, x.shape[0]):
        rows = _appended(rows, _moved(speeds, rows))
    return rows


def _exponential_minus_one(_, x: Any, start: Any) -> Any:
    return _exponential(None, x, jnp.exp(x[0])).at[0].set(start)


def _binary_exponential(_, x: Any, start: Any) -> Any:
    return _exponential(None, x * math.log(2.0), start)


def _power(exponent: Any, _, x: Any, start: Any) -> Any:
    """The recurrence of a power; p a number or an array of such, known while the program is traced."""
    zero, rows, least = x[0] == 0, start[None], 1.0
    base = jnp.where(zero, 1, x[0])
    for m in range(1, x.shape[0]):
        row = _next_power(exponent, x, rows, base)
        # At 0 the lowest power of x_0 leads, of which there is none in a derivative below p.
        least = least * (exponent - m + 1) / m
        lead = np.where(m < exponent, 0, np.copysign(np.inf, least))
        at_zero = jnp.where(m < exponent, 0, jnp.asarray(lead, start.dtype) * x[1] ** m)
        # Its own slope is 0 while that of a lower power of x_0 remains, else none: a derivative there is NaN, not 0.
        slope = jnp.where(zero & (m > exponent - 1), jnp.nan, 0)
        rows = _appended(rows, jnp.where(zero, _with_slope(jax.lax.stop_gradient(at_zero), x[0], slope), row))
    return rows


def _next_power(exponent: Any, x: Any, rows: Any, base: Any) -> Any:
    """``m x_0 y_m = sum_j ((p + 1) j - m) x_j y_(m-j)``, the sum over j from 1; m is how many rows there are."""
    m, stack = rows.shape[0], jnp.stack if isinstance(exponent, jax.Array) else np.stack
    factors = jnp.asarray(stack([(exponent + 1) * j - m for j in range(1, m + 1)]), rows.dtype)
    factors = factors.reshape(m, *np.shape(exponent) or (1,) * (rows.ndim - 1))
    return (factors * x[1 : m + 1] * rows[::-1]).sum(0) / (m * base)


def _power_away(exponent: Any, x: Any, start: Any) -> Any:
    """``_power`` where no base starts at 0, of any exponent."""
    rows = start[None]
    for _m in range(1, x.shape[0]):
        rows = _appended(rows, _next_power(exponent, x, rows, x[0]))
    return rows


@jax.custom_jvp
def _with_slope(value: Any, x: Any, slope: Any) -> Any:
    """The value, whose derivative by x is as given: a product with an infinity would reach other elements too."""
    return value


@_with_slope.defjvp
def _with_slope_jvp(primals: Any, tangents: Any) -> Any:
    value, _, slope = primals
    return value, (slope * tangents[1]).astype(value.dtype)


def _whole_power(exponent: Any, x: Any, start: Any) -> Any:
    """By repeated squaring: a recurrence in ``1 / x_0`` would not do at 0. A number, or an array of such from 0 up."""
    exponent = exponent.params.get("y", 2) if isinstance(exponent, Equation) else exponent
    left = np.abs(np.asarray(exponent, int))
    result, square = None, x
    one = jnp.zeros_like(x).at[0].set(1)
    while left.any():
        odd = left & 1
        if odd.any():
            factor = square if odd.all() else jnp.where(odd, square, one)
            result = factor if result is None else _cauchy(operator.mul, result, factor)
        left = left >> 1
        square = _cauchy(operator.mul, square, square) if left.any() else square
    if result is None:
        return _joined(start, jnp.zeros((x.shape[0] - 1, *start.shape), start.dtype))
    return _quotient(jnp.ones_like(x[0]), result) if np.any(np.less(exponent, 0)) else result


def _general_power(context: Context, equation: Equation, operands: list[Any], start: Any) -> Any:
    """``x^p`` for known p (the recurrence, or products where p is whole), or ``exp(y log x)``."""
    base, exponent = operands
    if not isinstance(exponent, Series) and np.all(np.isreal(exponent)):
        numbers, rows = np.asarray(np.real(exponent), float), _widened(base, start.shape)
        whole = (numbers == np.round(numbers)) & (numbers >= 0) & (numbers <= 64)
        if not whole.any():
            return _power(numbers, None, rows, start)
        products = _whole_power(np.where(whole, numbers, 1), rows, start)
        return products if whole.all() else jnp.where(whole, products, _power(numbers, None, rows, start))
    exponential = lambda x, y: jnp.exp(y * jnp.log(x))
    if interpreter.known(_value(base)) and not isinstance(base, Series) and np.all(np.real(base) > 0):
        shapes = [jax.ShapeDtypeStruct(value.shape, value.dtype) for value in equation.inputs]
        (rows,) = interpreter.propagate(
            _algebra(context), interpreter.program_of(exponential, *shapes), [base, exponent]
        )
        return _lifted(rows, context.order).rows.at[0].set(start)
    x, y = (_widened(_lifted(operand, context.order), start.shape).astype(start.dtype) for operand in operands)
    zero, still = x[0] == 0, (y[1:] == 0).all(0)
    # The logarithm of no element is taken that does not need one: its slope would be none there.
    aside = jnp.zeros_like(x).at[0].set(1)
    program = interpreter.program_of(exponential, *(jax.ShapeDtypeStruct(z.shape[1:], z.dtype) for z in (x, y)))
    logs = [Series(jnp.where(zero | still, aside, x)), Series(y)]
    (moved,) = interpreter.propagate(_algebra(context), program, logs)
    apart = jnp.where(zero, aside, x)
    held = _power_away(y[0], apart, jnp.where(zero, 1, start))
    rows = jnp.where(zero, _power_at_zero(x, y, start), jnp.where(still, held, _lifted(moved, context.order).rows))
    return rows.at[0].set(start)


def _power_at_zero(x: Any, y: Any, start: Any) -> Any:
    """``x^y`` where x starts at 0 and y at p, as t comes to 0 from above.

    With r and k the first coefficients of x and y that move, ``x = t^r u`` and ``x^y = t^(r p) u^p (1 + r y_k t^k log t
    + ...)``: for whole p a power series up to where the logarithm comes in, else 0 below the power ``r p``. Beyond, the
    derivatives are infinite; where their sign is not known, none.
    """
    length, p = x.shape[0], y[0]
    orders = jnp.arange(length).reshape(-1, *(1,) * (x.ndim - 1))
    first = lambda rows: jnp.where((orders > 0) & (rows != 0), orders, length).min(0)
    r, k = first(x), first(y)
    held = r == length

    def rows_at(rows: Any, at: Any) -> Any:
        rows = jnp.take_along_axis(rows, jnp.clip(at, 0, length - 1), 0)
        return jnp.where((at >= 0) & (at < length), rows, 0)

    u = jnp.where(held, jnp.zeros_like(x).at[0].set(1), rows_at(x, orders + r))
    whole = (p == jnp.round(p)) & (p.real >= 0)
    exponent = jnp.where(whole, p, 0)
    least = jnp.where(held, jnp.where(p.real > 0, jnp.inf, 0), r * p.real)  # the power of t that leads
    shift = jnp.where(whole, jnp.clip(least, 0, length), 0).astype(int)
    powers = _power_away(exponent, u, u[0] ** exponent)
    shape = (length, *jnp.broadcast_shapes(powers.shape[1:], start.shape))
    regular = rows_at(jnp.broadcast_to(powers, shape), jnp.broadcast_to(orders - shift, shape))
    # The m-th derivative of t^q log t tends to -inf for m = q, and has the other sign with every further one.
    sign = jnp.sign(u[0])
    turns = jnp.where((orders - shift - k) % 2 == 0, -1, 1)
    logarithmic = turns * jnp.sign(rows_at(y, k[None])[0]) * sign**exponent
    logarithmic = jnp.where(held, jnp.nan, logarithmic * jnp.inf)
    steep = jnp.where((r == 1) & (p != 0), _binomial_signs(p, length) * jnp.inf * sign**orders, jnp.nan)
    rows = jnp.where(whole, jnp.where(orders < least + k, regular, logarithmic), jnp.where(orders < least, 0, steep))
    if jnp.iscomplexobj(x):
        rows = jnp.where(jnp.isfinite(rows), rows, jnp.nan)
    for argument in (x[0], y[0]):
        rows = _with_slope(rows, jnp.broadcast_to(argument, rows.shape), jnp.where(x[0] == 0, jnp.nan, 0))
    return rows


def _binomial_signs(p: Any, length: int) -> Any:
    """The signs of ``p (p - 1) ... (p - m + 1)`` for all m below a length."""
    rows = [jnp.ones_like(p)]
    for m in range(1, length):
        rows.append(rows[-1] * jnp.sign(p - m + 1))
    return jnp.stack(rows)


def _quadratic(constant: float, linear: float, square: float, _, x: Any, start: Any) -> Any:
    """Solutions of ``y' = (c + b y + a y^2) x'``: tanh, tan, logistic."""
    speeds, rows = _speeds(x), start[None]
    slopes = (constant + linear * start + square * start**2)[None]
    for _m in range(1, x.shape[0]):
        rows = _appended(rows, _moved(speeds, slopes))
        slopes = _appended(slopes, linear * rows[-1] + square * (rows * rows[::-1]).sum(0))
    return rows


def _circular(sign: int, first: bool, _, x: Any, start: Any) -> Any:
    """sin and cos (sign -1) or sinh and cosh (sign 1), which need each other."""
    sine, cosine = (jnp.sin, jnp.cos) if sign < 0 else (jnp.sinh, jnp.cosh)
    speeds, odd, even = _speeds(x), sine(x[0])[None], cosine(x[0])[None]
    for _m in range(1, x.shape[0]):
        odd, even = _appended(odd, _moved(speeds, even)), _appended(even, sign * _moved(speeds, odd))
    return (odd if first else even).at[0].set(start)


# Elementary functions whose derivative holds themselves; the others are integrated in one go.
_RECURRENCES: dict[str, Callable[[Any, Any, Any], Any]] = {
    "exp": _exponential,
    "exp2": _binary_exponential,
    "expm1": _exponential_minus_one,
    "sqrt": functools.partial(_power, 0.5),
    "rsqrt": functools.partial(_power, -0.5),
    "cbrt": functools.partial(_power, 1 / 3),
    "integer_pow": _whole_power,
    "square": _whole_power,
    "tanh": functools.partial(_quadratic, 1, 0, -1),
    "tan": functools.partial(_quadratic, 1, 0, 1),
    "logistic": functools.partial(_quadratic, 0, 1, -1),
    "sin": functools.partial(_circular, -1, True),
    "cos": functools.partial(_circular, -1, False),
    "sinh": functools.partial(_circular, 1, True),
    "cosh": functools.partial(_circular, 1, False),
}

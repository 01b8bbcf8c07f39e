"""Values with their first derivatives and the sum of their second: how primitives act on them."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcalc.programs.fusion import renames
from jaxcalc.programs.walk import Equation
from jaxcalc.transforms import compressed_jacobian as layout
from jaxcalc.transforms import interpreter
from jaxcalc.transforms.compressed_jacobian import Slots

__all__ = ["Bundle", "Context", "algebra", "cast", "lifted", "whole"]


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["value", "tangents", "laplacian"], meta_fields=["slots"]
)
@dataclass(frozen=True, eq=False)
class Bundle:
    """A value of shape S with its derivatives.

    Args:
      value: shape S.
      tangents: shape ``(k, *S)``.
      laplacian: shape S; ``None`` if it is zero whatever the numbers are, as that of a linear function is: a slope
        that is infinite must not meet it.
      slots: the input that each row of ``tangents`` is the derivative by; ``None`` if row i belongs to input i.
    """

    value: Any
    tangents: Any
    laplacian: Any
    slots: Slots | None = None


class Later:
    """An element-by-element function of one bundle, not worked out before something else needs its derivatives.

    A run of such equations is then one function, with one first and one second derivative per element. Equations that
    give all elements another shape belong to it: what is before one is a function of the root in its former shape.
    """

    __slots__ = ("equation", "flat", "operands", "root", "settled", "value")

    def __init__(self, equation: Equation, operands: list[Any], root: Bundle, value: Any, flat: bool):
        self.equation, self.operands, self.root, self.value, self.flat = equation, operands, root, value, flat
        self.settled: Bundle | None = None

    @staticmethod
    def of(operand: Any) -> Any:
        """The operand, settled if it has been."""
        return operand.settled if isinstance(operand, Later) and operand.settled is not None else operand

    def __call__(self, start: Any) -> Any:
        """The value as a function of the root's."""
        values: dict[int, Any] = {id(self.root): start}
        stack: list[Any] = [self]
        while stack:  # no recursion: runs can be long
            node = stack[-1]
            if id(node) in values:
                stack.pop()
                continue
            for operand in node.operands:
                if isinstance(operand, Later) and id(operand.root) not in values:
                    values[id(operand.root)] = values[id(node.root)].reshape(operand.root.value.shape)
            waiting = [o for o in node.operands if isinstance(o, Later) and id(o) not in values]
            if waiting:
                stack.extend(waiting)
                continue
            arguments = [values[id(o)] if isinstance(o, (Later, Bundle)) else o for o in node.operands]
            (values[id(node)],) = interpreter.bind(node.equation, *arguments)
            stack.pop()
        return values[id(self)]


class Context(NamedTuple):
    """What all rules know: the number of rows of a dense Jacobian, and the weight of each (``None``: 1)."""

    rows: int
    weights: Any


def algebra(context: Context) -> interpreter.Algebra:
    return interpreter.Algebra(
        carried=lambda operand: isinstance(operand, (Bundle, Later)),
        value=lambda operand: operand.value if isinstance(operand, (Bundle, Later)) else operand,
        apply=functools.partial(_apply, context),
        settle=functools.partial(_settle_whole, context),
        kind=lambda operand: (operand.slots,) if isinstance(operand, Bundle) else None,
        join=_join,
        cast=lambda operand, kind: operand if kind is None else cast(context, operand, kind[0]),
        top=(None,),
        split=_split,
        merge=lambda operand: (
            operand
            if not isinstance(operand, Bundle)
            else Bundle(
                operand.value,
                jnp.moveaxis(operand.tangents, 0, 1),
                operand.laplacian,
                operand.slots and operand.slots.with_axis(),
            )
        ),
        otherwise=_refuse,
    )


def _refuse(equation: Equation, operands: list[Any]) -> list[Any]:
    remedy = ", or differentiate twice by reverse mode (method='hessian')"
    raise interpreter.refusal("forward_laplacian", equation, remedy)


def _join(first: Any, second: Any) -> Any:
    if first is None or second is None or first == second:
        return second if first is None else first
    if first[0] is None or second[0] is None:
        return (None,)
    return (layout.union([first[0], second[0]]),)


def cast(context: Context, operand: Any, wanted: Slots | None) -> Bundle:
    """A bundle with given slots."""
    if not isinstance(operand, Bundle):
        return lifted(context, operand, wanted)
    if operand.slots == wanted:
        return operand
    assert operand.slots is not None
    return Bundle(operand.value, layout.rearrange(operand.tangents, operand.slots, wanted), operand.laplacian, wanted)


def lifted(context: Context, value: Any, wanted: Slots | None = None) -> Bundle:
    """A plain array as a bundle whose derivatives are zero."""
    value = jnp.asarray(value)
    rows = context.rows if wanted is None else wanted.index.shape[0]
    return Bundle(value, jnp.zeros((rows, *value.shape), value.dtype), jnp.zeros_like(value), wanted)


def _split(operand: Any) -> Any:
    """A bundle for ``lax.scan`` to take apart along the value's first axis."""
    if not isinstance(operand, Bundle):
        return operand
    wanted = operand.slots and layout.mixed(operand.slots, [0])
    if operand.slots is not None:
        operand = Bundle(operand.value, layout.rearrange(operand.tangents, operand.slots, wanted), operand.laplacian)
    slots = wanted and Slots(wanted.index[:, 0], wanted.count)
    return Bundle(operand.value, jnp.moveaxis(operand.tangents, 1, 0), operand.laplacian, slots)


# -- rules ---------------------------------------------------------------------------------------------------------


def whole(bundle: Bundle) -> Bundle:
    """The bundle with its Laplacian as an array."""
    return bundle if bundle.laplacian is not None else replace(bundle, laplacian=jnp.zeros_like(bundle.value))


def _settle_whole(context: Context, operand: Any) -> Any:
    """An operand that may enter or leave a loop, whose trips all carry the same arrays."""
    operand = _settle(context, operand)
    return whole(operand) if isinstance(operand, Bundle) else operand


def _settle(context: Context, operand: Any) -> Any:
    """An operand with its derivatives worked out."""
    if not isinstance(operand, Later):
        return operand
    if operand.settled is None:
        former = Later.of(operand.operands[0])
        renamed = isinstance(former, Bundle) and former is not operand.root and renames(operand.equation)
        operand.settled = (
            _settle(context, _apply(context, operand.equation, [former])[0]) if renamed else _chain(context, operand)
        )
    return operand.settled


def _chain(context: Context, later: Later) -> Bundle:
    """The chain rule for a function of each element: ``f' t`` and ``f' l + f'' sum t^2``."""
    root = later.root
    ones = jnp.ones_like(root.value)

    def first(start):
        return jax.jvp(later, (start,), (ones,))[1]

    if later.flat:
        slope, bent = first(root.value), None
    else:
        slope, bend = jax.jvp(first, (root.value,), (ones,))
        bent = bend * _contract(context, root.tangents, root.tangents, root.slots)
    dtype = later.value.dtype
    laplacian = _plus(None if root.laplacian is None else slope * root.laplacian, bent)
    laplacian = None if laplacian is None else laplacian.astype(dtype)
    return Bundle(later.value, (slope * root.tangents).astype(dtype), laplacian, root.slots)


def _plus(first: Any, second: Any) -> Any:
    """A sum in which ``None`` is zero."""
    if first is None or second is None:
        return second if first is None else first
    return first + second


def _contract(context: Context, first: Any, second: Any, slots: Slots | None) -> Any:
    """``sum_k w_k s_k t_k``."""
    return _weigh(context, first * second, slots).sum(0)


def _weigh(context: Context, rows: Any, slots: Slots | None) -> Any:
    """Rows times the weights of the inputs that they belong to."""
    if context.weights is None:
        return rows
    if slots is None:
        factor = context.weights.reshape(-1, *(1,) * (rows.ndim - 1))
    else:
        factor = context.weights[np.maximum(slots.index, 0)]
    return rows * factor.astype(jnp.finfo(rows.dtype).dtype)


def _apply(context: Context, equation: Equation, operands: list[Any]) -> list[Any]:
    """The outputs of one equation."""
    operands = [Later.of(operand) for operand in operands]
    moving = [isinstance(operand, (Bundle, Later)) for operand in operands]
    full = [move and operand.value.size > 0 for operand, move in zip(operands, moving)]
    if any(full) and full != moving:  # what has no elements moves nothing
        operands = [x.value if move and not has else x for x, move, has in zip(operands, moving, full)]
        moving = full
    pointwise = interpreter.elementwise(equation, moving)
    if pointwise:
        roots = {id(_root(operand)): _root(operand) for operand, move in zip(operands, moving) if move}
        if len(roots) == 1:
            values = [operand.value if move else operand for operand, move in zip(operands, moving)]
            (value,) = interpreter.bind(equation, *values)
            straight = interpreter.flat(equation, moving) and all(o.flat for o in operands if isinstance(o, Later))
            return [Later(equation, operands, next(iter(roots.values())), value, straight)]
    if isinstance(operands[0], Later) and len(operands) == 1 and renames(equation):
        (value,) = interpreter.bind(equation, operands[0].value)
        (root,) = _apply(context, equation, [operands[0].root])
        return [Later(equation, operands, root, value, operands[0].flat)]
    bundles = [_settle(context, operand) for operand, move in zip(operands, moving) if move]
    if not all(bundle.value.size for bundle in bundles):  # an array without elements has no pattern to be laid out
        bundles = [cast(context, bundle, None) for bundle in bundles]
    values = [operand.value if move else operand for operand, move in zip(operands, moving)]
    apart = _sum_apart(context, equation, bundles) or _outer_product(context, equation, values, moving, bundles)
    if apart is not None:
        return [apart]
    bundles, results = _laid_out(context, equation, values, moving, bundles, pointwise)
    outputs = interpreter.bind(equation, *values)
    inexact = [value.inexact for value in equation.outputs]
    if pointwise and not interpreter.flat(equation, moving):
        tangents, laplacians = _pointwise(context, equation, values, moving, bundles)
    else:
        kept = [slots for slots, flag in zip(results, inexact) if flag]
        tangents, laplacians = _general(context, equation, values, moving, bundles, kept)
    rest = iter(zip(tangents, laplacians))
    return [
        Bundle(output, *next(rest), slots) if flag else output for output, slots, flag in zip(outputs, results, inexact)
    ]


def _root(operand: Any) -> Bundle:
    return operand.root if isinstance(operand, Later) else operand


def _laid_out(
    context: Context, equation: Equation, values: list[Any], moving: list[bool], bundles: list[Bundle], pointwise: bool
) -> tuple[list[Bundle], Sequence[Slots | None]]:
    """The moving operands with rows on which the equation acts as on a dense Jacobian's, and the outputs' slots."""
    dense = [cast(context, bundle, None) for bundle in bundles], [None for _ in equation.outputs]
    if any(bundle.slots is None for bundle in bundles):
        return dense
    present = [bundle.slots for bundle in bundles if bundle.slots is not None]
    if pointwise:
        joint = layout.union(present)
        return dense if joint is None else ([cast(context, bundle, joint) for bundle in bundles], [joint])
    axes = layout.mixing(equation, moving)
    if axes is None:
        return dense
    met = [layout.mixed(slots, a) for slots, a in zip(present, (a for a, move in zip(axes, moving) if move))]
    if any(slots is None for slots in met):
        return dense
    agreed = layout.agree(equation, met) if len(met) > 1 else met  # pyright: ignore[reportArgumentType]
    if agreed is None:
        return dense
    rest = iter(agreed)
    results = layout.image(equation, values, [next(rest) if move else None for move in moving], moving)
    if results is None:
        return dense
    relaid = [cast(context, bundle, slots) for bundle, slots in zip(bundles, agreed)]
    most = max(bundle.tangents.shape[0] for bundle in relaid)
    return [_padded(bundle, most) for bundle in relaid], results


def _sum_apart(context: Context, equation: Equation, bundles: list[Bundle]) -> Bundle | None:
    """A sum of elements of which each depends on inputs of its own: no derivatives need be summed."""
    if equation.name != "reduce_sum" or bundles[0].slots is None:
        return None
    axes, operand = tuple(equation.params["axes"]), bundles[0]
    slots = layout.crossed(bundles[0].slots, axes, operand.value.shape)
    if slots is None:
        return None
    (value,) = interpreter.bind(equation, operand.value)
    rows = jnp.moveaxis(operand.tangents, [axis + 1 for axis in axes], range(1, 1 + len(axes)))
    rows = rows.reshape(slots.index.shape[0], *value.shape)
    bundle = Bundle(value, rows, None if operand.laplacian is None else operand.laplacian.sum(axes), slots)
    return bundle if 2 * slots.index.shape[0] <= slots.count else cast(context, bundle, None)


def _outer_product(
    context: Context, equation: Equation, values: list[Any], moving: list[bool], bundles: list[Bundle]
) -> Bundle | None:
    """A product that contracts elements of which each depends on inputs of its own: nothing need be summed."""
    if equation.name != "dot_general" or len(bundles) != 1 or bundles[0].slots is None:
        return None
    contracted, batch = equation.params["dimension_numbers"]
    side = 0 if moving[0] else 1
    slots = layout.crossed(bundles[0].slots, contracted[side], bundles[0].value.shape)
    if slots is None:
        return None
    sides = tuple((*contracted[i], *batch[i]) for i in (0, 1))
    params = {**equation.params, "dimension_numbers": (((), ()), sides)}

    def spread(row):
        return lax.dot_general_p.bind(*(row if i == side else values[i] for i in (0, 1)), **params)

    ndim = len(contracted[0])
    rows = jax.vmap(spread)(bundles[0].tangents)
    rows = rows.reshape(slots.index.shape[0], *rows.shape[1 + ndim :])
    # Free axes of the other operand have no inputs of their own.
    kept = [i for i in range(bundles[0].value.ndim) if i not in contracted[side]]
    full = [slots.index.shape[1 + kept.index(i)] for i in batch[side]]
    free = [slots.index.shape[1 + i] for i, axis in enumerate(kept) if axis not in batch[side]]
    others = [1] * (rows.ndim - 1 - len(full) - len(free))
    order = [0, *(1 + kept.index(i) for i in batch[side]), *(1 + i for i, a in enumerate(kept) if a not in batch[side])]
    index = slots.index.transpose(order).reshape(
        -1, *full, *(free if side == 0 else others), *(others if side == 0 else free)
    )
    (value,) = interpreter.bind(equation, *values)
    push = lambda t: jax.jvp(interpreter.along(equation, values, moving), (bundles[0].value,), (t,))[1][0]
    laplacian = None if bundles[0].laplacian is None else push(bundles[0].laplacian)
    bundle = Bundle(value, rows.astype(value.dtype), laplacian, Slots(index, slots.count))
    return bundle if 2 * index.shape[0] <= slots.count else cast(context, bundle, None)


def _padded(bundle: Bundle, rows: int) -> Bundle:
    missing = rows - bundle.tangents.shape[0]
    if not missing:
        return bundle
    widths = [(0, missing), *((0, 0) for _ in bundle.value.shape)]
    return Bundle(bundle.value, jnp.pad(bundle.tangents, widths), bundle.laplacian, bundle.slots)


def _pointwise(context, equation, values, moving, bundles) -> tuple[list[Any], list[Any]]:
    """A nonlinear function of several bundles, element by element, by its first and second partial derivatives."""
    fun = interpreter.along(equation, values, moving)
    points = tuple(bundle.value for bundle in bundles)
    slots = bundles[0].slots
    tangents, laplacian = 0, None

    def units(i):
        return tuple((jnp.ones_like if i == k else jnp.zeros_like)(point) for k, point in enumerate(points))

    def slope_and_bend(i, j):
        """The derivative by operand i, and the derivative of that by operand j."""
        return jax.jvp(lambda *x: jax.jvp(fun, x, units(i))[1][0], points, units(j))

    for i, first in enumerate(bundles):
        for j, second in enumerate(bundles[: i + 1]):
            slope, bend = slope_and_bend(i, j)
            if i == j:
                tangents = tangents + slope * first.tangents
                laplacian = _plus(laplacian, None if first.laplacian is None else slope * first.laplacian)
                if equation.name == "mul":
                    continue
            elif equation.name == "custom_jvp_call":
                # What a rule says need not be the derivative of anything, and then the order matters.
                bend = bend + slope_and_bend(j, i)[1]
            else:
                bend = 2 * bend
            laplacian = _plus(laplacian, bend * _contract(context, first.tangents, second.tangents, slots))
    dtype = equation.outputs[0].dtype
    return [tangents.astype(dtype)], [None if laplacian is None else laplacian.astype(dtype)]  # pyright: ignore


def _general(
    context: Context,
    equation: Equation,
    values: list[Any],
    moving: list[bool],
    bundles: list[Bundle],
    results: Sequence[Any],
) -> tuple[list[Any], list[Any]]:
    """Any primitive, by its own derivatives: the first along every row, the second along every row twice."""
    fun = interpreter.along(equation, values, moving)
    points = tuple(bundle.value for bundle in bundles)
    tangents = tuple(bundle.tangents for bundle in bundles)
    straight = all(bundle.laplacian is None for bundle in bundles)
    laplacians = () if straight else tuple(whole(bundle).laplacian for bundle in bundles)

    def push(*t):
        return jax.jvp(fun, points, t)[1]

    def pushed() -> list[Any]:
        return [None] * len(results) if straight else push(*laplacians)

    if not (interpreter.flat(equation, moving) or interpreter.bilinear(equation, moving)):

        def twice(*t):
            return jax.jvp(lambda *x: jax.jvp(fun, x, t)[1], points, t)

        first, second = jax.vmap(twice)(*tangents)
        bent = [_weigh(context, rows, slots).sum(0) for rows, slots in zip(second, results)]
        return first, list(map(_plus, pushed(), bent))
    if equation.name in ("dot_general", "conv_general_dilated") and not straight:
        # One large product instead of two.
        both = jax.vmap(push)(*(jnp.concatenate([t, a[None]]) for t, a in zip(tangents, laplacians)))
        first, second = [rows[:-1] for rows in both], [rows[-1] for rows in both]
    else:
        first, second = jax.vmap(push)(*tangents), pushed()
    if interpreter.bilinear(equation, moving):
        left, right = tangents
        crossed = 2 * _cross(context, equation, _weigh(context, left, bundles[0].slots), right)
        second = [_plus(second[0], crossed)]
    return first, second


def _cross(context: Context, equation: Equation, left: Any, right: Any) -> Any:
    """``sum_k B(s_k, t_k)`` for a product B."""
    if equation.name == "dot_general":  # the rows are one more axis to contract
        contracted, batch = equation.params["dimension_numbers"]
        shifted = [[tuple(axis + 1 for axis in side) for side in pair] for pair in (contracted, batch)]
        numbers = (tuple((0, *side) for side in shifted[0]), tuple(shifted[1]))
        params = {**equation.params, "dimension_numbers": numbers}
        return lax.dot_general_p.bind(left, right, **params)
    return jax.vmap(lambda a, b: interpreter.bind(equation, a, b)[0])(left, right).sum(0)

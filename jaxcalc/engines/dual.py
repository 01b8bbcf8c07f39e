"""Forward mode by dual numbers: every value carries its slope along one direction.

    (a, a') + (b, b') = (a + b, a' + b'),    (a, a') (b, b') = (a b, a' b + a b'),    f((a, a')) = (f(a), f'(a) a')

Differentiations nest: each gets a tag of its own, the innermost the highest, and its slopes never mix with another's
(else ``d/dx [x d/dy (x + y)]`` would come out as 2). The functions of this module take arrays and dual numbers alike;
those of ``jax.numpy`` take arrays only.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from jaxcalc import checks

__all__ = [
    "Dual",
    "cos",
    "derivative",
    "dot",
    "exp",
    "gradient",
    "log",
    "matmul",
    "power",
    "pushforward",
    "reshape",
    "sin",
    "sqrt",
    "sum",
    "tanh",
    "where",
]

_tags = itertools.count()


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Dual:
    """A value and its slope along the direction of one differentiation.

    Args:
      value: an array, or a dual number of an enclosing differentiation.
      slope: of the same shape.
      tag: which differentiation; a higher one is nested deeper.
    """

    value: Any
    slope: Any
    tag: int = field(metadata={"static": True})

    # NumPy's arrays then leave the operation to this class.
    __array_ufunc__ = None

    def __add__(self, other: Any) -> Any:
        return _add(self, other)

    def __radd__(self, other: Any) -> Any:
        return _add(other, self)

    def __sub__(self, other: Any) -> Any:
        return _add(self, -other)

    def __rsub__(self, other: Any) -> Any:
        return _add(other, -self)

    def __mul__(self, other: Any) -> Any:
        return _multiply(self, other)

    def __rmul__(self, other: Any) -> Any:
        return _multiply(other, self)

    def __truediv__(self, other: Any) -> Any:
        return _divide(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _divide(other, self)

    def __pow__(self, other: Any) -> Any:
        return power(self, other)

    def __rpow__(self, other: Any) -> Any:
        return power(other, self)

    def __matmul__(self, other: Any) -> Any:
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return matmul(other, self)

    def __neg__(self) -> Any:
        return Dual(-self.value, -self.slope, self.tag)

    def __getitem__(self, index: Any) -> Any:
        return Dual(self.value[index], self.slope[index], self.tag)

    # Comparison is of the values: a branch is taken by where the point is.
    def __eq__(self, other: Any) -> Any:
        return _primal(self) == _primal(other)

    def __ne__(self, other: Any) -> Any:
        return _primal(self) != _primal(other)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __lt__(self, other: Any) -> Any:
        return _primal(self) < _primal(other)

    def __le__(self, other: Any) -> Any:
        return _primal(self) <= _primal(other)

    def __gt__(self, other: Any) -> Any:
        return _primal(self) > _primal(other)

    def __ge__(self, other: Any) -> Any:
        return _primal(self) >= _primal(other)

    @property
    def shape(self) -> tuple[int, ...]:
        return jnp.shape(_primal(self))

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> Any:
        return Dual(self.value.T, self.slope.T, self.tag)


# -- differentiation -----------------------------------------------------------------------------------------------


def pushforward(fun: Callable[[Any], Any], /) -> Callable[[Any, Any], tuple[Any, Any]]:
    """The value of a function and its slope along a direction, in one pass.

        (x, v) -> (f(x), Df(x) v)

    Args:
      fun: from an array or PyTree of floating-point arrays to another, written in this module's functions, operators
        and indexing.

    Returns:
      ``pushed(x, v)``, where ``v`` is a PyTree like ``x``; both results are like what ``fun`` returns. Ready for
      ``jit`` and ``vmap``; nests.

    Raises:
      ValueError: if ``x`` and ``v`` differ in structure or shape.

    Cost:
      Two to three times the function.

    Source:
      J. M. Siskind, B. A. Pearlmutter, Perturbation confusion and referential transparency, IFL 2005, for the tags.
    """

    def pushed(x, v):
        plain = lambda tree: jax.tree.map(_primal, tree, is_leaf=_is_dual)
        checks.like("pushforward", "v", plain(v), "x", plain(x))
        leaves, tree = jax.tree.flatten(x, is_leaf=_is_dual)
        slopes = jax.tree.leaves(v, is_leaf=_is_dual)
        tag = next(_tags)
        duals = [Dual(_floating(leaf), _floating(slope), tag) for leaf, slope in zip(leaves, slopes)]
        outputs, structure = jax.tree.flatten(fun(jax.tree.unflatten(tree, duals)), is_leaf=_is_dual)
        pairs = [_split(output, tag) for output in outputs]
        values = [value for value, _ in pairs]
        slopes = [jnp.zeros_like(_primal(value)) if slope is None else slope for value, slope in pairs]
        return jax.tree.unflatten(structure, values), jax.tree.unflatten(structure, slopes)

    return pushed


def derivative(fun: Callable[[Any], Any], /) -> Callable[[Any], Any]:
    """The derivative of a function of one number.

        x -> f'(x)

    Args:
      fun: from a scalar to an array or PyTree of arrays, as ``pushforward`` has it.

    Returns:
      ``derived(x)``, like what ``fun`` returns. Applied twice it is the second derivative.

    Raises:
      ValueError: if ``x`` is no scalar.

    Cost:
      One pass; ``2^k`` of the function's cost for the ``k``-th derivative.
    """

    def derived(x):
        checks.scalar("derivative", "x", _primal(x), "Use gradient, or jax.vmap for many.")
        return pushforward(fun)(x, jnp.ones((), _floating(_primal(x)).dtype))[1]

    return derived


def gradient(fun: Callable[[Any], Any], /) -> Callable[[Any], Any]:
    """The gradient of a scalar function, by one forward pass per entry of its argument.

        (grad f)_i = Df(x) e_i,    i = 1, ..., n

    Args:
      fun: from an array or PyTree of floating-point arrays to a scalar, as ``pushforward`` has it.

    Returns:
      ``derived(x)``, a PyTree like ``x``; the passes are batched. The gradient of a gradient's entry nests.

    Raises:
      TypeError: if ``fun`` returns no scalar.

    Cost:
      ``n`` passes for ``n`` entries.
    """

    def derived(x):
        leaves, tree = jax.tree.flatten(x, is_leaf=_is_dual)
        ends = [0, *itertools.accumulate(jnp.size(_primal(leaf)) for leaf in leaves)]

        def one_pass(index):
            hits = [jnp.arange(start, stop) == index for start, stop in itertools.pairwise(ends)]
            seeds = [
                hit.reshape(_shape(leaf)).astype(_floating(_primal(leaf)).dtype) for hit, leaf in zip(hits, leaves)
            ]
            slope = pushforward(fun)(x, jax.tree.unflatten(tree, seeds))[1]
            slopes = jax.tree.leaves(slope, is_leaf=_is_dual)
            checks.returns_scalar("gradient", [_primal(each) for each in slopes], "Return a sum, or use pushforward.")
            return slopes[0]

        slopes = jax.vmap(one_pass)(jnp.arange(ends[-1]))
        blocks = [
            reshape(slopes[start:stop], _shape(leaf)) for (start, stop), leaf in zip(itertools.pairwise(ends), leaves)
        ]
        return jax.tree.unflatten(tree, blocks)

    return derived


# -- parts ---------------------------------------------------------------------------------------------------------


def _is_dual(x: Any) -> bool:
    return isinstance(x, Dual)


def _tag(x: Any) -> int:
    return x.tag if isinstance(x, Dual) else -1


def _split(x: Any, tag: int) -> tuple[Any, Any]:
    """Value and slope for one differentiation; no slope for what is constant in it."""
    return (x.value, x.slope) if isinstance(x, Dual) and x.tag == tag else (x, None)


def _primal(x: Any) -> Any:
    """The array below all differentiations."""
    while isinstance(x, Dual):
        x = x.value
    return x


def _shape(x: Any) -> tuple[int, ...]:
    return jnp.shape(_primal(x))


def _floating(x: Any) -> Any:
    """A dual number as it is, anything else as a floating-point array."""
    if isinstance(x, Dual):
        return x
    x = jnp.asarray(x)
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.result_type(float))


# -- functions -----------------------------------------------------------------------------------------------------


def _linear(plain: Callable[..., Any]) -> Callable[..., Any]:
    """A linear function acts on value and slope alike."""

    def function(x, *args, **options):
        if isinstance(x, Dual):
            return Dual(function(x.value, *args, **options), function(x.slope, *args, **options), x.tag)
        return plain(x, *args, **options)

    return function


def _elementwise(plain: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A function of every entry, with its slope as a function of argument and value."""

    def function(x):
        if isinstance(x, Dual):
            y = function(x.value)
            return Dual(y, slope(x.value, y) * x.slope, x.tag)
        return plain(x)

    return function


def _binary(plain: Any, left: Callable[..., Any], right: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """A function ``y`` of ``a`` and ``b``, with their slopes' shares: ``left(a', a, b, y)``, ``right(b', a, b, y)``."""

    def function(a, b):
        tag = max(_tag(a), _tag(b))
        if tag < 0:
            return plain(a, b)
        (a, da), (b, db) = _split(a, tag), _split(b, tag)
        y = function(a, b)
        parts = [rule(slope, a, b, y) for rule, slope in ((left, da), (right, db)) if slope is not None]
        slope = parts[0] if len(parts) == 1 else _add(*parts)
        return Dual(y, _broadcast(slope, _shape(y)), tag)

    return function


def _bilinear(plain: Callable[..., Any]) -> Callable[[Any, Any], Any]:
    """The product rule."""

    def function(a, b):
        return rule(a, b)

    rule = _binary(plain, lambda da, a, b, y: function(da, b), lambda db, a, b, y: function(a, db))
    return function


def _power_in_base(da: Any, a: Any, b: Any, y: Any) -> Any:
    # At exponent 0 the slope is 0, also where a^(b - 1) is infinite.
    constant = _primal(b) == 0
    return da * where(constant, 0.0, b * power(a, where(constant, 1.0, b - 1)))


def _power_in_exponent(db: Any, a: Any, b: Any, y: Any) -> Any:
    # 0^b is 0 for positive b, and so is its slope.
    return db * (y * log(where(_primal(a) == 0, 1.0, a)))


_broadcast = _linear(jnp.broadcast_to)
_add = _binary(jnp.add, lambda da, a, b, y: da, lambda db, a, b, y: db)
_multiply = _bilinear(jnp.multiply)
_divide = _binary(jnp.divide, lambda da, a, b, y: da / b, lambda db, a, b, y: -(y * db) / b)

exp = _elementwise(jnp.exp, lambda x, y: y)
log = _elementwise(jnp.log, lambda x, y: 1 / x)
sin = _elementwise(jnp.sin, lambda x, y: cos(x))
cos = _elementwise(jnp.cos, lambda x, y: -sin(x))
tanh = _elementwise(jnp.tanh, lambda x, y: (1 - y) * (1 + y))
sqrt = _elementwise(jnp.sqrt, lambda x, y: 0.5 / y)
power = _binary(jnp.power, _power_in_base, _power_in_exponent)
matmul = _bilinear(jnp.matmul)
dot = _bilinear(jnp.dot)
sum = _linear(jnp.sum)
reshape = _linear(jnp.reshape)


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` where the condition holds, ``b`` elsewhere; slopes follow."""
    choose = _binary(
        lambda a, b: jnp.where(condition, a, b),
        lambda da, a, b, y: where(condition, da, 0.0),
        lambda db, a, b, y: where(condition, 0.0, db),
    )
    return choose(a, b)

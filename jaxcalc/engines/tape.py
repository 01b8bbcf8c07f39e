"""Reverse mode by a recorded graph: values forward, gradients backward, each node visited once.

    gbar_parent += (d node / d parent)^T gbar_node,    latest node first

Every operation on a ``Node`` makes a node that remembers what it came from and how a gradient passes back through it.
The functions of this module take arrays and nodes alike; those of ``jax.numpy`` take arrays only. First derivatives
only: a gradient's own operations are on arrays, so ``jit`` and ``vmap`` apply to it, but ``gradient`` does not.
"""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc import checks, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Node",
    "backward",
    "cos",
    "dot_source",
    "draw",
    "exp",
    "gradient",
    "graph",
    "log",
    "matmul",
    "max",
    "mean",
    "relu",
    "reshape",
    "sigmoid",
    "sin",
    "softplus",
    "sqrt",
    "sum",
    "tanh",
    "value_and_gradient",
    "variable",
]

_numbers = itertools.count()


@dataclass(frozen=True, eq=False)
class Node:
    """A value in the graph.

    Args:
      value: the array.
      operation: what made it, such as ``"exp"``; for a variable, its name.
      parents: the nodes that it was made from, each with the map from this node's gradient to its share.
      number: the place on the tape; a node comes after its parents.
    """

    value: Any
    operation: str = "variable"
    parents: tuple[tuple["Node", Callable[[Any], Any]], ...] = ()
    number: int = field(default_factory=lambda: next(_numbers))

    # NumPy's arrays then leave the operation to this class.
    __array_ufunc__ = None

    def __add__(self, other: Any) -> "Node":
        return _add(self, other)

    def __radd__(self, other: Any) -> "Node":
        return _add(other, self)

    def __sub__(self, other: Any) -> "Node":
        return _subtract(self, other)

    def __rsub__(self, other: Any) -> "Node":
        return _subtract(other, self)

    def __mul__(self, other: Any) -> "Node":
        return _multiply(self, other)

    def __rmul__(self, other: Any) -> "Node":
        return _multiply(other, self)

    def __truediv__(self, other: Any) -> "Node":
        return _divide(self, other)

    def __rtruediv__(self, other: Any) -> "Node":
        return _divide(other, self)

    def __pow__(self, exponent: Any) -> "Node":
        return _power(self, exponent)

    def __matmul__(self, other: Any) -> "Node":
        return matmul(self, other)

    def __rmatmul__(self, other: Any) -> "Node":
        return matmul(other, self)

    def __neg__(self) -> "Node":
        return _record("-", -self.value, (self, lambda g: -g))

    def __getitem__(self, index: Any) -> "Node":
        shape, dtype = self.value.shape, self.value.dtype
        return _record("[]", self.value[index], (self, lambda g: jnp.zeros(shape, dtype).at[index].add(g)))

    def __rpow__(self, base: Any) -> "Node":
        return _power(base, self)

    # Comparison is of the values: a branch is taken by where the point is. Two nodes are equal if they are one.
    def __eq__(self, other: Any) -> Any:
        return self is other if isinstance(other, Node) else self.value == other

    def __ne__(self, other: Any) -> Any:
        return self is not other if isinstance(other, Node) else self.value != other

    def __hash__(self) -> int:
        return self.number

    def __lt__(self, other: Any) -> Any:
        return self.value < _plain(other)

    def __le__(self, other: Any) -> Any:
        return self.value <= _plain(other)

    def __gt__(self, other: Any) -> Any:
        return self.value > _plain(other)

    def __ge__(self, other: Any) -> Any:
        return self.value >= _plain(other)

    @property
    def shape(self) -> tuple[int, ...]:
        return jnp.shape(self.value)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> "Node":
        return _record("T", self.value.T, (self, lambda g: g.T))


# -- differentiation -----------------------------------------------------------------------------------------------


def variable(value: Any, name: str = "variable") -> Node:
    """A node to differentiate by.

    Args:
      value: an array; integers are promoted to floating point.
      name: what the drawn graph calls it.

    Raises:
      TypeError: for a node: this tape records first derivatives only.
    """
    if isinstance(value, Node):
        raise TypeError(
            "tape: got a Node where an array was expected: gradients do not nest here. For second derivatives use "
            "jaxcalc.engines.dual."
        )
    value = jnp.asarray(value)
    return Node(value if jnp.issubdtype(value.dtype, jnp.floating) else value.astype(jnp.result_type(float)), name)


def backward(output: Node, seed: Any = None) -> Mapping[Node, Any]:
    """The gradients of a scalar node by every node that it depends on.

    Args:
      output: where the walk starts.
      seed: the gradient to start from, of the output's shape; by default 1, for a scalar.

    Returns:
      Node -> array of its value's shape. Nothing is stored in the graph: a second walk gives the same.

    Raises:
      ValueError: without a seed, if the output is no scalar.

    Cost:
      One visit per node, whatever the number of variables.
    """
    if seed is None:
        if output.shape != ():
            raise ValueError(
                f"backward: the output must be a scalar, got shape {output.shape}. "
                "Reduce it by sum or mean, or pass a seed."
            )
        seed = jnp.ones((), output.value.dtype)
    gradients = {output: jnp.broadcast_to(jnp.asarray(seed, output.value.dtype), output.shape)}
    for node in reversed(graph(output)):
        # Complete by now: whatever used this node came later on the tape, and was visited before.
        arriving = gradients[node]
        for parent, pull in node.parents:
            share = pull(arriving).astype(parent.value.dtype)
            gradients[parent] = gradients[parent] + share if parent in gradients else share
    return gradients


def value_and_gradient(fun: Callable[[Any], Any], /) -> Callable[[Any], tuple[Any, Any]]:
    """A scalar function and its gradient, by one pass forward and one backward.

        x -> (f(x), grad f(x))

    Args:
      fun: from an array or PyTree of arrays to a scalar, written in this module's functions, operators and indexing;
        Python's loops and branches are recorded as they run.

    Returns:
      ``derived(x)``: the value and a PyTree like ``x``. Ready for ``jit`` and ``vmap``.

    Raises:
      TypeError: if ``x`` holds nodes (gradients do not nest), or ``fun`` returns no scalar.

    Cost:
      A small multiple of the function, whatever the size of ``x``.
    """

    def derived(x):
        paths, tree = jax.tree_util.tree_flatten_with_path(x)
        variables = [variable(leaf, jax.tree_util.keystr(path) or "x") for path, leaf in paths]
        output = fun(jax.tree.unflatten(tree, variables))
        leaves = jax.tree.leaves(output)
        checks.returns_scalar("value_and_gradient", [_plain(leaf) for leaf in leaves], "Reduce it by tape.sum.")
        (output,) = leaves
        found = backward(output) if isinstance(output, Node) else {}
        gradients = [found[each] if each in found else jnp.zeros_like(each.value) for each in variables]
        return jnp.asarray(_plain(output)), jax.tree.unflatten(tree, gradients)

    return derived


def gradient(fun: Callable[[Any], Any], /) -> Callable[[Any], Any]:
    """The gradient of a scalar function, by reverse mode.

        x -> grad f(x)

    Args:
      fun: as ``value_and_gradient`` has it.

    Returns:
      ``derived(x)``, a PyTree like ``x``. Ready for ``jit`` and ``vmap``.
    """
    derived = value_and_gradient(fun)
    return lambda x: derived(x)[1]


def graph(output: Node) -> list[Node]:
    """The nodes that a node depends on, itself the last, each after its parents."""
    seen, waiting = {output}, [output]
    while waiting:
        for parent, _ in waiting.pop().parents:
            if parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    # The order of recording is a topological order.
    return sorted(seen, key=lambda node: node.number)


# -- operations ----------------------------------------------------------------------------------------------------


def _plain(x: Any) -> Any:
    return x.value if isinstance(x, Node) else x


def _record(operation: str, value: Any, *parents: tuple[Any, Callable[[Any], Any]]) -> Any:
    """A node made from those of its parents that are nodes; a plain array if none is."""
    nodes = tuple((parent, pull) for parent, pull in parents if isinstance(parent, Node))
    return Node(value, operation, nodes) if nodes else value


def _summed(g: Any, shape: tuple[int, ...]) -> Any:
    """The transpose of broadcasting: summed over the axes that were added or stretched."""
    g = g.sum(tuple(range(g.ndim - len(shape))))
    return g.sum(tuple(axis for axis, size in enumerate(shape) if size == 1 and g.shape[axis] != 1), keepdims=True)


def _binary(operation: str, plain: Any, left: Callable[..., Any], right: Callable[..., Any]) -> Callable[..., Any]:
    """A function of two arrays that broadcast, with the gradient's share of each: ``left(g, a, b, y)``."""

    def function(a, b):
        x, z = _plain(a), _plain(b)
        y = plain(x, z)
        return _record(
            operation,
            y,
            (a, lambda g: _summed(left(g, x, z, y), jnp.shape(x))),
            (b, lambda g: _summed(right(g, x, z, y), jnp.shape(z))),
        )

    return function


def _elementwise(operation: str, plain: Callable[[Any], Any], slope: Callable[[Any, Any], Any]) -> Callable[[Any], Any]:
    """A function of every entry, with its slope as a function of argument and value."""

    def function(x):
        value = _plain(x)
        y = plain(value)
        return _record(operation, y, (x, lambda g: g * slope(value, y)))

    return function


def _power_in_base(g: Any, a: Any, b: Any, y: Any) -> Any:
    # At exponent 0 the slope is 0, also where a^(b - 1) is infinite.
    constant = jnp.equal(b, 0)
    return g * jnp.where(constant, 0, b * jnp.power(a, jnp.where(constant, 1, b - 1)))


def _power_in_exponent(g: Any, a: Any, b: Any, y: Any) -> Any:
    # 0^b is 0 for positive b, and so is its slope.
    return g * y * jnp.log(jnp.where(a == 0, 1, a))


_add = _binary("+", jnp.add, lambda g, a, b, y: g, lambda g, a, b, y: g)
_subtract = _binary("-", jnp.subtract, lambda g, a, b, y: g, lambda g, a, b, y: -g)
_multiply = _binary("*", jnp.multiply, lambda g, a, b, y: g * b, lambda g, a, b, y: g * a)
_divide = _binary("/", jnp.divide, lambda g, a, b, y: g / b, lambda g, a, b, y: -g * y / b)
_power = _binary("**", jnp.power, _power_in_base, _power_in_exponent)

exp = _elementwise("exp", jnp.exp, lambda x, y: y)
log = _elementwise("log", jnp.log, lambda x, y: 1 / x)
sin = _elementwise("sin", jnp.sin, lambda x, y: jnp.cos(x))
cos = _elementwise("cos", jnp.cos, lambda x, y: -jnp.sin(x))
sqrt = _elementwise("sqrt", jnp.sqrt, lambda x, y: 0.5 / y)
# The backward pass reuses the forward value: no second exponential.
tanh = _elementwise("tanh", jnp.tanh, lambda x, y: (1 - y) * (1 + y))
sigmoid = _elementwise("sigmoid", jax.nn.sigmoid, lambda x, y: y * (1 - y))
# The slope at the kink is 0, as jax.nn.relu has it.
relu = _elementwise("relu", jax.nn.relu, lambda x, y: (x > 0).astype(y.dtype))
softplus = _elementwise("softplus", jax.nn.softplus, lambda x, y: jax.nn.sigmoid(x))


def matmul(a: Any, b: Any) -> Any:
    """The matrix product ``a @ b`` of vectors, matrices or stacks of matrices."""
    x, z = _plain(a), _plain(b)
    # Vectors as a row and a column: one rule for all.
    rows = x[None, :] if jnp.ndim(x) == 1 else x
    columns = z[:, None] if jnp.ndim(z) == 1 else z
    product = jnp.matmul(rows, columns)
    y = jnp.matmul(x, z)

    def left(g):
        return _summed(g.reshape(product.shape) @ jnp.swapaxes(columns, -1, -2), rows.shape).reshape(jnp.shape(x))

    def right(g):
        return _summed(jnp.swapaxes(rows, -1, -2) @ g.reshape(product.shape), columns.shape).reshape(jnp.shape(z))

    return _record("@", y, (a, left), (b, right))


def sum(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """The sum over axes, by default all."""
    value = jnp.asarray(_plain(x))
    return _record("sum", value.sum(axis), (x, lambda g: jnp.broadcast_to(_kept(g, value, axis), value.shape)))


def mean(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """The mean over axes, by default all."""
    value = jnp.asarray(_plain(x))
    y = value.mean(axis)
    share = y.size / value.size if value.size else 0.0
    return _record("mean", y, (x, lambda g: jnp.broadcast_to(_kept(g, value, axis) * share, value.shape)))


def max(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """The largest entry over axes, by default all; ties share the gradient equally, as ``jax.numpy.max``'s do."""
    value = jnp.asarray(_plain(x))
    y = value.max(axis)

    def pull(g):
        hits = (value == _kept(y, value, axis)).astype(value.dtype)
        return _kept(g, value, axis) * hits / hits.sum(axis, keepdims=True)

    return _record("max", y, (x, pull))


def reshape(x: Any, shape: int | tuple[int, ...]) -> Any:
    """The same entries in another shape."""
    value = jnp.asarray(_plain(x))
    return _record("reshape", value.reshape(shape), (x, lambda g: g.reshape(value.shape)))


def _kept(reduced: Any, value: Any, axis: int | tuple[int, ...] | None) -> Any:
    """What a reduction returned, with its axes back at size 1."""
    return jnp.expand_dims(reduced, tuple(range(value.ndim)) if axis is None else axis)


# -- the graph drawn -----------------------------------------------------------------------------------------------


def dot_source(output: Node) -> str:
    """The graph in Graphviz's DOT language, variables as boxes."""
    nodes = graph(output)
    names = {node: f"n{i}" for i, node in enumerate(nodes)}
    lines = [
        f'  {names[node]} [label="{_label(node)}", shape={"ellipse" if node.parents else "box"}];' for node in nodes
    ]
    lines += [f"  {names[parent]} -> {names[node]};" for node in nodes for parent, _ in node.parents]
    return "\n".join(["digraph {", "  rankdir=LR;", *lines, "}"])


def draw(output: Node) -> "Figure":
    """The graph as a figure: variables on the left, every node to the right of its parents.

    Args:
      output: the node whose past is drawn; a few dozen nodes stay readable.
    """
    nodes = graph(output)
    places = _places(nodes)
    width = 1.2 * (1 + np.max([x for x, _ in places.values()]))
    height = 0.7 * (1 + 2 * np.max([abs(y) for _, y in places.values()]))
    with style.context():
        figure, axes = style.subplots(width=float(np.maximum(width, 2)), height=float(np.maximum(height, 1.2)))
        axes.set_axis_off()
        boxes = {}
        for node, place in places.items():
            color = style.COLORS["blue" if node.parents else "vermilion"]
            box = {"boxstyle": "round", "facecolor": "white", "edgecolor": color}
            text = axes.text(*place, _label(node), ha="center", va="center", fontsize=7, bbox=box)
            boxes[node] = text.get_bbox_patch()
        for node in nodes:
            for parent, _ in node.parents:
                arrow = {"arrowstyle": "-|>", "color": style.COLORS["grey"], "linewidth": 0.8}
                ends = {"patchA": boxes[parent], "patchB": boxes[node], "shrinkA": 0, "shrinkB": 0}
                axes.annotate("", xy=places[node], xytext=places[parent], arrowprops={**arrow, **ends})
        across, up = zip(*places.values())
        axes.set_xlim(np.min(across) - 0.5, np.max(across) + 0.5)
        axes.set_ylim(np.min(up) - 0.6, np.max(up) + 0.6)
    return figure


def _places(nodes: list[Node]) -> dict[Node, tuple[float, float]]:
    """Depth across (the longest way from a variable), the nodes of one depth spread evenly up and down."""
    depth: dict[Node, int] = {}
    for node in nodes:
        depth[node] = 1 + int(np.max([depth[parent] for parent, _ in node.parents], initial=-1))
    layers: dict[int, list[Node]] = {}
    for node in nodes:
        layers.setdefault(depth[node], []).append(node)
    return {
        node: (float(column), (len(layer) - 1) / 2 - row)
        for column, layer in layers.items()
        for row, node in enumerate(layer)
    }


def _label(node: Node) -> str:
    """The operation, and the value if it is one known number, else the shape."""
    name = node.operation.replace('"', "'")
    if isinstance(node.value, Tracer) or node.shape:
        return f"{name} {list(node.shape)}"
    return f"{name} = {float(node.value):.4g}"

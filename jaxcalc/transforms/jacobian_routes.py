"""Routes that multiply a Jacobian with seeds, and what they cost: one product is traced, and priced as k."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxcalc.programs import coloring as colorings
from jaxcalc.programs import decompression, walk
from jaxcalc.programs.coloring import Coloring
from jaxcalc.programs.cost import Cost, price
from jaxcalc.programs.sparsity import Pattern
from jaxcalc.transforms import batched_products, sparse
from jaxcalc.transforms.lifting import LeafMap, abstract
from jaxcalc.transforms.plan import Route

__all__ = [
    "Mode",
    "Passes",
    "Products",
    "attempt",
    "dense_route",
    "index_bytes",
    "sparse_routes",
    "then",
    "vector_route",
]

Mode = Literal["forward", "reverse"]

# Acyclic colours, whose entries follow from one another, are of use if they are at most this share of the star colours.
_SAVED = 0.9
# Fuller and larger patterns are not searched for them: it takes longer than what little they save.
_FULL, _MANY = 0.2, 20_000


@dataclass(frozen=True)
class Products:
    """What all routes of one Jacobian share.

    Args:
      core: the map.
      passes: its traced products.
      chunk: how many products at a time, by default all.
      output_format: ``"dense"`` or ``"bcoo"``.
      pattern: where it may be nonzero, if known.
      symmetric: whether it is a Hessian, whose colourings may be fewer.
      named: whether the user named the method; reverse mode then answers in its own dtypes.
    """

    core: LeafMap
    passes: "Passes"
    chunk: int | None = None
    output_format: str = "dense"
    pattern: Pattern | None = None
    symmetric: bool = False
    named: bool = False


class Passes:
    """The programs of one product by forward and by reverse mode, traced when first asked for, and their prices.

    Args:
      core: the map; only shapes of its inputs are used.
    """

    def __init__(self, core: LeafMap):
        self._core, self._inputs = core, abstract(core.inputs)
        self._prices: dict[Any, Cost] = {}

    @functools.cached_property
    def push(self) -> tuple[walk.Program | None, str]:
        """The program ``(*x, *v) -> J v``, or why there is none."""
        product = lambda x, v: jax.jvp(self._core.plain, x, v)[1]
        return attempt(product, self._inputs, self._inputs)

    @functools.cached_property
    def pull(self) -> tuple[walk.Program | None, str]:
        """The program ``(*x, *u) -> J' u``, or why there is none."""
        outputs = abstract(self._core.outputs)
        complex_in, complex_out = (
            [jnp.issubdtype(leaf.dtype, jnp.complexfloating) for leaf in leaves] for leaves in (self._inputs, outputs)
        )
        if any(complex_out) and not all(complex_in):
            return None, "an output is complex and an input is real"
        product = lambda x, u: jax.vjp(self._core.plain, *x)[1](u)
        return attempt(product, self._inputs, outputs)

    def price(
        self, mode: Mode, count: int, chunk: int | None = None, *, last: bool = False, constant: bool = False
    ) -> Cost:
        """What ``count`` products cost, ``chunk`` at a time, their axis ``last`` in the result or first.

        ``constant`` seeds are part of the compiled program, unless they are sliced into chunks.
        """
        if chunk is not None and chunk < count:
            return self._chunked(mode, count, chunk, last)
        key = mode, count, last, constant
        if key not in self._prices:
            program, reason = self.push if mode == "forward" else self.pull
            if program is None:
                raise ValueError(f"{mode} mode is not possible: {reason}")
            first = len(self._inputs)
            lanes = [(range(first, len(program.inputs)), max(count, 1))]
            self._prices[key] = price(program, lanes=lanes, lanes_last=last, constant=constant)
        return self._prices[key]

    @functools.cached_property
    def _swept(self) -> Cost:
        """What reverse mode computes once, whatever the products: all that no seed reaches."""
        program = self.pull[0]
        assert program is not None
        reached = walk.dependents(program, range(len(self._inputs), len(program.inputs)))
        apart = [all(value not in reached for value in equation.inputs) for equation in program.equations]
        before = tuple(equation for equation, flag in zip(program.equations, apart) if flag)
        after = [value for equation, flag in zip(program.equations, apart) if not flag for value in equation.inputs]
        made = {value for equation in before for value in equation.outputs}
        kept = tuple(value for value in dict.fromkeys((*after, *program.outputs)) if value in made)
        return price(walk.prune(walk.Program(program.inputs, kept, before)))

    def _chunked(self, mode: Mode, count: int, chunk: int, last: bool) -> Cost:
        once, trips = self.price(mode, chunk, last=last), math.ceil(count / chunk)
        total = once * trips
        if mode == "reverse":  # the forward sweep is not repeated
            total = self._swept + _beyond(once, self._swept) * trips
        leaves = self._core.outputs if mode == "forward" else self._inputs
        stacked = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves) * count
        return dataclasses.replace(total, peak_bytes=once.peak_bytes + stacked, output_bytes=stacked)


def _beyond(whole: Cost, part: Cost) -> Cost:
    """What a program costs beyond a part of it, never less than nothing: apart, the part may be fused less well."""
    names = ("flops", "transcendentals", "product_flops", "bytes_moved", "kernels")
    amounts = {name: max(getattr(whole, name) - getattr(part, name), 0.0) for name in names}
    amounts["kernels"] = max(amounts["kernels"], min(whole.kernels, 1.0))
    counts = {name: max(amount - part.counts.get(name, 0.0), 0.0) for name, amount in whole.counts.items()}
    return dataclasses.replace(whole, counts=counts, **amounts)


def attempt(product: Callable[..., Any], *args: Any) -> tuple[walk.Program | None, str]:
    """The traced program, or the first line of JAX's reason why it cannot be differentiated in this mode."""
    try:
        program = walk.trace(product, *args)
    except (TypeError, ValueError, NotImplementedError) as error:
        if isinstance(error, jax.errors.ConcretizationTypeError):
            raise
        return None, (str(error).strip().splitlines() or [type(error).__name__])[0]
    if any(equation.name == "custom_lin" for equation in program.everything()):
        return None, "a custom_vjp has no forward mode"  # which JAX finds out when it compiles
    return program, ""


def vector_route(core: LeafMap, method: str, multiply: Callable[[LeafMap, Any], Any], *, passes: int = 1) -> Route:
    """A product with the operator's vector, ``multiply(core, v)``, priced by its program; refused if it has none."""
    program, refused = attempt(lambda x, v: multiply(core.at(*x), v), abstract(core.inputs), abstract(core.extra))
    if program is None:
        return Route(method, refused=refused)
    return Route(method, passes=passes, run=lambda at: (multiply(at, at.extra), None), price=lambda: price(program))


def dense_route(products: Products, mode: Mode, name: str) -> Route:
    """All columns by forward mode, or all rows by reverse mode."""
    core, passes = products.core, products.passes
    program, refused = passes.push if mode == "forward" else passes.pull
    if program is None:
        return Route(name, refused=refused)
    count = core.num_inputs if mode == "forward" else core.num_outputs
    chunk = products.chunk if products.chunk is not None and products.chunk < count else None

    basis = batched_products.unit_vectors(count, core.num_outputs if mode == "forward" else core.num_inputs)
    straight = all(equation.nested is None for equation in program.equations)
    apart = (
        mode == "forward" and chunk is None and straight and batched_products.transposed_apart(count, core.num_outputs)
    )
    return Route(
        name,
        how=f"{count} {'column' if mode == 'forward' else 'row'}{'s' if count != 1 else ''}{_at_a_time(chunk)}",
        passes=count,
        run=dense_run(mode, chunk, products.output_format, products.pattern, products.named, basis, apart),
        price=lambda: passes.price(mode, count, chunk, last=mode == "forward", constant=basis is not None),
        smaller=_smaller(products, count, lambda part: dense_route(part, mode, name)),
        held=index_bytes(products.pattern),
    )


def dense_run(
    mode: Mode,
    chunk: int | None,
    output_format: str,
    pattern: Pattern | None,
    named: bool,
    basis: Any = None,
    apart: bool = False,
) -> Callable[[LeafMap], Any]:
    """What a dense route runs. It holds no map: a plan outlives the function that it was made for."""

    def run(at: LeafMap) -> tuple[Any, Any]:
        if mode == "forward":
            blocks, aux = batched_products.forward(at, chunk, basis, apart=apart)
        else:
            blocks, aux = batched_products.reverse(at, chunk, basis, like_forward=not named)
        if output_format == "bcoo":
            return sparse.take_entries(blocks, pattern, at.outputs, at.inputs), aux
        return blocks, aux

    return run


def sparse_routes(products: Products, names: Sequence[str], limit: int | None) -> list[Route]:
    """Coloured products by every admissible colouring.

    Args:
      products: with a pattern.
      names: of ``"sparse"`` and ``"bidirectional"``, those that are wanted.
      limit: give a colouring up that needs more products.
    """
    pattern = products.pattern
    assert pattern is not None
    forward, reverse = (_refusal(products, mode) for mode in ("forward", "reverse"))
    attempts: list[tuple[str, str, Callable[..., Coloring | None], str]] = []
    if "sparse" in names and products.symmetric:
        either = forward and reverse  # a symmetric matrix's columns are its rows
        attempts += [
            ("sparse", either, colorings.color_star, "star"),
            ("sparse", either, colorings.color_acyclic, "acyclic"),
        ]
    elif "sparse" in names:
        attempts += [
            ("sparse", forward, colorings.color_columns, "column"),
            ("sparse", reverse, colorings.color_rows, "row"),
        ]
    if "bidirectional" in names:
        attempts.append(("bidirectional", forward or reverse, colorings.color_bidirectional, ""))
    found = []
    for name, refused, color, kind in attempts:
        if kind == "acyclic" and found[-1].passes:  # to substitute has to pay
            limit = max(int(_SAVED * found[-1].passes), 1)
            if pattern.density > _FULL and pattern.matrix.nnz > _MANY:
                refused = "of so full a pattern it would need about as many"
        coloring = None if refused else color(pattern.matrix, limit=limit)
        one_sided = coloring is not None and not (coloring.num_column_colors and coloring.num_row_colors)
        if name == "bidirectional" and "sparse" in names and one_sided:
            found.append(Route(name, refused="no better than colours of one side"))
        elif coloring is None:
            found.append(Route(name, how=_colours(kind), refused=refused or f"more than {limit} {_colours(kind)}"))
        else:
            found.append(_sparse_route(products, name, kind, coloring))
    return found


def _refusal(products: Products, mode: Mode) -> str:
    return (products.passes.push if mode == "forward" else products.passes.pull)[1]


def _sparse_route(products: Products, name: str, kind: str, coloring: Coloring) -> Route:
    """Compressed products, and the entries read off them."""
    passes, count = products.passes, coloring.num_products
    assert products.pattern is not None
    pattern = products.pattern.matrix
    chunk = products.chunk if products.chunk is not None and products.chunk < count else None
    columns_by: Mode = "reverse" if products.symmetric and _refusal(products, "forward") else "forward"
    recover = _recovery(pattern, coloring)

    assemble = functools.partial(_assemble, pattern, products.output_format)

    def cost() -> Cost:
        core = products.core
        total = Cost()
        length = 0
        parts: tuple[tuple[Mode, int, int], ...] = (
            (columns_by, coloring.num_column_colors, core.num_outputs),
            ("reverse", coloring.num_row_colors, core.num_inputs),
        )
        for mode, colors, leaves in parts:
            if colors:
                total = total + passes.price(mode, colors, chunk, constant=True)
                length += colors * leaves
        dtype = jnp.result_type(*core.inputs, *core.outputs)
        work = walk.trace(lambda c: assemble(recover(c), core), jax.ShapeDtypeStruct((length,), dtype))
        return then(total, price(work))

    return Route(
        name,
        how=f"{count} {_colours(kind)}{_at_a_time(chunk)}",
        passes=count,
        run=_sparse_run(products.pattern, coloring, recover, assemble, chunk, columns_by),
        price=cost,
        smaller=_smaller(products, count, lambda part: _sparse_route(part, name, kind, coloring)),
        held=index_bytes(products.pattern),
    )


def index_bytes(pattern: Pattern | None) -> int:
    """What a route that rests on a pattern keeps of it: rows and columns, and where each entry is read."""
    if pattern is None:
        return 0
    stored = math.prod(pattern.shape) if pattern.entries is None else pattern.entries.nnz
    return 4 * (3 * stored + 2 * sum(pattern.shape))


def _assemble(pattern: Any, output_format: str, data: Any, at: LeafMap) -> Any:
    """The result from the entries in the pattern's order."""
    if output_format == "bcoo":
        return sparse.bcoo_blocks(data, pattern, at.outputs, at.inputs)
    return sparse.dense_blocks(decompression.scatter_dense(data, pattern), at.outputs, at.inputs)


def _sparse_run(
    pattern: Pattern,
    coloring: Coloring,
    recover: Callable[[Any], Any],
    assemble: Callable[[Any, LeafMap], Any],
    chunk: int | None,
    columns_by: Mode,
) -> Callable[[LeafMap], Any]:
    """What a sparse route runs; it holds no map."""

    def run(at: LeafMap) -> tuple[Any, Any]:
        compressed, aux = sparse.compressed_products(at, coloring, chunk, columns_by)
        data = recover(compressed)
        result = assemble(data, at)
        return (sparse.checked(result, data, at, pattern.matrix) if pattern.scope == "local" else result), aux

    return run


def _recovery(pattern: Any, coloring: Coloring) -> Callable[[Any], Any]:
    """From compressed products to the entries in the pattern's order."""
    if coloring.kind == "acyclic":
        schedule = decompression.substitution(pattern, coloring)
        return lambda compressed: decompression.substitute(compressed, schedule)
    source = decompression.direct_source(pattern, coloring)
    return lambda compressed: decompression.gather(compressed, source)


def then(first: Cost, second: Cost) -> Cost:
    """The cost of a program whose outputs a second one consumes."""
    both = first + second
    peak = max(first.peak_bytes, first.output_bytes + second.peak_bytes)
    return dataclasses.replace(both, peak_bytes=peak, output_bytes=second.output_bytes)


def _colours(kind: str) -> str:
    return f"{kind} colours".lstrip()


def _at_a_time(chunk: int | None) -> str:
    return "" if chunk is None else f", {chunk} at a time"


def _smaller(products: Products, count: int, build: Callable[[Products], Route]) -> Callable[[int], Route | None]:
    """The same route with the largest chunk that is expected to fit into a number of bytes."""

    def smaller(budget: int) -> Route | None:
        fits = lambda chunk: _peak(build(dataclasses.replace(products, chunk=chunk))) <= budget
        low, high = 1, (products.chunk or count) - 1
        if high < 1 or not fits(1):
            return None
        while low < high:  # the peak grows with the chunk
            middle = (low + high + 1) // 2
            low, high = (middle, high) if fits(middle) else (low, middle - 1)
        return build(dataclasses.replace(products, chunk=low))

    return smaller


def _peak(route: Route) -> float:
    assert route.price is not None
    return route.price().peak_bytes

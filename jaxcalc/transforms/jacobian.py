"""The Jacobian, by the cheapest of forward, reverse, sparse and bidirectional products."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.programs.cost import Cost
from jaxcalc.programs.sparsity import Pattern, given_pattern, jacobian_pattern
from jaxcalc.programs.speed import Device, device
from jaxcalc.programs.walk import is_sharded
from jaxcalc.transforms import sparse
from jaxcalc.transforms.choose import bind
from jaxcalc.transforms.jacobian_routes import Mode, Passes, Products, dense_route, dense_run, sparse_routes
from jaxcalc.transforms.lifting import LeafMap, abstract, lift, placed, spec_of
from jaxcalc.transforms.plan import FAST_ENOUGH, Operator, Route

__all__ = [
    "JACOBIAN",
    "Choices",
    "JacobianMethod",
    "fast_enough",
    "jacobian",
    "jacobian_routes",
    "make_choices",
    "product_routes",
]

JacobianMethod = Literal["auto", "forward", "reverse", "sparse", "bidirectional"]


# A sparse route is looked for only if its lower bound is below this share of the best dense route's time.
_WORTH = 0.9
# A pattern fuller than this is not worth colouring when dense routes compete, nor more colours than this share of the
# dense products, when only the best is wanted; when the next best are wanted too.
_DENSE, _DENSER = 0.7, 0.9


@dataclass(frozen=True)
class Choices:
    """What a user fixed of how a Jacobian is computed; arguments as ``jacobian`` takes them."""

    argnums: int | tuple[int, ...] = 0
    has_aux: bool = False
    holomorphic: bool = False
    method: str = "auto"
    memory_budget: int | None = None
    chunk_size: int | None = None
    output_format: str = "dense"
    pattern: Pattern | None = None


def jacobian(
    fun: Callable[..., Any],
    /,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    method: JacobianMethod | str = "auto",
    memory_budget: int | None = None,
    chunk_size: int | None = None,
    output_format: sparse.OutputFormat | str = "dense",
    pattern: Any = None,
) -> Callable[..., Any]:
    """The Jacobian of a function: all partial derivatives of its outputs.

    ``jacobian(f)(x)[i, j] = d f_i(x) / d x_j``

    Args:
      fun: from arrays or PyTrees to arrays or PyTrees. Leaves of a differentiated argument that are no floating-point
        arrays (a module's activation, a counter) are held fixed and have ``None`` in the result.
      argnums: the positional argument or arguments to differentiate in.
      has_aux: whether ``fun`` returns ``(output, aux)``; the result is then ``(jacobian, aux)``.
      holomorphic: whether ``fun`` is holomorphic; needed for complex inputs.
      method: ``"forward"`` (a product with each input direction), ``"reverse"`` (one with each output direction),
        ``"sparse"`` (a product with each colour of columns or of rows), ``"bidirectional"`` (colours of both), or
        ``"auto"``: the least predicted time among those that fit.
      memory_budget: bytes for temporaries and results; what does not fit is computed in chunks. By default what the
        device has.
      chunk_size: how many products at a time; by default all, or what the budget allows.
      output_format: ``"dense"``, or ``"bcoo"`` for ``jax.experimental.sparse.BCOO`` leaves.
      pattern: where it may be nonzero, as ``jaxcalc.programs.sparsity`` detects it, or as a boolean matrix of shape
        (m, n), a SciPy sparse matrix or a ``BCOO``; by default detected when needed. Whatever uses one that is given
        checks it against a random product with the Jacobian, and is all NaN if an entry is missing that is larger than
        1,000 roundings of its row.

    Returns:
      A function of ``fun``'s arguments with what ``jax.jacfwd(fun, argnums)`` returns, leaves of shape
      ``output.shape + input.shape``.

    Raises:
      ValueError: for an unknown method or format, or a method that ``fun`` does not allow.
      MemoryBudgetError: if no strategy fits.
      TypeError: if nothing can be differentiated.

    Cost: that of the chosen route, as ``plan(jacobian, fun, *args)`` tells; planning happens once per program.
    """
    return bind(
        JACOBIAN,
        fun,
        argnums=argnums,
        has_aux=has_aux,
        holomorphic=holomorphic,
        method=method,
        memory_budget=memory_budget,
        chunk_size=chunk_size,
        output_format=output_format,
        pattern=pattern,
    )


def make_choices(
    who: str,
    methods: Sequence[str],
    /,
    *,
    argnums: int | Sequence[int] = 0,
    method: str = "auto",
    output_format: str = "dense",
    memory_budget: int | None = None,
    chunk_size: int | None = None,
    pattern: Any = None,
    **rest: Any,
) -> Choices:
    """The keywords of an operator that returns a matrix of derivatives, validated."""
    checks.one_of(who, "method", method, methods)
    checks.one_of(who, "output_format", output_format, get_args(sparse.OutputFormat))
    return Choices(
        argnums=checks.argument_numbers(who, argnums),
        method=method,
        output_format=output_format,
        memory_budget=checks.num_bytes(who, "memory_budget", memory_budget),
        chunk_size=None if chunk_size is None else checks.integer(who, "chunk_size", chunk_size),
        pattern=None if pattern is None else given_pattern(who, pattern),
        **rest,
    )


def jacobian_routes(core: LeafMap, choices: Choices, slack: float = 1.0) -> list[Route]:
    """All routes of the methods asked for, the simplest first; ``slack`` as ``Operator`` says."""
    _check_pattern(core, choices)
    named = choices.method != "auto"
    products = Products(core, Passes(core), choices.chunk_size, choices.output_format, choices.pattern, named=named)
    modes: tuple[Mode, ...] = ("forward", "reverse")
    dense: list[Route] = []
    for mode in modes:
        if choices.method in ("auto", mode):
            enough = any(fast_enough(route, slack) for route in dense)
            dense.append(Route(mode, refused=FAST_ENOUGH) if enough else dense_route(products, mode, mode))
    few = [name for name in ("sparse", "bidirectional") if choices.method in ("auto", name)]
    detect = lambda: jacobian_pattern(core.plain, *abstract(core.inputs), tangent=products.passes.push[0])
    return product_routes(products, dense, few, detect, slack)


def _check_pattern(core: LeafMap, choices: Choices) -> None:
    if choices.pattern is not None:
        checks.shaped("jacobian", "pattern", choices.pattern.shape, core.num_outputs, core.num_inputs)


def fast_enough(route: Route, slack: float) -> bool:
    """Whether no other route could be faster, by more than what is worth looking for, than the call of any program."""
    on = device()
    return not route.refused and route.priced(on).seconds * _WORTH * slack < on.seconds(Cost())


def product_routes(
    products: Products, dense: list[Route], few: Sequence[str], detect: Callable[[], Pattern], slack: float
) -> list[Route]:
    """Dense routes and, where they could pay, those that need the pattern.

    Args:
      products: what the routes share.
      dense: the dense routes that compete.
      few: the names of sparse routes wanted; without dense routes they are built at any price.
      detect: reads the pattern.
      slack: as ``Operator`` says.
    """
    core = products.core
    if not few or not core.num_inputs or not core.num_outputs:
        return dense or [dense_route(products, "forward", few[0])]
    competing = bool(dense)
    if competing and products.output_format == "dense":
        on = device()
        dense = [route.priced(on) for route in dense]
        if any(fast_enough(route, slack) for route in dense):
            return [*dense, *(Route(name, refused=FAST_ENOUGH) for name in few)]
        least = min((route.seconds for route in dense if not route.refused), default=math.inf)
        if math.isfinite(least) and _bound(products, on) > _WORTH * slack * least:
            return [*dense, *(Route(name, refused="one product alone would save nothing") for name in few)]
    pattern = products.pattern or detect()
    share = _DENSE if slack <= 1.0 else _DENSER
    if competing and pattern.density > share:
        return [
            *dense,
            *(Route(name, refused=f"{100 * pattern.density:.3g} % of the entries may be nonzero") for name in few),
        ]
    products = dataclasses.replace(products, pattern=pattern)
    limit = max(int(share * min(core.num_inputs, core.num_outputs)), 8) if competing else None
    colored = sparse_routes(products, few, limit)
    if competing and products.output_format == "bcoo":  # a dense route would store the zeros too
        dense = [dataclasses.replace(route, refused="it would store every zero", run=None) for route in dense]
        if all(route.refused for route in colored):
            colored = sparse_routes(products, few, None)
    return [*dense, *colored]


def _bound(products: Products, on: Device) -> float:
    """Seconds that a sparse route cannot go below: one product, and writing the result."""
    core, passes = products.core, products.passes
    programs: dict[Mode, walk.Program | None] = {"forward": passes.push[0], "reverse": passes.pull[0]}
    modes: list[Mode] = [mode for mode, program in programs.items() if program is not None]
    one = min((on.seconds(passes.price(mode, 1, constant=True)) for mode in modes), default=math.inf)
    width = jnp.result_type(*core.inputs, *core.outputs).itemsize
    written = Cost(bytes_moved=float(core.num_inputs) * core.num_outputs * width)
    return one + on.seconds(written) - on.seconds(Cost())  # one call


def _finish(core: LeafMap, choices: Choices, blocks: Any, aux: Any) -> Any:
    if choices.output_format == "dense" and choices.method != "reverse" and any(map(is_sharded, core.inputs)):
        # Whatever the route, they are split over a mesh as forward mode splits them.
        specs = map(spec_of, core.outputs)
        blocks = [[placed(block, spec) for block in line] for line, spec in zip(blocks, specs)]
    tree = core.output_tree([core.input_tree(line) for line in blocks])
    return (tree, aux) if choices.has_aux else tree


def _direct(core: LeafMap, choices: Choices) -> Route | None:
    if choices.method not in ("forward", "reverse"):
        return None
    _check_pattern(core, choices)
    run = dense_run(choices.method, choices.chunk_size, choices.output_format, choices.pattern, named=True)
    return Route(choices.method, run=run)


JACOBIAN = Operator(
    "jacobian",
    functools.partial(make_choices, "jacobian", get_args(JacobianMethod)),
    lambda fun, args, choices: lift(
        "jacobian",
        fun,
        choices.argnums,
        args,
        has_aux=choices.has_aux,
        holomorphic=choices.holomorphic,
        complex_inputs=choices.method == "reverse",
    ),
    jacobian_routes,
    _finish,
    _direct,
)

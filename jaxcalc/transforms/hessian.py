"""The Hessian, by the cheapest composition of forward and reverse mode, dense or from few coloured products."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.programs.sparsity import Pattern, hessian_pattern, jacobian_pattern
from jaxcalc.programs.walk import is_sharded
from jaxcalc.transforms import batched_products, sparse
from jaxcalc.transforms.choose import bind
from jaxcalc.transforms.interpreter import authored, program_of, unsymmetrized
from jaxcalc.transforms.jacobian import Choices, fast_enough, make_choices, product_routes
from jaxcalc.transforms.jacobian_routes import Mode, Passes, Products, dense_route, dense_run
from jaxcalc.transforms.lifting import LeafMap, abstract, lift, placed, spec_of
from jaxcalc.transforms.plan import FAST_ENOUGH, Operator, Route

__all__ = ["COMPOSITIONS", "FEW", "HESSIAN", "HessianMethod", "derivative", "hessian", "unsymmetric"]

HessianMethod = Literal[
    "auto",
    "forward-over-reverse",
    "reverse-over-forward",
    "reverse-over-reverse",
    "forward-over-forward",
    "sparse",
]
# Inputs from which on a gradient by forward mode is not worth tracing: by reverse mode it costs at most four or five
# evaluations, however many there are.
FEW = 16
# Method -> (outer mode, inner mode).
COMPOSITIONS: dict[str, tuple[Mode, Mode]] = {
    "forward-over-reverse": ("forward", "reverse"),
    "reverse-over-reverse": ("reverse", "reverse"),
    "reverse-over-forward": ("reverse", "forward"),
    "forward-over-forward": ("forward", "forward"),
}


def hessian(
    fun: Callable[..., Any],
    /,
    argnums: int | Sequence[int] = 0,
    *,
    has_aux: bool = False,
    holomorphic: bool = False,
    method: HessianMethod | str = "auto",
    memory_budget: int | None = None,
    chunk_size: int | None = None,
    output_format: sparse.OutputFormat | str = "dense",
    pattern: Any = None,
) -> Callable[..., Any]:
    """The Hessian of a function: all second partial derivatives.

    ``hessian(f)(x)[i, j] = d^2 f(x) / d x_i d x_j``

    Args:
      fun: from arrays or PyTrees to a scalar, or to any output, whose axes then come first.
      argnums: the positional argument or arguments to differentiate in.
      has_aux: whether ``fun`` returns ``(output, aux)``; the result is then ``(hessian, aux)``.
      holomorphic: whether ``fun`` is holomorphic; needed for complex inputs.
      method: outer over inner mode, ``"forward-over-reverse"``, ``"reverse-over-forward"``, ``"reverse-over-reverse"``
        or ``"forward-over-forward"``; ``"sparse"`` (Hessian-vector products with coloured seeds, star or acyclic); or
        ``"auto"``: the least predicted time among those that fit.
      memory_budget: bytes for temporaries and results; what does not fit is computed in chunks. By default what the
        device has.
      chunk_size: how many products of the outer mode at a time; by default all, or what the budget allows.
      output_format: ``"dense"``, or ``"bcoo"`` for ``jax.experimental.sparse.BCOO`` leaves.
      pattern: where the derivative of the gradient may be nonzero, given and checked as ``jacobian`` has it; of a
        scalar's Hessian one half is enough.

    Returns:
      A function of ``fun``'s arguments with what ``jax.hessian(fun, argnums)`` returns, leaves of shape
      ``output.shape + input.shape + input.shape``.

    Raises:
      ValueError: for an unknown method or format, or a method that ``fun`` does not allow.
      MemoryBudgetError: if no strategy fits.
      TypeError: if nothing can be differentiated.

    Cost: that of the chosen route, as ``plan(hessian, fun, *args)`` tells; planning happens once per program.
    """
    return bind(
        HESSIAN,
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


def unsymmetric(core: LeafMap) -> str:
    """Why the derivative of a scalar's gradient may differ from its transpose; empty if it does not.

    Where a derivative or a transpose is its author's word, it need not be that of what is computed, nor have a
    potential: ``authored`` tells. A solve that is said to be symmetric, say, is transposed by itself also where its
    matrix is differentiated in directions that are not symmetric.
    """
    program = program_of(core.plain, *abstract(core.inputs))
    author = next(filter(None, map(authored, program.everything())), "") or unsymmetrized(program)
    return f"{author} may make the Hessian unsymmetric" if author else ""


def derivative(core: LeafMap, mode: Mode) -> LeafMap:
    """The map to all first partial derivatives: of a scalar, its gradient."""

    def call(*inputs: Any) -> tuple[Any, Any]:
        blocks, aux = (batched_products.forward if mode == "forward" else batched_products.reverse)(core.at(*inputs))
        return tuple(block for line in blocks for block in line), aux

    return LeafMap(call, core.inputs, core.input_tree, core.output_tree)


def _routes(core: LeafMap, choices: Choices, slack: float = 1.0) -> list[Route]:
    """All routes of the methods asked for, the simplest first; ``slack`` as ``Operator`` says."""
    scalar = len(core.outputs) == 1 and core.outputs[0].shape == ()
    symmetric = scalar and not unsymmetric(core)
    first, auto = Passes(core), choices.method == "auto"
    given = choices.pattern
    if given is not None:
        given = _of_gradient(core, given, symmetric=symmetric)

    @functools.cache
    def gradient(mode: Mode) -> Products:
        inner = derivative(core, mode).staged
        return Products(
            inner,
            Passes(inner),
            choices.chunk_size,
            choices.output_format,
            given,
            symmetric=symmetric,
            named=not auto,
        )

    dense = []
    for method, (outer, inner) in COMPOSITIONS.items():
        if choices.method not in ("auto", method):
            continue
        refused = FAST_ENOUGH if any(fast_enough(route, slack) for route in dense) else ""
        refused = refused or (first.pull if inner == "reverse" else first.push)[1]
        if not refused and inner == "forward" and not first.pull[1] and core.num_inputs > FEW and auto:
            refused = f"it needs {core.num_inputs} products for each of {core.num_inputs}"
        if not refused and inner == "forward" and auto and not first.pull[1] and not symmetric:
            reason = unsymmetric(core)  # jax.hessian differentiates the gradient that reverse mode gives
            refused = f"{reason}, by reverse mode another one" if reason else ""
        route = (
            Route(method, refused=refused) if refused else _through(dense_route(gradient(inner), outer, method), inner)
        )
        dense.append(route)
    few = ["sparse"] if choices.method in ("auto", "sparse") else []
    if not few:
        return dense
    if first.pull[1]:
        return [*dense, Route("sparse", refused=first.pull[1])]

    def detect():
        inputs, tangent = abstract(core.inputs), gradient("reverse").passes.push[0]
        if symmetric:
            return hessian_pattern(lambda *x: core.plain(*x)[0], *inputs, tangent=tangent)
        return jacobian_pattern(gradient("reverse").core.plain, *inputs, tangent=tangent)

    found = product_routes(gradient("reverse"), dense, few, detect, slack)
    return [route if route in dense or route.method != "sparse" else _through(route, "reverse") for route in found]


def _of_gradient(core: LeafMap, pattern: Pattern, *, symmetric: bool) -> Pattern:
    """A given pattern, if it has the shape of the gradient's Jacobian; of a symmetric one both halves."""
    n = core.num_inputs
    checks.shaped("hessian", "pattern", pattern.shape, core.num_outputs * n, n)
    return pattern.symmetric if symmetric else pattern


def _through(route: Route, inner: Mode) -> Route:
    """A route of the first derivative, as one of the function itself."""
    run, smaller = route.run, route.smaller
    return dataclasses.replace(
        route,
        run=None if run is None else lambda core: run(derivative(core, inner)),
        smaller=None if smaller is None else lambda budget: _maybe_through(smaller(budget), inner),
    )


def _maybe_through(route: Route | None, inner: Mode) -> Route | None:
    return None if route is None else _through(route, inner)


def _finish(core: LeafMap, choices: Choices, blocks: Any, aux: Any) -> Any:
    width = len(core.inputs)
    if choices.method == "auto":  # whatever route was taken, the dtypes are jax.hessian's: those of the gradient
        blocks = [_in_dtype(core.inputs[i % width].dtype, line) for i, line in enumerate(blocks)]
    if choices.output_format == "dense" and choices.method in ("auto", "sparse") and any(map(is_sharded, core.inputs)):
        # Whatever the route, they are split over a mesh as the gradient is.
        specs = [(*[None] * output.ndim, *spec_of(leaf)) for output in core.outputs for leaf in core.inputs]
        blocks = [[placed(block, spec) for block in line] for line, spec in zip(blocks, specs)]
    lines = [core.input_tree(line) for line in blocks]
    count = len(lines) // width if width else 0
    tree = core.output_tree([core.input_tree(lines[i * width : (i + 1) * width]) for i in range(count)])
    return (tree, aux) if choices.has_aux else tree


def _in_dtype(dtype: Any, blocks: Any) -> Any:
    """Arrays or BCOO matrices with their numbers in that dtype, their indices as they are."""
    others = lambda leaf: jnp.issubdtype(leaf.dtype, jnp.inexact) and leaf.dtype != dtype
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if others(leaf) else leaf, blocks)


def _direct(core: LeafMap, choices: Choices) -> Route | None:
    if choices.method not in COMPOSITIONS:
        return None
    outer, inner = COMPOSITIONS[choices.method]
    given = choices.pattern
    if given is not None:
        scalar = len(core.outputs) == 1 and core.outputs[0].shape == ()
        given = _of_gradient(core, given, symmetric=scalar and not unsymmetric(core))
    run = dense_run(outer, choices.chunk_size, choices.output_format, given, named=True)
    return _through(Route(choices.method, run=run), inner)


HESSIAN = Operator(
    "hessian",
    functools.partial(make_choices, "hessian", get_args(HessianMethod)),
    lambda fun, args, choices: lift(
        "hessian", fun, choices.argnums, args, has_aux=choices.has_aux, holomorphic=choices.holomorphic
    ),
    _routes,
    _finish,
    _direct,
)

"""Peers' derivatives of one function, with the products that each takes and the strategy of ours that it resembles."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

from jaxcalc.lab import jax, jnp


def peers(operator: str, instance: Any, routes: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """From a peer's name to ``() -> (function, products, the strategy of ours that it resembles)`` or why not."""
    fun, arguments = instance.fun, instance.arguments
    n, m = instance.num_inputs, instance.num_outputs
    match operator:
        case "jacobian":
            pattern = functools.cache(lambda: _asdex_pattern("jacobian", fun, arguments))
            return {
                "jax.jacfwd": lambda: (jax.jacfwd(fun), n, "forward"),
                "jax.jacrev": lambda: (jax.jacrev(fun), m, "reverse"),
                "asdex columns": lambda: _asdex_jacobian(fun, pattern(), "fwd", n),
                "asdex rows": lambda: _asdex_jacobian(fun, pattern(), "rev", m),
                "sparsejac columns": lambda: _sparsejac(fun, arguments, routes, "jacfwd", n),
                "sparsejac rows": lambda: _sparsejac(fun, arguments, routes, "jacrev", m),
            }
        case "hessian":
            pattern = functools.cache(lambda: _asdex_pattern("hessian", fun, arguments))
            return {
                "jax.hessian": lambda: (jax.hessian(fun), n, "forward-over-reverse"),
                "asdex star": lambda: _asdex_hessian(fun, pattern(), True, n),
                "asdex rows": lambda: _asdex_hessian(fun, pattern(), False, n),
            }
        case _:
            return {
                "trace of jax.hessian": lambda: (_trace_of_hessian(fun, arguments), n, "hessian"),
                "folx": lambda: (_folx(fun, arguments, 0), 1, "forward-laplacian"),
                "folx sparse": lambda: (_folx(fun, arguments, 6), 1, "forward-laplacian"),
            }


def _asdex_pattern(operator: str, fun: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    import asdex  # pyright: ignore[reportMissingImports]

    detect = asdex.jacobian_sparsity if operator == "jacobian" else asdex.hessian_sparsity
    return detect(fun, *arguments, argnums=0)


def _asdex_jacobian(fun: Callable[..., Any], pattern: Any, mode: Any, dense: int) -> Any:
    import asdex  # pyright: ignore[reportMissingImports]

    coloring = asdex.jacobian_coloring_from_sparsity(pattern, mode=mode)
    if coloring.num_colors >= dense:
        return "no fewer products than the dense mode"
    call = asdex.jacobian_from_coloring(fun, coloring, output_format="dense")
    return call, coloring.num_colors, "sparse columns" if mode == "fwd" else "sparse rows"


def _asdex_hessian(fun: Callable[..., Any], pattern: Any, symmetric: bool, dense: int) -> Any:
    import asdex  # pyright: ignore[reportMissingImports]

    coloring = asdex.hessian_coloring_from_sparsity(pattern, symmetric=symmetric, postprocess=symmetric)
    if coloring.num_colors >= dense:
        return "no fewer products than the dense mode"
    return asdex.hessian_from_coloring(fun, coloring, output_format="dense"), coloring.num_colors, "sparse star"


def _sparsejac(
    fun: Callable[..., Any], arguments: tuple[Any, ...], routes: Mapping[str, Any], mode: str, dense: int
) -> Any:
    """sparsejac takes vectors to vectors and has to be given the pattern: it gets ours."""
    import sparsejac  # pyright: ignore[reportMissingImports]

    lengths: list[Any] = [getattr(one, "shape", ()) for one in (jax.eval_shape(fun, *arguments), arguments[0])]
    if any(len(shape) != 1 for shape in lengths):
        return "does not apply: takes vectors to vectors only"
    like = "sparse columns" if mode == "jacfwd" else "sparse rows"
    # It colours no better than we do, and dense graphs take it minutes.
    if like in routes and routes[like].passes >= dense:
        return "no fewer products than the dense mode"
    sparse = getattr(sparsejac, mode)(fun, pattern_of(fun, arguments))
    return lambda *args: sparse(*args).todense(), math.nan, like


def pattern_of(fun: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """The Jacobian's pattern as a matrix of ones, which sparsejac has to be given."""
    from jax.experimental.sparse import BCOO

    from jaxcalc.programs.sparsity import jacobian_pattern

    x = arguments[0]
    matrix = jacobian_pattern(lambda y: fun(y, *arguments[1:]), x).matrix.tocoo()
    entries = jnp.ones(matrix.nnz, x.dtype), jnp.stack([jnp.asarray(matrix.row), jnp.asarray(matrix.col)], 1)
    return BCOO(entries, shape=matrix.shape)


def _trace_of_hessian(fun: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
    from jax.flatten_util import ravel_pytree

    _, unravel = ravel_pytree(arguments[0])
    return lambda x, *rest: jnp.trace(jax.hessian(lambda flat: fun(unravel(flat), *rest))(ravel_pytree(x)[0]))


def _folx(fun: Callable[..., Any], arguments: tuple[Any, ...], sparsity: int) -> Callable[..., Any]:
    import folx  # pyright: ignore[reportMissingImports]
    from jax.flatten_util import ravel_pytree

    _, unravel = ravel_pytree(arguments[0])

    def call(x: Any, *rest: Any) -> Any:
        sweep = folx.forward_laplacian(lambda flat: fun(unravel(flat), *rest), sparsity_threshold=sparsity)
        return sweep(ravel_pytree(x)[0]).laplacian

    return call

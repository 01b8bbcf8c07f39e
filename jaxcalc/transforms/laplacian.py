"""Sums and diagonals of second derivatives: Laplacian, trace, Hessian diagonal, bilaplacian."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc import checks
from jaxcalc.programs import decompression, walk
from jaxcalc.programs.coloring import Coloring, color_distance1
from jaxcalc.programs.cost import Cost, price
from jaxcalc.programs.sparsity import hessian_pattern
from jaxcalc.programs.speed import device
from jaxcalc.transforms import batched_products, sparse
from jaxcalc.transforms.choose import bind
from jaxcalc.transforms.forward_laplacian import forward_laplacian
from jaxcalc.transforms.hessian import derivative
from jaxcalc.transforms.jacobian_routes import Mode, Passes, attempt, index_bytes
from jaxcalc.transforms.lifting import LeafMap, abstract, lift, unravel
from jaxcalc.transforms.plan import Operator, Route
from jaxcalc.transforms.taylor import series, steep

__all__ = [
    "BILAPLACIAN",
    "DIAGONAL",
    "LAPLACIAN",
    "TRACE",
    "DiagonalMethod",
    "LaplacianMethod",
    "bilaplacian",
    "diagonal",
    "laplacian",
    "trace",
]

DiagonalMethod = Literal["auto", "nested", "hessian", "sparse", "stochastic"]
LaplacianMethod = Literal["auto", "forward-laplacian", "nested", "hessian", "sparse", "stochastic"]
BilaplacianMethod = Literal["auto", "forward-laplacian", "nested", "hessian"]


_FULL = 0.95
"""Of patterns with more than this share of entries no colouring is sought where other routes compete."""


@dataclass(frozen=True)
class _Choices:
    method: str = "auto"
    memory_budget: int | None = None
    num_samples: int = 0
    key: Any = dataclasses.field(default=None, compare=False)
    weights: Any = dataclasses.field(default=None, compare=False)


def laplacian(
    fun: Callable[..., Any],
    /,
    *,
    method: LaplacianMethod | str = "auto",
    memory_budget: int | None = None,
    weights: Any = None,
    key: Any = None,
    num_samples: int | None = None,
) -> Callable[..., Any]:
    """The Laplacian of a scalar function: the sum of its pure second derivatives.

    ``laplacian(f)(x) = sum_i w_i d^2 f(x) / d x_i^2``

    Args:
      fun: from an array or PyTree (and further arguments, held fixed) to a scalar.
      method: ``"forward-laplacian"`` (value, gradient and Laplacian in one forward sweep), ``"nested"`` (forward over
        forward along each axis), ``"hessian"`` (Hessian-vector products with each axis), ``"sparse"`` (with each colour
        of a distance-1 colouring), ``"stochastic"`` (Hutchinson: ``num_samples`` random signs), or ``"auto"``: the
        least predicted time of the exact ones.
      memory_budget: bytes for temporaries; by default what the device has.
      weights: the w_i, structured and shaped as ``x``; by default 1.
      key, num_samples: for ``"stochastic"``, here or, as keywords, at each call.

    Returns:
      A function of ``fun``'s arguments that returns the Laplacian; for ``"stochastic"`` a pair, its unbiased estimate
      and that estimate's standard error (NaN from a single sample).

    Raises:
      TypeError: if ``fun`` does not return a scalar.
      ValueError: for an unknown method, one that ``fun`` does not allow, or missing or unused keywords.
      MemoryBudgetError: if no strategy fits.

    Source: Li et al., "A computational framework for neural network-based variational Monte Carlo with Forward
    Laplacian", 2024; Hutchinson 1989.
    """
    return _bound(LAPLACIAN, fun, method, memory_budget, key, num_samples, weights=weights)


def trace(
    fun: Callable[..., Any],
    /,
    *,
    method: LaplacianMethod | str = "auto",
    memory_budget: int | None = None,
    key: Any = None,
    num_samples: int | None = None,
) -> Callable[..., Any]:
    """The trace of a scalar function's Hessian; as ``laplacian`` without weights, whose keywords it takes."""
    return _bound(TRACE, fun, method, memory_budget, key, num_samples)


def diagonal(
    fun: Callable[..., Any],
    /,
    *,
    method: DiagonalMethod | str = "auto",
    memory_budget: int | None = None,
    key: Any = None,
    num_samples: int | None = None,
) -> Callable[..., Any]:
    """The diagonal of a scalar function's Hessian.

    ``diagonal(f)(x)[i] = d^2 f(x) / d x_i^2``

    Args:
      fun: from an array or PyTree (and further arguments, held fixed) to a scalar.
      method: ``"nested"``, ``"hessian"``, ``"sparse"``, ``"stochastic"`` or ``"auto"``, as for ``laplacian``.
      memory_budget: bytes for temporaries; by default what the device has.
      key, num_samples: for ``"stochastic"``.

    Returns:
      A function of ``fun``'s arguments that returns the diagonal, structured and shaped as ``x``; for
      ``"stochastic"`` a pair of such, the estimate and its standard error.

    Raises:
      As ``laplacian``.
    """
    return _bound(DIAGONAL, fun, method, memory_budget, key, num_samples)


def bilaplacian(
    fun: Callable[..., Any], /, *, method: BilaplacianMethod | str = "auto", memory_budget: int | None = None
) -> Callable[..., Any]:
    """The Laplacian of the Laplacian of a scalar function.

    ``bilaplacian(f)(x) = sum_ij d^4 f(x) / d x_i^2 d x_j^2``

    Args:
      fun: from an array or PyTree (and further arguments, held fixed) to a scalar.
      method: how both Laplacians are taken; ``"auto"`` takes the least predicted time.
      memory_budget: bytes for temporaries; by default what the device has.

    Raises:
      As ``laplacian``.
    """
    return bind(BILAPLACIAN, fun, method=method, memory_budget=memory_budget)


def _bound(
    operator: Operator,
    fun: Callable[..., Any],
    method: str,
    memory_budget: int | None,
    key: Any,
    num_samples: int | None,
    **rest: Any,
) -> Callable[..., Any]:
    """The operator of a function; a stochastic one without a key takes it, and the number of samples, at each call."""
    if method != "stochastic" or key is not None:
        return bind(operator, fun, method=method, memory_budget=memory_budget, key=key, num_samples=num_samples, **rest)

    def at_a_key(*args: Any, key: Any, num_samples: int | None = num_samples, **fixed: Any) -> Any:
        made = bind(operator, fun, method=method, memory_budget=memory_budget, key=key, num_samples=num_samples, **rest)
        return made(*args, **fixed)

    return at_a_key


# -- exact routes ------------------------------------------------------------------------------------------------------


def _scalar(core: LeafMap) -> Callable[..., Any]:
    return lambda *x: core.plain(*x)[0]


def _along(core: LeafMap) -> Callable[..., Any]:
    """From one direction ``v`` to ``v' H v``."""
    fun = _scalar(core)
    slope = lambda direction: lambda *x: jax.jvp(fun, x, direction)[1]
    return lambda *v: jax.jvp(slope(v), core.inputs, v)[1]


def _along_series(core: LeafMap) -> Callable[..., Any]:
    """As ``_along``; an element that stands still stays out of it, where its infinite slope times 0 would be NaN."""
    return lambda *v: 2 * series("diagonal", lambda *x: [_scalar(core)(*x)], core.inputs, v, 2)[0][2]


def _nested(
    core: LeafMap, chunk: int | None = None, along: Callable[[LeafMap], Callable[..., Any]] = _along
) -> tuple[Any, ...]:
    """The Hessian's diagonal, a second derivative along each axis."""
    count = core.num_inputs
    if not count:
        return tuple(jnp.zeros(leaf.shape, leaf.dtype) for leaf in core.inputs)
    flat = batched_products.in_rows(lambda *v: (along(core)(*v),), core.inputs, None, chunk)[0]
    return unravel(flat, core.inputs)


def _nested_or_series(core: LeafMap, chunk: int | None = None) -> tuple[Any, ...]:
    """As ``_nested``; where that gives NaN, the coefficient of a power series."""
    parts = _nested(core, chunk)

    def by_series() -> tuple[Any, ...]:
        others = _nested(core, chunk, _along_series)
        return tuple(jnp.where(jnp.isnan(part), other, part) for part, other in zip(parts, others))

    flawed = [jnp.any(jnp.isnan(part)) for part in parts]
    return jax.lax.cond(functools.reduce(jnp.logical_or, flawed), by_series, lambda: parts) if parts else parts


def _read_diagonal(core: LeafMap, coloring: Coloring, source: tuple[np.ndarray, np.ndarray], columns_by: str) -> Any:
    """The Hessian's diagonal from coloured Hessian-vector products."""
    compressed, _ = sparse.compressed_products(derivative(core, "reverse"), coloring, None, columns_by)
    places, positions = source
    diagonal = (
        jnp.zeros(core.num_inputs, compressed.dtype)
        .at[places]
        .set(decompression.gather(compressed, positions), indices_are_sorted=True, unique_indices=True)
    )
    return unravel(diagonal, core.inputs)


def _dense_diagonal(mode: Mode) -> Callable[..., tuple[Any, ...]]:
    """The Hessian's diagonal from all Hessian-vector products, of each of which one entry is kept."""

    def build(core: LeafMap, chunk: int | None = None) -> tuple[Any, ...]:
        gradient = derivative(core, "reverse")

        def entry(*v: Any) -> tuple[Any]:
            if mode == "forward":
                products = jax.jvp(gradient.plain, core.inputs, v)[1]
            else:
                products = jax.vjp(gradient.plain, *core.inputs)[1](v)
            # Chosen, not multiplied by 0: another entry may be infinite, or 0 times infinity.
            return (sum(jnp.sum(jnp.where(a != 0, b, 0)) for a, b in zip(v, products)),)

        if not core.num_inputs:
            return tuple(jnp.zeros(leaf.shape, leaf.dtype) for leaf in core.inputs)
        return unravel(batched_products.in_rows(entry, core.inputs, None, chunk)[0], core.inputs)

    return build


def _weighted_sum(core: LeafMap, parts: Sequence[Any]) -> Any:
    """The sum of a diagonal's entries times the weights kept in ``core.extra`` beside a key, if there are any."""
    dtype = core.outputs[0].dtype
    weights = core.extra[0] or [None] * len(parts)
    return sum((jnp.sum(p if w is None else p * w) for p, w in zip(parts, weights)), jnp.zeros((), dtype)).astype(dtype)


def _stochastic(core: LeafMap, choices: _Choices) -> tuple[Any, Any]:
    """Samples of ``v * H v`` with random signs: their mean and its standard error, one array per input each."""
    keys = jax.random.split(core.extra[1][0], choices.num_samples)
    gradient = jax.grad(_scalar(core), tuple(range(len(core.inputs))))

    def sample(key: Any) -> tuple[Any, ...]:
        every = jax.random.split(key, max(len(core.inputs), 1))
        signs = tuple(jax.random.rademacher(k, x.shape, x.dtype) for k, x in zip(every, core.inputs))
        products = jax.jvp(gradient, core.inputs, signs)[1]
        return tuple(v * p for v, p in zip(signs, products))

    return jax.vmap(sample)(keys)


def mean_and_error(samples: Any) -> tuple[Any, Any]:
    """The mean over the first axis and its standard error, NaN of a single sample."""
    count = samples.shape[0]
    error = jnp.std(samples, axis=0, ddof=1) / math.sqrt(count) if count > 1 else jnp.full(samples.shape[1:], jnp.nan)
    return jnp.mean(samples, axis=0), error.astype(samples.dtype)


# -- what the planner sees ---------------------------------------------------------------------------------------------


def _diagonal_routes(core: LeafMap, choices: _Choices, names: Sequence[str], slack: float) -> list[Route]:
    """Routes whose result is the diagonal, a tuple of arrays, by the methods named."""
    found = []
    inputs, count = abstract(core.inputs), core.num_inputs
    first, passes = Passes(core), Passes(derivative(core, "reverse"))  # traced when asked for
    if "nested" in names:
        program, refused = attempt(lambda x, v: _along(core.at(*x))(*v), inputs, inputs)
        build = _nested
        if program is not None and steep(_scalar(core), *inputs):
            followed = attempt(lambda x, v: _along_series(core.at(*x))(*v), inputs, inputs)[0] is not None
            build = _nested_or_series if followed else _nested
        found.append(_axes_route("nested", program, refused, count, len(inputs), build))
    if "hessian" not in names and "sparse" not in names:
        return found
    refused = first.pull[1]
    if refused:  # no gradient to differentiate again
        return [*found, *(Route(name, refused=refused) for name in ("hessian", "sparse") if name in names)]
    mode: Mode = "forward" if passes.push[0] is not None else "reverse"
    program, refused = passes.push if mode == "forward" else passes.pull
    if "hessian" in names:
        found.append(_axes_route("hessian", program, refused, count, len(inputs), _dense_diagonal(mode)))
    if "sparse" in names:
        found.append(_sparse_route(core, passes, mode, refused, 0.9 * slack if len(names) > 1 else math.inf))
    return found


def _axes_route(
    name: str, program: walk.Program | None, refused: str, count: int, first: int, build: Callable[..., Any]
) -> Route:
    """A route that evaluates a program of ``(x, v)`` along every axis ``v`` and keeps a number of each."""
    if program is None:
        return Route(name, refused=refused)
    lanes = range(first, len(program.inputs))

    def cost(chunk: int) -> Cost:
        once = price(program, lanes=[(lanes, max(chunk, 1))])
        if chunk >= count:
            return once
        kept = 16 * count  # one number an axis
        return dataclasses.replace(
            once * math.ceil(count / chunk), peak_bytes=once.peak_bytes + kept, output_bytes=kept
        )

    def in_chunks(budget: int) -> Route | None:
        chunk = count // 2
        while chunk >= 1 and cost(chunk).peak_bytes > budget:
            chunk //= 2
        return _in_steps(name, build, count, chunk, cost) if chunk else None

    return Route(name, f"{count} axes", count, lambda at: (build(at), None), lambda: cost(count), in_chunks)


def _in_steps(name: str, build: Callable[..., Any], count: int, chunk: int, cost: Callable[[int], Cost]) -> Route:
    return Route(
        name, f"{count} axes, {chunk} at a time", count, lambda at: (build(at, chunk), None), lambda: cost(chunk)
    )


def _sparse_route(core: LeafMap, passes: Passes, mode: Any, refused: str, share: float) -> Route:
    """Hessian-vector products with the colours of a distance-1 colouring.

    Looked for only if one product takes less than that share of the time of all; infinite where nothing competes.
    """
    if refused:
        return Route("sparse", refused=refused)
    competing = math.isfinite(share)
    if competing:
        on, count = device(), core.num_inputs
        if on.seconds(passes.price(mode, 1)) > share * on.seconds(passes.price(mode, count)):
            return Route("sparse", refused="one product alone would save nothing")
    # Where nearly all variables meet, nearly each needs a colour of its own.
    full = _FULL if competing else 1.0
    pattern = hessian_pattern(_scalar(core), *abstract(core.inputs), max_density=full, tangent=passes.push[0])
    limit = max(core.num_inputs // 2, 4) if competing else None
    coloring = None if pattern.dense and competing else color_distance1(pattern.matrix, limit=limit)
    if coloring is None:
        return Route("sparse", refused="the Hessian's pattern is dense")
    source = decompression.diagonal_source(pattern.matrix, coloring)
    colors = coloring.num_products
    return Route(
        "sparse",
        f"{colors} colour{'s' if colors != 1 else ''}",
        colors,
        lambda at: (_read_diagonal(at, coloring, source, mode), None),
        lambda: passes.price(mode, colors, constant=True),
        held=index_bytes(pattern),
    )


def _sum_routes(core: LeafMap, choices: _Choices, methods: Sequence[str], slack: float) -> list[Route]:
    """Routes to the (weighted) sum of the diagonal."""
    wanted = [name for name in methods if choices.method in ("auto", name)]
    if choices.method == "stochastic":
        return [_stochastic_route(core, choices, summed=True)]
    found = []
    if "forward-laplacian" in wanted:
        found.append(_forward_route(core))
    rest = [name for name in wanted if name != "forward-laplacian"]
    return [*found, *map(_summed, _diagonal_routes(core, choices, rest, slack))]


def _summed(route: Route) -> Route:
    run, smaller = route.run, route.smaller
    if run is None:
        return route

    def total(core: LeafMap) -> tuple[Any, Any]:
        return _weighted_sum(core, run(core)[0]), None

    def in_chunks(budget: int) -> Route | None:
        chunked = smaller(budget) if smaller is not None else None
        return None if chunked is None else _summed(chunked)

    return dataclasses.replace(route, run=total, smaller=None if smaller is None else in_chunks)


def _forward_route(core: LeafMap) -> Route:
    """Value, tangents and Laplacian in one forward sweep."""

    def total(at: LeafMap) -> Any:
        weights = at.extra[0] or None
        return forward_laplacian(lambda x: at.plain(*x)[0], weights)(tuple(at.inputs))[2]

    spread = lambda x, w: total(dataclasses.replace(core, inputs=x, extra=w))
    program, refused = attempt(spread, abstract(core.inputs), abstract(core.extra))
    if program is None:
        return Route("forward-laplacian", refused=refused)
    return Route("forward-laplacian", "", 1, lambda at: (total(at), None), lambda: price(program))


def _stochastic_route(core: LeafMap, choices: _Choices, *, summed: bool) -> Route:
    def run(at: LeafMap) -> tuple[Any, Any]:
        samples = _stochastic(at, choices)
        if not summed:
            pairs = [mean_and_error(sample) for sample in samples]
            return tuple(mean for mean, _ in pairs), tuple(error for _, error in pairs)
        return mean_and_error(jax.vmap(lambda *parts: _weighted_sum(at, parts))(*samples))

    def cost() -> Cost:
        every = lambda x, extra: run(dataclasses.replace(core, inputs=x, extra=extra))
        return price(walk.trace(every, abstract(core.inputs), abstract(core.extra)))

    return Route("stochastic", f"{choices.num_samples} samples", choices.num_samples, run, cost)


def _bilaplacian_routes(core: LeafMap, choices: _Choices, slack: float = 1.0) -> list[Route]:
    found = []
    for method in ("forward-laplacian", "nested", "hessian"):
        if choices.method in ("auto", method):
            once = lambda fun, method=method: _exact(fun, method)

            def run(at: LeafMap, once: Any = once) -> tuple[Any, Any]:
                return once(once(_scalar(at)))(*at.inputs), None

            program, refused = attempt(lambda *x, run=run: run(core.at(*x))[0], *abstract(core.inputs))
            if program is None:
                found.append(Route(method, refused=refused))
            else:
                found.append(Route(method, "", 2, run, lambda program=program: price(program)))
    return found


def _exact(fun: Callable[..., Any], method: str) -> Callable[..., Any]:
    """The Laplacian of a scalar function of arrays by one method, unplanned."""
    if method == "forward-laplacian":
        return lambda *x: forward_laplacian(lambda y: fun(*y))(tuple(x))[2]

    def total(*x: Any) -> Any:
        core = LeafMap(lambda *y: ((fun(*y),), None), tuple(x), list, list, ((), ()))
        parts = _nested(core) if method == "nested" else _dense_diagonal("forward")(core)
        return sum((jnp.sum(part) for part in parts), jnp.zeros((), core.outputs[0].dtype))

    return total


def _lifted(who: str) -> Callable[..., LeafMap]:
    def lifted(fun: Callable[..., Any], args: Sequence[Any], choices: _Choices) -> LeafMap:
        core = lift(who, fun, 0, args, check=functools.partial(checks.returns_scalar, who))
        key = () if choices.key is None else (choices.key,)
        if choices.weights is None:
            return dataclasses.replace(core, extra=((), key))
        weights = checks.vector(who, "weights", choices.weights, "x", core.input_tree(core.inputs))
        return dataclasses.replace(core, extra=(tuple(jax.tree.leaves(weights)), key))

    return lifted


def _chooser(who: str, methods: Sequence[str]) -> Callable[..., _Choices]:
    def choose(
        *,
        method: str = "auto",
        memory_budget: int | None = None,
        key: Any = None,
        num_samples: int | None = None,
        weights: Any = None,
    ) -> _Choices:
        checks.one_of(who, "method", method, methods)
        if (method == "stochastic") != (key is not None and num_samples is not None):
            raise ValueError(f'{who}: method="stochastic" needs key and num_samples, and no other method takes them.')
        count = 0 if num_samples is None else checks.integer(who, "num_samples", num_samples)
        return _Choices(method, checks.num_bytes(who, "memory_budget", memory_budget), count, key, weights)

    return choose


def _sum_operator(name: str) -> Operator:
    methods = get_args(LaplacianMethod)
    return Operator(
        name,
        _chooser(name, methods),
        _lifted(name),
        lambda core, choices, slack=1.0: _sum_routes(core, choices, methods[1:-1], slack),
        lambda core, choices, result, aux: result if choices.method != "stochastic" else (result, aux),
    )


LAPLACIAN, TRACE = _sum_operator("laplacian"), _sum_operator("trace")


def _finish_diagonal(core: LeafMap, choices: _Choices, result: Any, aux: Any) -> Any:
    return (
        core.input_tree(result) if choices.method != "stochastic" else (core.input_tree(result), core.input_tree(aux))
    )


def _routes_of_diagonal(core: LeafMap, choices: _Choices, slack: float = 1.0) -> list[Route]:
    if choices.method == "stochastic":
        return [_stochastic_route(core, choices, summed=False)]
    names = [name for name in get_args(DiagonalMethod)[1:-1] if choices.method in ("auto", name)]
    return _diagonal_routes(core, choices, names, slack)


DIAGONAL = Operator(
    "diagonal",
    _chooser("diagonal", get_args(DiagonalMethod)),
    _lifted("diagonal"),
    _routes_of_diagonal,
    _finish_diagonal,
)
BILAPLACIAN = Operator(
    "bilaplacian",
    _chooser("bilaplacian", get_args(BilaplacianMethod)),
    _lifted("bilaplacian"),
    _bilaplacian_routes,
    lambda core, choices, result, aux: result,
)

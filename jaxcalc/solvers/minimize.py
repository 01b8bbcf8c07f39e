"""The public call: from a function and a start to a checked minimum."""

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.solvers.descent import adam, adamw, first_order, gradient_descent, momentum, nesterov, sgd
from jaxcalc.solvers.history import History, Rows
from jaxcalc.solvers.implicit import solution_tangent
from jaxcalc.solvers.loop import End, Operands, Setup, drive
from jaxcalc.solvers.newton import newton
from jaxcalc.solvers.newton_cg import newton_cg
from jaxcalc.solvers.protocol import Objective, Solver, Status
from jaxcalc.solvers.quasi_newton import bfgs, lbfgs
from jaxcalc.solvers.solution import Kind, Multipliers, Solution
from jaxcalc.solvers.trust_region import trust_region
from jaxcalc.transforms.guards import sending
from jaxcalc.transforms.program_cache import Watched, program

__all__ = ["METHODS", "is_twice_differentiable", "minimize", "solve"]

METHODS: dict[str, Callable[[], Solver]] = {
    "gradient-descent": gradient_descent,
    "sgd": sgd,
    "momentum": momentum,
    "nesterov": nesterov,
    "adam": adam,
    "adamw": adamw,
    "newton": lambda: newton(factorization="modified", line_search="armijo"),
    "trust-region": trust_region,
    "newton-cg": newton_cg,
    "bfgs": bfgs,
    "l-bfgs": lbfgs,
}
DENSE = 30
"""Up to this many variables ``"auto"`` takes the dense Hessian; beyond, products with it..."""
DENSE_BOXED = 120
"""...and with bounds, where every face takes products anew, up to this many."""


def minimize(
    fun: Callable[..., Any],
    x0: Any,
    /,
    *args: Any,
    method: str | Solver | Any = "auto",
    bounds: tuple[Any, Any] | None = None,
    equality: Any = None,
    inequality: Any = None,
    batches: Callable[[Array], tuple[Any, ...]] | None = None,
    key: Array | None = None,
    tol: float | Array | None = None,
    max_steps: int = 10_000,
    history: str = "none",
) -> Solution:
    """A local minimum of a scalar function, and the checked truth about it.

    Success means that ``max |x - P(x - grad f)| <= tol s`` was evaluated at the returned point: P projects onto the
    bounds (without them the left side is the gradient's largest entry), and ``s = max(1, min(|f(x)|, |f(x0)|,
    r0))``, r0 the left side at the start. Below 1 that is absolute: a small multiple of a function passes sooner, and
    ``explain`` says so. Functions and variables are best scaled so that 1 is a sizeable gradient.
    That is a test of first order, which a saddle passes too: a solve that starts on one stays there. Methods that take
    the dense Hessian (``"trust-region"``, ``"newton"``, and ``"auto"`` where it is one) look at its least eigenvalue at
    the returned point as well; ``second_order`` has it, and ``explain`` tells what was checked.
    Under ``vmap``, over starts, parameters or a solver's numbers, all lanes run in one loop and each has its own
    status. ``x``, ``value`` and ``multipliers`` are differentiable, forwards and backwards, in ``args``, in what
    ``fun`` closes over, and in the bounds, by the implicit function theorem; where the solve failed the derivative
    is NaN.

    Args:
      fun: ``fun(x, *args) -> scalar``, smooth; traced once for each structure and shape of its arguments.
      x0: the start, an array or PyTree of floating-point arrays of one dtype.
      args: parameters, passed on.
      method: a name, a ``Solver`` or an optax transformation. ``"auto"`` takes a trust region with the dense Hessian
        for up to 30 variables (120 with bounds), with Hessian-vector products for more, L-BFGS where ``fun`` has no
        second derivative, and Adam for mini-batches.
      bounds: ``(lower, upper)``, each shaped like ``x0`` or a number; infinite, or None, where there is none. The
        start is projected.
      equality, inequality: not offered yet.
      batches: ``key -> args`` draws a mini-batch's arguments for every step; then the loop does not test for
        stationarity on the way, and ``fun(x, *args)`` judges the end.
      key: for ``batches``.
      tol: relative stationarity; by default the square root of the dtype's eps (1.5e-8 in float64, 3.5e-4 in float32).
      max_steps: where the loop ends at the latest; then the ray from the start through the end is followed as long as
        the value falls, to tell a function without a floor.
      history: ``"none"``, ``"full"`` or ``"every k"``.

    Returns:
      A ``Solution``.

    Raises:
      TypeError: if ``fun`` does not return a real scalar, or ``x0`` holds anything but floating-point numbers.
      ValueError: for unknown names, an empty start, crossed or misshapen bounds, or a history past its limit.
      NotImplementedError: for general constraints.

    Cost: that of the method's steps and one value and gradient at the end, and one Hessian with its eigenvalues where
      the method takes Hessians. A repeated call with the same ``fun``, shapes and choices does not trace again.
    """
    if equality is not None or inequality is not None:
        raise NotImplementedError("minimize: general constraints are not offered yet; bounds=(lower, upper) are.")
    return solve(
        "minimize",
        fun,
        x0,
        args,
        methods=METHODS,
        method=method,
        bounds=bounds,
        batches=batches,
        key=key,
        tol=tol,
        max_steps=max_steps,
        history=history,
    )


@sending
def solve(
    who: str,
    fun: Callable[..., Any],
    x0: Any,
    args: tuple[Any, ...],
    *,
    methods: Mapping[str, Callable[[], Solver]],
    method: Any,
    bounds: Any = None,
    batches: Any = None,
    key: Any = None,
    tol: Any = None,
    max_steps: int = 10_000,
    history: str = "none",
    kind: Kind = "value",
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]] | None = None,
) -> Solution:
    """What ``minimize`` and ``least_squares`` share: arguments are checked, then all is one program.

    Args:
      who: the public name, for messages.
      methods: those that may be named.
      kind: what ``fun`` returns: a value to be minimised, residuals whose sum of squares is, or residuals that vanish.
      wrap: from ``fun`` to the function that does, a module's own.
    """
    checks.function(who, fun)
    checks.arrays(who, "x0", x0)
    for name, tree in (("args", args), ("bounds", bounds)):
        checks.arrays(who, name, tree, others=True)
    start, dtype = _start(who, x0)
    limits = _bounds(who, bounds, start, dtype)
    every = _every(who, history)
    max_steps = checks.integer(who, "max_steps", max_steps, least=0, most=2**31 - 1)
    if (batches is None) != (key is None):
        raise ValueError(f"{who}: batches and key go together; give both or neither.")
    solver = _solver(who, methods, method, limits, kind)
    tol = _default_tolerance(dtype) if tol is None else checks.tolerance(who, "tol", tol)
    tol = jnp.asarray(tol, dtype)
    leaves, tree = jax.tree.flatten(args)
    data = [leaf for leaf in leaves if checks.is_array(leaf)]
    # A module's activation, say: no array, and part of the program.
    others = tuple(None if checks.is_array(leaf) else _Other(leaf) for leaf in leaves)
    watched = None if batches is None else Watched(batches)
    static = _Static(who, watched, max_steps, every, kind, wrap, tree, others)

    def make(give: Callable[[], Callable[..., Any]]) -> Callable[..., Solution]:
        return jax.jit(functools.partial(_solved, static, give))

    return program(fun, static, make)(solver, start, data, limits, tol, key)


class _Static(NamedTuple):
    """What a program is compiled for, beside the function.

    Args:
      tree, others: the structure of ``args``, and those of their leaves that are no data, with None for the others.
    """

    who: str
    batches: Watched | None
    max_steps: int
    every: int
    kind: Kind
    wrap: Callable[[Callable[..., Any]], Callable[..., Any]] | None
    tree: Any
    others: "tuple[_Other | None, ...]"


class _Other:
    """A leaf that is no array, equal as it says itself, or by identity where it cannot be hashed."""

    def __init__(self, leaf: Any) -> None:
        self.leaf = leaf
        try:
            self._hash = hash(leaf)
        except TypeError:
            self._hash = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Other):
            return False
        return self.leaf is other.leaf or (self._hash is not None and bool(self.leaf == other.leaf))

    def __hash__(self) -> int:
        return id(self.leaf) if self._hash is None else self._hash


def _solved(
    static: _Static,
    give: Callable[[], Callable[..., Any]],
    solver: Solver | None,
    start: Any,
    data: Sequence[Any],
    limits: Any,
    tol: Array,
    key: Any,
) -> Solution:
    """The solve, as one program."""
    fun, every = give(), static.every
    fun = fun if static.wrap is None else static.wrap(fun)
    batches = None if static.batches is None else static.batches()

    def rebuilt(data: Sequence[Any]) -> tuple[Any, ...]:
        rest = iter(data)
        return jax.tree.unflatten(static.tree, [next(rest) if other is None else other.leaf for other in static.others])

    args = rebuilt(data)
    _check_output(static, jax.eval_shape(lambda start, data: fun(start, *rebuilt(data)), start, data))
    if solver is None:
        solver = METHODS[_automatic(fun, start, args, batches, limits is not None)]()
    x0, unravel = _raveled(start)
    whole = lambda x, args: _flat(fun(unravel(x), *args), static.kind).astype(x.dtype)
    lower, upper = (None, None) if limits is None else (_raveled(side)[0] for side in limits)
    if lower is not None and upper is not None:
        # Traced bounds are only seen to cross when it runs: then nothing is finite.
        lower = jnp.where(lower <= upper, lower, jnp.nan)
    call, consts = _hoisted(lambda x, data: whole(x, rebuilt(data)), x0, data)
    sampled, sampled_consts = None, None
    if batches is not None:
        sampled, sampled_consts = _hoisted(lambda x, key: whole(x, batches(key)), x0, key)
    rows = Rows(static.who, every, static.max_steps)
    operands = Operands(solver, lower, upper, (consts, sampled_consts), tol, key)
    end = _solve(call, sampled, rows, static.kind, operands, x0)
    multipliers = None
    if lower is not None:
        held = lambda side, sign: jnp.where(end.x == side, jnp.maximum(sign * end.gradient, 0.0), 0.0)
        multipliers = Multipliers(unravel(held(lower, 1.0)), unravel(held(upper, -1.0)))
    return Solution(
        x=unravel(end.x),
        value=end.value,
        gradient_norm=jnp.linalg.norm(end.gradient),
        status=end.status,
        num_steps=end.num_steps,
        evaluations=end.evaluations,
        multipliers=multipliers,
        kkt_residual=end.residual,
        second_order=end.second_order,
        history=History(end.history, every, rows.count, solver.costs) if every else None,
        tol=tol,
        kind=static.kind,
    )


def _raveled(tree: Any) -> tuple[Array, Callable[[Array], Any]]:
    """The numbers as a vector, whole on every device of an explicit mesh, and what splits them as they were."""
    from jaxcalc.transforms.lifting import placed, spec_of

    leaves, structure = jax.tree.flatten(tree)
    specs = [spec_of(leaf) for leaf in leaves]
    flat, unravel = ravel_pytree([placed(leaf, ()) for leaf in leaves])
    return flat, lambda x: jax.tree.unflatten(structure, map(placed, unravel(x), specs))


def _hoisted(fun: Callable[..., Any], x0: Array, given: Any) -> tuple[Callable[..., Array], Any]:
    """A function with all arrays that it reads made arguments, so that they can be batched and differentiated.

    Returns:
      ``call(x, consts, given=None)``, and the consts: what ``fun`` closed over, and ``given`` unless it is told anew.
    """
    from jaxcalc.transforms.lifting import hoisted

    opened, consts = hoisted(fun, x0, given)

    def call(x: Array, consts: tuple[Any, Any], further: Any = None) -> Array:
        return opened(consts[0], x, consts[1] if further is None else further)

    return call, (consts, given)


def _objective(call: Callable[[Array], Array], kind: Kind, given: Operands) -> Objective:
    if kind == "value":
        return Objective(call, given.lower, given.upper)
    return Objective(lambda x: _half_square(call(x)), given.lower, given.upper, residual=call)


def _half_square(residual: Array) -> Array:
    return jnp.vdot(residual, residual) / 2


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2, 3))
def _solve(call: Any, sampled: Any, rows: Rows, kind: Kind, operands: Operands, x0: Array) -> End:
    """The loop, with the implicit function theorem for its derivative."""

    def whole(given: Operands) -> Objective:
        return _objective(lambda x: call(x, given.consts[0]), kind, given)

    def batch(given: Operands, step: Array) -> Objective:
        assert given.key is not None
        drawn = jax.random.fold_in(given.key, step)
        return _objective(lambda x: sampled(x, given.consts[1], drawn), kind, given)

    return drive(Setup(whole, None if sampled is None else batch, rows, kind == "root"), operands, x0)


@_solve.defjvp
def _solve_jvp(call: Any, sampled: Any, rows: Rows, kind: Kind, primals: Any, tangents: Any) -> tuple[End, End]:
    operands, x0 = primals
    moved: Operands = tangents[0]
    end = _solve(call, sampled, rows, kind, operands, x0)
    leaves, tree = jax.tree.flatten(operands.consts[0])
    changes = jax.tree.leaves(moved.consts[0], is_leaf=lambda leaf: leaf is None)
    smooth = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)]

    def fun(x: Array, chosen: Sequence[Any]) -> Array:
        full = list(leaves)
        for i, leaf in zip(smooth, chosen, strict=True):
            full[i] = leaf
        value = call(x, jax.tree.unflatten(tree, full))
        return value if kind == "value" else _half_square(value)

    consts, d_consts = [leaves[i] for i in smooth], [changes[i] for i in smooth]
    parameters = (consts, operands.lower, operands.upper)
    dx = solution_tangent(fun, end.x, parameters, (d_consts, moved.lower, moved.upper))
    # A factor, not a choice: the transpose of a choice would give zeros.
    dx = dx * jnp.where(end.status == Status.CONVERGED, 1.0, jnp.nan).astype(dx.dtype)
    _, (d_value, d_gradient) = jax.jvp(jax.value_and_grad(fun), (end.x, consts), (dx, d_consts))
    zeros = jax.tree.map(_zero_tangent, end)
    return end, zeros._replace(x=dx, value=d_value, gradient=d_gradient)


def _zero_tangent(leaf: Array) -> Any:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jnp.zeros_like(leaf)
    return np.zeros(leaf.shape, jax.dtypes.float0)


def _default_tolerance(dtype: Any) -> float:
    return float(np.sqrt(np.finfo(dtype).eps)) if dtype != jnp.bfloat16 else 0.1


def _flat(value: Any, kind: Kind) -> Array:
    """Residuals as a vector, or a value as a scalar."""
    if kind != "value":
        return ravel_pytree(value)[0]
    return jnp.reshape(jnp.asarray(jax.tree.leaves(value)[0]), ())


def _start(who: str, x0: Any) -> tuple[Any, Any]:
    """The start as floating-point arrays, and their dtype."""
    leaves = jax.tree.leaves(x0)
    if sum(np.size(leaf) if not hasattr(leaf, "shape") else int(np.prod(leaf.shape)) for leaf in leaves) == 0:
        raise ValueError(f"{who}: x0 holds no numbers; give at least one variable.")
    kinds = [jnp.result_type(leaf) for leaf in leaves]
    for leaf in leaves:
        # Python's own whole numbers are meant as numbers; an array of integers is more likely an index or a mistake.
        number = isinstance(leaf, (int, float)) and not isinstance(leaf, bool)
        if not number:
            checks.floating(who, "x0", leaf, "Convert it, and pass what is fixed through args.")
    dtype = jnp.result_type(*kinds)
    dtype = dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), x0), np.dtype(dtype)


def _bounds(who: str, bounds: Any, start: Any, dtype: Any) -> Any:
    if bounds is None:
        return None
    if not (isinstance(bounds, tuple) and len(bounds) == 2):  # an array of two rows may be two variables' pairs
        raise ValueError(
            f"{who}: bounds must be a tuple (lower, upper), got {type(bounds).__name__}; from one pair a variable, as "
            "SciPy takes them, make tuple(numpy.array(pairs, float).T)."
        )
    lower, upper = bounds
    if lower is None and upper is None:
        return None
    lower, upper = (-np.inf if lower is None else lower), (np.inf if upper is None else upper)
    return _crossed(
        who, tuple(_side(who, side, start, dtype, name) for side, name in ((lower, "lower"), (upper, "upper")))
    )


def _side(who: str, side: Any, start: Any, dtype: Any, name: str) -> Any:
    """One bound, in the start's shape."""
    leaves, tree = jax.tree.flatten(start)
    given = jax.tree.leaves(side)
    if len(given) == 1 and jax.tree.structure(side) == jax.tree.structure(0.0) and np.ndim(given[0]) == 0:
        given = given * len(leaves)
    elif jax.tree.structure(side) != tree:
        raise ValueError(
            f"{who}: the {name} bound must be a number or have the structure of x0, {tree}; got "
            f"{jax.tree.structure(side)}."
        )
    for bound, leaf in zip(given, leaves):
        if np.ndim(bound) and jnp.shape(bound) != jnp.shape(leaf):
            raise ValueError(
                f"{who}: the {name} bound must have x0's shape {jnp.shape(leaf)} or be a number, got shape "
                f"{jnp.shape(bound)}."
            )
    full = [jnp.broadcast_to(jnp.asarray(bound, dtype), jnp.shape(leaf)) for bound, leaf in zip(given, leaves)]
    return jax.tree.unflatten(tree, full)


def _crossed(who: str, limits: Any) -> Any:
    for lower, upper in zip(*map(jax.tree.leaves, limits)):
        if isinstance(lower, Tracer) or isinstance(upper, Tracer):
            continue
        wrong = ~(np.asarray(lower) <= np.asarray(upper))
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            low, high = float(np.asarray(lower)[place]), float(np.asarray(upper)[place])
            raise ValueError(f"{who}: bounds cross at index {place}: lower {low} is not at most upper {high}.")
    return limits


def _every(who: str, history: str) -> int:
    match = re.fullmatch(r"none|full|every (\d+)", history) if isinstance(history, str) else None
    if match is None or match.group(1) == "0":
        raise checks.unknown(who, "history", history, ("none", "full"), also="'every k' with a whole k of at least 1")
    return int(match.group(1)) if match.group(1) else int(history == "full")


def _check_output(static: _Static, output: Any) -> None:
    if static.kind == "value":
        remedy = "Reduce it, by sum or mean; for residuals use least_squares(fun, x0)."
        checks.returns_scalar(static.who, output, remedy)
        return
    checks.returns_floating(static.who, output)
    if not sum(leaf.size for leaf in jax.tree.leaves(output)):
        raise TypeError(f"{static.who}: fun must return at least one residual, got nothing.")


def _solver(
    who: str, methods: Mapping[str, Callable[[], Solver]], method: Any, limits: Any, kind: Kind
) -> Solver | None:
    """The solver of a name; None for ``"auto"``, which looks at the function."""
    names = ["auto", *methods] if methods is METHODS else list(methods)
    also = "a Solver or an optax transformation"
    if isinstance(method, Solver):
        found = method
    elif isinstance(method, str):
        if method == "auto" and methods is METHODS:
            return None
        if method not in methods:
            raise checks.unknown(who, "method", method, names, also=also)
        found = methods[method]()
    elif hasattr(method, "init") and hasattr(method, "update"):
        found = first_order(method)
    else:
        raise checks.unknown(who, "method", method, names, also=also)
    if found.squares and kind == "value":
        raise ValueError(f"{who}: method {found.name!r} needs residuals, got a scalar fun. Use least_squares(fun, x0).")
    if limits is not None and not found.boxes:
        able = ", ".join(name for name, build in methods.items() if build().boxes)
        raise ValueError(f"{who}: method {found.name!r} does not keep to bounds. Choose one of {able}.")
    return found


def _automatic(fun: Any, start: Any, args: Any, batches: Any, boxed: bool) -> str:
    if batches is not None:
        return "adam"
    n = sum(leaf.size for leaf in jax.tree.leaves(start))
    # There are no factorisations in half precision.
    half = jax.tree.leaves(start)[0].dtype.itemsize < 4
    if half or not is_twice_differentiable(fun, start, args):
        return "l-bfgs"
    return "trust-region" if n <= (DENSE_BOXED if boxed else DENSE) else "newton-cg"


def is_twice_differentiable(fun: Any, start: Any, args: Any) -> bool:
    """Whether the engine has products with the Hessian; a ``custom_vjp``, say, forbids a tangent of the gradient."""
    from jaxcalc.transforms import hvp, plan

    like = jax.tree.map(walk.type_of, start)
    try:
        plan(hvp, lambda x: _flat(fun(x, *args), "value"), (like,), like, method="forward-over-reverse")
    except (TypeError, NotImplementedError, ValueError):
        return False
    return True

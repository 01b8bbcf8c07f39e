"""Curvature times a vector, without the matrix: Hessian, generalised Gauss-Newton and Fisher."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks
from jaxcalc.programs import walk
from jaxcalc.transforms.batched_products import in_rows
from jaxcalc.transforms.choose import bind
from jaxcalc.transforms.guards import own_transfers
from jaxcalc.transforms.hessian import FEW, unsymmetric
from jaxcalc.transforms.jacobian_routes import vector_route
from jaxcalc.transforms.lifting import LeafMap, lift, unravel, with_vector
from jaxcalc.transforms.plan import Operator, Route

__all__ = [
    "FISHER_VP",
    "GGN_VP",
    "HVP",
    "HvpMethod",
    "ProductMethod",
    "fisher_vp",
    "gauss_newton",
    "ggn_vp",
    "gradient",
    "hvp",
    "linearized",
    "product",
]

HvpMethod = Literal[
    "auto", "forward-over-reverse", "reverse-over-reverse", "reverse-over-forward", "forward-over-forward"
]


@dataclass(frozen=True)
class _Choices:
    argnums: int | tuple[int, ...] = 0
    method: str = "auto"
    memory_budget: int | None = None


def hvp(
    fun: Callable[..., Any], /, argnums: int | Sequence[int] = 0, *, method: HvpMethod | str = "auto"
) -> Callable[[Sequence[Any], Any], Any]:
    """The product of a scalar function's Hessian with a vector.

    ``hvp(f)((x,), v) = d/dt grad f(x + t v) at t = 0``

    Args:
      fun: from arrays or PyTrees to a scalar.
      argnums: the positional argument or arguments to differentiate in.
      method: outer over inner mode; ``"auto"`` takes the least predicted time.

    Returns:
      ``product(primals, v)``: ``primals`` is the tuple of all arguments, ``v`` has the structure and shapes of the
      differentiated ones, and so has the result.

    Raises:
      ValueError: for an unknown method, one that ``fun`` does not allow, or a ``v`` of another structure or shape.
      TypeError: if ``fun`` does not return a scalar.

    Cost: about two to four gradients, whatever the size.
    """
    derived = bind(HVP, fun, argnums=argnums, method=method)

    def product_with(primals: Sequence[Any], v: Any) -> Any:
        return derived(primals, v)

    return product_with


def product(core: LeafMap, tangents: Sequence[Any], method: str, *, symmetric: bool = True) -> tuple[Any, ...]:
    """Hessian of a scalar map times a vector, one array per input; ``symmetric`` if it is its own transpose."""
    scalar = lambda *x: core.plain(*x)[0]
    every = tuple(range(len(core.inputs)))
    slopes = gradient(core)
    slope = lambda *x: jax.jvp(scalar, x, tuple(tangents))[1]
    match method:
        case "forward-over-reverse":
            return jax.jvp(slopes, core.inputs, tuple(tangents))[1]
        case "reverse-over-reverse" if symmetric:
            return jax.vjp(slopes, *core.inputs)[1](tuple(tangents))
        case "reverse-over-reverse":
            values, pull = jax.vjp(slopes, *core.inputs)
            return _transposed(pull, values, tuple(tangents))
        case "reverse-over-forward":
            return jax.grad(slope, every)(*core.inputs)
        case "forward-over-forward":
            rows = in_rows(lambda *e: (jax.jvp(slope, core.inputs, e)[1],), core.inputs, None)[0]
            return unravel(rows, core.inputs)
    raise checks.unknown("hvp", "method", method, get_args(HvpMethod))


def gradient(core: LeafMap) -> Callable[..., tuple[Any, ...]]:
    """The gradient of a scalar map, one array per input."""
    every = tuple(range(len(core.inputs)))
    return jax.grad(lambda *x: core.plain(*x)[0], every) if every else (lambda *x: ())


class Linearized(NamedTuple):
    """A map at a point: its outputs, ``push(*v) = J v`` and ``pull(u) = J' u``."""

    outputs: tuple[Any, ...]
    push: Callable[..., tuple[Any, ...]]
    pull: Callable[[tuple[Any, ...]], tuple[Any, ...]]


ProductMethod = Literal["auto", "forward-and-reverse", "reverse-over-reverse"]


def linearized(fun: Callable[..., tuple[Any, ...]], x: Sequence[Any], method: str = "auto") -> Linearized:
    """A map, evaluated once, with its products.

    By ``"reverse-over-reverse"`` ``J v`` is the transpose of the pullback, which exists where a ``custom_vjp`` leaves
    no forward mode; ``"auto"`` takes it there alone.
    """
    if method != "reverse-over-reverse":
        try:  # the program is looked at, for one that cannot be pushed through shows only when it is compiled
            outputs, push = jax.linearize(fun, *x)
            program = walk.trace(push, *x)
        except TypeError as error:
            if "custom_vjp" not in str(error) or method != "auto":
                raise
        else:
            if method != "auto" or all(equation.name != "custom_lin" for equation in program.everything()):
                push_all = lambda *v: tuple(push(*v))
                return Linearized(outputs, push_all, jax.linear_transpose(push_all, *map(walk.type_of, x)))
    outputs, pull = jax.vjp(fun, *x)
    return Linearized(outputs, lambda *v: _transposed(pull, outputs, v), pull)


def _transposed(pull: Callable[..., Any], outputs: Any, v: tuple[Any, ...]) -> Any:
    """``J v`` from the pullback ``u -> J' u``, which is linear: its transpose is J."""
    return jax.vjp(pull, jax.tree.map(jnp.zeros_like, outputs))[1](v)[0]


def _lift(fun: Callable[..., Any], args: Sequence[Any], choices: _Choices) -> LeafMap:
    if len(args) != 2:
        raise TypeError(f"hvp: two arguments are wanted, the tuple of fun's and v, got {len(args)}. Write (x,), v.")
    primals, v = args
    if not isinstance(primals, (tuple, list)):
        raise TypeError(f"hvp: primals must be the tuple of fun's arguments, got {type(primals).__name__}. Write (x,).")
    scalar = functools.partial(checks.returns_scalar, "hvp")
    core = lift("hvp", fun, choices.argnums, tuple(primals), check=scalar)
    return with_vector("hvp", core, v, "x")


def _routes(core: LeafMap, choices: _Choices, slack: float = 1.0) -> list[Route]:
    """A route for each composition, the simplest first."""
    found = []
    transposed = unsymmetric(core)
    for method in get_args(HvpMethod)[1:]:
        if choices.method not in ("auto", method):
            continue
        if transposed and method in ("reverse-over-forward", "forward-over-forward"):
            found.append(Route(method, refused=f"{transposed}, and this method multiplies with its transpose"))
            continue
        one_by_one = choices.method == "auto" and method == "forward-over-forward" and core.num_inputs > FEW
        if one_by_one and not all(route.refused for route in found):
            found.append(Route(method, refused=f"it needs {core.num_inputs} products for one"))
            continue
        multiply = functools.partial(product, method=method, symmetric=not transposed)
        found.append(vector_route(core, method, multiply))
    return found


def _choices(*, argnums: Any = 0, method: str = "auto", memory_budget: int | None = None) -> _Choices:
    checks.one_of("hvp", "method", method, get_args(HvpMethod))
    budget = checks.num_bytes("hvp", "memory_budget", memory_budget)
    return _Choices(checks.argument_numbers("hvp", argnums), method, budget)


def _direct(core: LeafMap, choices: _Choices) -> Route | None:
    method = choices.method
    if method == "auto" or (method != "forward-over-reverse" and unsymmetric(core)):
        return None
    return Route(method, run=lambda at: (product(at, at.extra, method), None))


HVP = Operator("hvp", _choices, _lift, _routes, lambda core, choices, result, aux: core.input_tree(result), _direct)


# -- Gauss-Newton and Fisher ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _CurvatureChoices:
    method: str = "auto"
    memory_budget: int | None = None
    loss: Any = None


def ggn_vp(
    model: Callable[[Any], Any], loss: Callable[[Any], Any], /, *, method: ProductMethod | str = "auto"
) -> Callable[[Any, Any], Any]:
    """The product of the generalised Gauss-Newton matrix of ``loss(model(params))`` with a vector.

    ``G v = J' H J v``, with J the model's Jacobian and H the loss's Hessian at the model's output.

    Args:
      model: from parameters (a PyTree) to outputs (a PyTree).
      loss: from outputs to a scalar; G is positive semidefinite if it is convex.
      method: of J v: ``"forward-and-reverse"``, or ``"reverse-over-reverse"`` where a ``custom_vjp`` leaves no forward
        mode; ``"auto"`` takes the first that there is. ``plan(ggn_vp, model, params, v, loss=loss)`` prices both.

    Returns:
      ``product(params, v)``, ``v`` and the result structured as ``params``.

    Raises:
      TypeError: if ``loss`` does not return a scalar.
      ValueError: for an unknown method.

    Cost: a forward and a reverse sweep through the model, and a Hessian-vector product of the loss.

    Source: Schraudolph, "Fast curvature matrix-vector products", Neural Computation 2002.
    """
    checks.function("ggn_vp", model, "model")
    choices = _ggn_choices(method=method, loss=loss)
    return _product_with(GGN_VP, model, choices)


def gauss_newton(
    who: str, core: LeafMap, loss: Callable[..., Any], method: str = "auto"
) -> tuple[tuple[Any, ...], Callable[..., Any]]:
    """A model's outputs and ``(*v) -> J' H J v``; it is evaluated and linearised once."""
    outputs, push, pull = linearized(core.plain, core.inputs, method)
    top = _top(who, core, outputs, loss)
    curve = linearized(gradient(top), top.inputs).push
    return outputs, lambda *v: pull(tuple(curve(*push(*v))))


def _top(who: str, core: LeafMap, outputs: Sequence[Any], loss: Callable[..., Any]) -> LeafMap:
    """The loss as a map of the model's outputs, checked."""
    top = lift(who, lambda outs: loss(core.output_tree(outs)), 0, (list(outputs),))
    checks.returns_scalar(who, top.outputs, "Reduce it by sum or mean.", name="loss")
    return top


def fisher_vp(log_prob: Callable[[Any], Any], /, *, method: ProductMethod | str = "auto") -> Callable[[Any, Any], Any]:
    """The product of the empirical Fisher information with a vector.

    ``F v = mean over samples s of g_s (g_s . v)``, ``g_s`` the gradient of sample s's log-probability.

    Args:
      log_prob: from parameters (a PyTree) to log-probabilities, one number or an array with one per sample. With
        samples from the model itself the mean estimates the Fisher information, with data it is the empirical one.
      method: as for ``ggn_vp``; ``plan(fisher_vp, log_prob, params, v)`` prices both.

    Returns:
      ``product(params, v)``, ``v`` and the result structured as ``params``.

    Raises:
      TypeError: if ``log_prob`` does not return one array.
      ValueError: for an unknown method.

    Cost: one forward and one reverse sweep, however many samples.
    """
    checks.function("fisher_vp", log_prob, "log_prob")
    return _product_with(FISHER_VP, log_prob, _fisher_choices(method=method))


def _product_with(operator: Operator, fun: Callable[..., Any], choices: _CurvatureChoices) -> Callable[[Any, Any], Any]:
    def product_with(params: Any, v: Any) -> Any:
        with own_transfers() as guarded:
            loss = None if choices.loss is None else guarded(choices.loss)
            held = dataclasses.replace(choices, loss=loss)
            core = operator.lift(guarded(fun), (params, v), held)
            return core.input_tree(_curved(operator.name, core, core.extra, held, choices.method))

    return product_with


def _curved(who: str, core: LeafMap, v: Sequence[Any], choices: _CurvatureChoices, method: str) -> tuple[Any, ...]:
    """The product of either matrix with a vector, one array per input."""
    if choices.loss is not None:
        return gauss_newton(who, core, choices.loss, method)[1](*v)
    _, push, pull = linearized(core.plain, core.inputs, method)
    slopes = push(*v)[0]
    return pull((slopes / max(slopes.size, 1),))


def _curvature_lift(who: str, fun: Callable[..., Any], args: Sequence[Any], choices: _CurvatureChoices) -> LeafMap:
    if len(args) != 2:
        raise TypeError(f"{who}: two arguments are wanted, the parameters and v, got {len(args)}.")

    def check(outputs: Sequence[Any]) -> None:
        if choices.loss is not None:
            _top(who, core, outputs, choices.loss)  # said once, and not by each route
        elif len(outputs) != 1:
            raise TypeError(f"{who}: log_prob must return one array, got {len(outputs)}.")

    core = lift(who, fun, 0, (args[0],), check=check)
    return with_vector(who, core, args[1], "params")


def _curvature_routes(who: str, core: LeafMap, choices: _CurvatureChoices, slack: float = 1.0) -> list[Route]:
    methods = get_args(ProductMethod)[1:] if choices.method == "auto" else (choices.method,)
    multiply = lambda at, v, method: _curved(who, at, v, choices, method)
    return [vector_route(core, method, functools.partial(multiply, method=method)) for method in methods]


def _ggn_choices(*, loss: Any = None, method: str = "auto", memory_budget: int | None = None) -> _CurvatureChoices:
    if loss is None:
        raise TypeError("ggn_vp: loss must be a function, got None. From outputs to a scalar; to plan, pass loss=.")
    checks.function("ggn_vp", loss, "loss")
    return dataclasses.replace(_curvature_choices("ggn_vp", method, memory_budget), loss=loss)


def _fisher_choices(*, method: str = "auto", memory_budget: int | None = None) -> _CurvatureChoices:
    return _curvature_choices("fisher_vp", method, memory_budget)


def _curvature_choices(who: str, method: str, memory_budget: int | None) -> _CurvatureChoices:
    checks.one_of(who, "method", method, get_args(ProductMethod))
    return _CurvatureChoices(method, checks.num_bytes(who, "memory_budget", memory_budget))


def _curvature(name: str, choices: Callable[..., _CurvatureChoices]) -> Operator:
    lifted, routes = functools.partial(_curvature_lift, name), functools.partial(_curvature_routes, name)
    return Operator(name, choices, lifted, routes, lambda core, choices, result, aux: core.input_tree(result))


GGN_VP = _curvature("ggn_vp", _ggn_choices)
FISHER_VP = _curvature("fisher_vp", _fisher_choices)

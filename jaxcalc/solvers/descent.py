"""First-order methods: gradient descent, and what optax offers on top of it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc import checks
from jaxcalc.solvers.bounds import active, project
from jaxcalc.solvers.line_search import armijo, wolfe
from jaxcalc.solvers.protocol import Evaluations, Iterate, Objective, Solver, start_at

__all__ = [
    "adam",
    "adamw",
    "best_learning_rate",
    "best_momentum",
    "best_nesterov",
    "contraction",
    "first_order",
    "gradient_descent",
    "momentum",
    "nesterov",
    "sgd",
]

ONE = Evaluations(functions=1, gradients=1)
Rate = float | Array | Callable[[Array], Array]


def gradient_descent(learning_rate: float | Array | None = None, *, line_search: str | None = None) -> Solver:
    """Steps against the gradient.

    ``x <- P(x - learning_rate grad f(x))``, P the bounds' projection

    On a quadratic with eigenvalues in [mu, L] the error shrinks by ``max(|1 - rate mu|, |1 - rate L|)`` a step, so it
    converges for rates below 2 / L and fastest, by ``(L - mu) / (L + mu)``, at the rate ``2 / (L + mu)``.

    Args:
      learning_rate: a positive number; may be traced. With a line search, the first step's; without both, Armijo's.
      line_search: ``"armijo"`` or ``"wolfe"``; None takes every step at the rate given.

    Raises:
      ValueError: for an unknown line search, or a rate that is not finite.

    Cost: one value and gradient a step; with a line search, one value (Armijo) or both (Wolfe) a trial.
    """
    if learning_rate is None:
        line_search = line_search or "armijo"
    else:
        checks.number("gradient_descent", "learning_rate", learning_rate, finite=True)
    checks.one_of("gradient_descent", "line_search", line_search, ("armijo", "wolfe", None))
    if line_search is None:
        return Solver("gradient-descent", start_at, _step, {"learning_rate": learning_rate}, boxes=True, costs=ONE)
    numbers = {} if learning_rate is None else {"learning_rate": learning_rate}
    choices = (("search", line_search),)
    return Solver("gradient-descent", _start_searching, _search, numbers, choices, boxes=line_search == "armijo")


def _step(objective: Objective, at: Iterate, learning_rate: Any) -> Iterate:
    x = project((at.x - learning_rate * at.gradient).astype(at.x.dtype), objective.lower, objective.upper)
    return Iterate(x, *objective.value_and_gradient(x))


def _start_searching(objective: Objective, x: Array, search: str, learning_rate: Any = None) -> Iterate:
    value, gradient = objective.value_and_gradient(x)
    if learning_rate is None:
        learning_rate = jnp.minimum(1.0, 1.0 / jnp.linalg.norm(gradient))
    first = jnp.asarray(learning_rate, x.dtype)
    info = {"learning_rate": first, "trials": jnp.zeros((), jnp.int32)}
    return Iterate(x, value, gradient, first, info, Evaluations(1, 1))


def _search(objective: Objective, at: Iterate, search: str, learning_rate: Any = None) -> Iterate:
    held = active(at.x, at.gradient, objective.lower, objective.upper)
    direction = -at.gradient if held is None else jnp.where(held, 0, -at.gradient)
    found = (
        armijo(objective, at, direction, at.memory)
        if search == "armijo"
        else wolfe(objective, at, direction, at.memory)
    )
    counts = at.evaluations.plus(functions=found.trials, gradients=found.trials if search == "wolfe" else 1)
    info = {"learning_rate": found.step, "trials": found.trials}
    # The next search begins where the parabola through the last two gradients has its minimum (Barzilai and Borwein).
    s, y = found.x - at.x, found.gradient - at.gradient
    spectral = jnp.vdot(s, s) / jnp.vdot(s, y)
    following = jnp.where(jnp.isfinite(spectral) & (spectral > 0), spectral, 2 * at.memory)
    following = jnp.where(found.failed, at.memory, following)
    return Iterate(found.x, found.value, found.gradient, following, info, counts, found.failed)


def first_order(transformation: Any) -> Solver:
    """Any optax gradient transformation as a solver; a bound is kept by projection after each update.

    Args:
      transformation: ``optax.GradientTransformation``. Equal numbers in another object compile anew: prefer the named
        methods (``adam``, ``momentum``, ...) where numbers are swept.
    """
    choices = (("transformation", transformation),)
    return Solver("first-order", _start_given, _step_given, choices=choices, boxes=True, costs=ONE)


def momentum(learning_rate: Rate = 1e-2, decay: float | Array = 0.9, **regularization: Any) -> Solver:
    """Heavy-ball momentum, ``v <- decay v + grad f(x)``, ``x <- x - learning_rate v``, by ``optax.sgd``.

    Args:
      learning_rate: a number, or a schedule ``count -> rate``.
      decay: of the velocity.
      regularization: ``clip_norm``, ``clip_value``, ``l2``, ``weight_decay``, as for ``adam``.
    """
    return _named("momentum", "sgd", learning_rate, regularization, momentum=decay)


def nesterov(learning_rate: Rate = 1e-2, decay: float | Array = 0.9, **regularization: Any) -> Solver:
    """Nesterov's momentum, by ``optax.sgd``; arguments as for ``momentum``."""
    return _named("nesterov", "nesterov", learning_rate, regularization, momentum=decay)


def sgd(learning_rate: Rate = 1e-2, **regularization: Any) -> Solver:
    """Plain steps by ``optax.sgd``, with a schedule and regularization; arguments as for ``adam``."""
    return _named("sgd", "sgd", learning_rate, regularization)


def adam(
    learning_rate: Rate = 1e-3,
    b1: float | Array = 0.9,
    b2: float | Array = 0.999,
    eps: float | Array = 1e-8,
    **regularization: Any,
) -> Solver:
    """Adam, by ``optax.scale_by_adam``.

    Args:
      learning_rate: a number, which may be traced, or a schedule ``count -> rate``, such as one of
        ``jaxcalc.functions.schedules``.
      b1, b2: decays of the first and second moment.
      eps: added to the root of the second moment.
      regularization: ``clip_norm`` (the gradient's norm is at most that), ``clip_value`` (each entry), ``l2`` (l2 x is
        added to the gradient before the method sees it), ``weight_decay`` (weight_decay x is added after it).
    """
    return _named("adam", "adam", learning_rate, regularization, b1=b1, b2=b2, eps=eps)


def adamw(
    learning_rate: Rate = 1e-3,
    b1: float | Array = 0.9,
    b2: float | Array = 0.999,
    eps: float | Array = 1e-8,
    weight_decay: float | Array = 1e-4,
    **regularization: Any,
) -> Solver:
    """Adam with decoupled weight decay; arguments as for ``adam``."""
    return _named(
        "adamw", "adam", learning_rate, {"weight_decay": weight_decay, **regularization}, b1=b1, b2=b2, eps=eps
    )


_REGULARIZATION = ("clip_norm", "clip_value", "l2", "weight_decay")


def _named(name: str, rule: str, learning_rate: Rate, regularization: dict[str, Any], **numbers: Any) -> Solver:
    for key in regularization:
        if key not in _REGULARIZATION:
            raise TypeError(f"{name}: unknown keyword {key!r}; besides its own it takes {', '.join(_REGULARIZATION)}.")
    given = {key: value for key, value in regularization.items() if value is not None}
    choices: tuple[tuple[str, Any], ...] = (("rule", rule),)
    # A schedule that is a PyTree (as those of functions.schedules) is a number like any other; a bare function is not.
    if callable(learning_rate) and jax.tree_util.all_leaves([learning_rate]):
        choices += (("schedule", learning_rate),)
    elif callable(learning_rate):
        numbers["learning_rate"] = learning_rate
    else:
        numbers["learning_rate"] = checks.number(name, "learning_rate", learning_rate, finite=True)
    return Solver(name, _start_rule, _step_rule, {**numbers, **given}, choices, boxes=True, costs=ONE)


def _transformation(
    rule: str,
    learning_rate: Any = None,
    schedule: Any = None,
    clip_norm: Any = None,
    clip_value: Any = None,
    l2: Any = None,
    weight_decay: Any = None,
    **numbers: Any,
) -> Any:
    """The optax chain of a rule with its regularization."""
    import optax

    parts = []
    if clip_value is not None:
        parts.append(optax.clip(clip_value))
    if clip_norm is not None:
        parts.append(optax.clip_by_global_norm(clip_norm))
    if l2 is not None:
        parts.append(optax.add_decayed_weights(l2))
    match rule:
        case "sgd" | "nesterov":
            if "momentum" in numbers:
                parts.append(optax.trace(decay=numbers["momentum"], nesterov=rule == "nesterov"))
        case _:
            parts.append(optax.scale_by_adam(**numbers))
    if weight_decay is not None:
        parts.append(optax.add_decayed_weights(weight_decay))
    parts.append(optax.scale_by_learning_rate(learning_rate if schedule is None else schedule))
    return optax.chain(*parts)


def _start_rule(objective: Objective, x: Array, **settings: Any) -> Iterate:
    return _start_given(objective, x, _transformation(**settings))


def _step_rule(objective: Objective, at: Iterate, **settings: Any) -> Iterate:
    return _step_given(objective, at, _transformation(**settings))


def _start_given(objective: Objective, x: Array, transformation: Any) -> Iterate:
    return start_at(objective, x)._replace(memory=transformation.init(x))


def _step_given(objective: Objective, at: Iterate, transformation: Any) -> Iterate:
    change, memory = transformation.update(at.gradient, at.memory, at.x)
    x = project((at.x + change).astype(at.x.dtype), objective.lower, objective.upper)
    return Iterate(x, *objective.value_and_gradient(x), memory)


def contraction(learning_rate: float | Array, curvatures: np.ndarray | Array) -> Array:
    """The factor by which gradient descent shrinks, or grows, the error a step.

    ``max_i |1 - rate lambda_i|``: exact in the limit on a quadratic; elsewhere for starts close to the optimum.

    Args:
      learning_rate: a number; may be traced.
      curvatures: the eigenvalues of the Hessian at the optimum, (n,).
    """
    return jnp.max(jnp.abs(1.0 - learning_rate * jnp.asarray(curvatures)))


def best_learning_rate(mu: float, smoothness: float) -> float:
    """The rate of the fastest contraction, ``2 / (mu + L)``."""
    return 2.0 / (mu + smoothness)


def best_momentum(mu: float | Array, smoothness: float | Array) -> tuple[Any, Any]:
    """Rate and decay with which heavy-ball momentum contracts fastest on a quadratic with eigenvalues in [mu, L].

    ``rate = 4 / (sqrt(L) + sqrt(mu))^2``, ``decay = ((sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu)))^2``; in the limit the
    error shrinks by ``sqrt(decay)`` a step.

    Source: B. T. Polyak, USSR Computational Mathematics and Mathematical Physics 4(5), 1964.
    """
    low, high = jnp.sqrt(mu), jnp.sqrt(smoothness)
    return 4.0 / (low + high) ** 2, ((high - low) / (high + low)) ** 2


def best_nesterov(mu: float | Array, smoothness: float | Array) -> tuple[Any, Any]:
    """Rate and decay of Nesterov's momentum for curvatures in [mu, L], strongly convex functions among them.

    ``rate = 1 / L``, ``decay = (sqrt(L) - sqrt(mu)) / (sqrt(L) + sqrt(mu))``; on a quadratic the error shrinks in the
    limit by ``1 - sqrt(mu / L)`` a step.

    Source: Y. Nesterov, Introductory Lectures on Convex Optimization, 2004, scheme 2.2.11.
    """
    low, high = jnp.sqrt(mu), jnp.sqrt(smoothness)
    return 1.0 / smoothness, (high - low) / (high + low)

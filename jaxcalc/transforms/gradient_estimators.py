"""Random numbers whose mean is an expectation, and whose derivative has the expectation's derivative for its mean.

An estimator is a draw: ``draw(key, law) -> Y`` with ``E[Y] = E[f(X)]`` and ``E[dY/d theta] = dE[f(X)]/d theta``.
Averaging draws, differentiating the average and telling its standard error are then as for any random number.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["GROUP", "ControlVariate", "EstimatorMethod", "estimator", "joint_log_density", "refusal", "score"]

EstimatorMethod = Literal["reparameterised", "score", "measure-valued", "finite-difference"]
ControlVariate = Literal["none", "constant", "leave-one-out", "local-linear"]

GROUP = 16
"""Draws that stand for each other's baseline in leave-one-out."""


def joint_log_density(law: Any, x: Any) -> jax.Array:
    """The log density of a draw; that of a batch of distributions is of all its components, which are independent."""
    return jnp.sum(law.log_density(x))


def refusal(method: str, control: str, law: Any, x: Any) -> str:
    """Why an estimator is none of this distribution's, of which ``x`` is a draw or its shape; empty if it is one."""
    whole = [leaf.dtype for leaf in jax.tree.leaves(x) if not jnp.issubdtype(leaf.dtype, jnp.inexact)]
    family = getattr(law, "family", None)
    if method == "reparameterised" and whole:
        return f"no derivative goes through draws of {whole[0]}; take 'score' or, in a sum over atoms, 'sum'"
    if method == "score" and getattr(family, "moving_support", False):
        return "the support depends on the parameters, which the log density's derivative does not see"
    if method == "measure-valued" and not getattr(family, "weak_derivatives", ()):
        return f"no weak derivatives of {getattr(family, 'name', type(law).__name__)} are known"
    if method != "score" and control in ("constant", "leave-one-out"):
        return f"a baseline changes nothing but 'score'; leave control_variate={control!r} out"
    if control == "local-linear" and (whole or not hasattr(law, "mean")):
        return "control_variate='local-linear' takes a distribution of real vectors with a mean()"
    return ""


def estimator(
    fun: Callable[[Any], Any], method: str, control: str, step: float | None
) -> Callable[[jax.Array, Any, Any], Any]:
    """``draw(key, law, baseline) -> Y``, like what ``fun`` returns.

    Args:
      fun: from a draw to a PyTree of real arrays.
      method, control: as for ``expectation``; ``baseline`` is read where the control variate is constant.
      step: of ``finite-difference``.
    """
    match method:
        case "reparameterised":
            plain = lambda fun, key, law: fun(law.sample(key))
        case "score":
            plain = _score_term
        case "measure-valued":
            plain = _measure_valued
        case "finite-difference":
            plain = functools.partial(_finite_difference, step)
        case _:
            raise ValueError(f"unknown method {method!r}")
    match control:
        case "none":
            return lambda key, law, baseline: plain(fun, key, law)
        case "constant":
            return lambda key, law, baseline: _with_baseline(fun, key, law, baseline)
        case "leave-one-out":
            return lambda key, law, baseline: _leave_one_out(fun, key, law)
        case "local-linear":
            return lambda key, law, baseline: _about_local_line(plain, fun, key, law)
        case _:
            raise ValueError(f"unknown control variate {control!r}")


def score(law: Any, x: Any) -> jax.Array:
    """1, whose derivative is that of the log density at a draw that stays where it is; so in every order."""
    log_density = joint_log_density(law, jax.lax.stop_gradient(x))
    return jnp.exp(log_density - jax.lax.stop_gradient(log_density))


def _score_term(fun, key, law):
    x = jax.lax.stop_gradient(law.sample(key))
    one = score(law, x)
    return jax.tree.map(lambda y: y * one, fun(x))


def _with_baseline(fun, key, law, baseline):
    x = jax.lax.stop_gradient(law.sample(key))
    one = score(law, x)
    return jax.tree.map(lambda y, b: y * one - b * (one - 1), fun(x), baseline)


def _leave_one_out(fun, key, law):
    """The mean over a group, each draw's baseline being the mean of the others': the covariance of f and score."""

    def one_draw(key):
        x = jax.lax.stop_gradient(law.sample(key))
        return fun(x), score(law, x)

    values, ones = jax.vmap(one_draw)(jax.random.split(key, GROUP))

    def mean(y):
        others = (y.sum(0) - y) / (GROUP - 1)
        shape = (GROUP,) + (1,) * (y.ndim - 1)
        return (y * ones.reshape(shape) - others * (ones.reshape(shape) - 1)).mean(0)

    return jax.tree.map(mean, values)


def _about_local_line(plain, fun, key, law):
    """The estimator of what f is beside its tangent at the mean, and the tangent's expectation in closed form."""
    mean = jnp.broadcast_to(law.mean(), jax.eval_shape(law.sample, key).shape)
    centre = jax.lax.stop_gradient(mean)
    value, tangent = jax.linearize(fun, centre)
    line = lambda x: jax.tree.map(jnp.add, value, tangent(x - centre))
    rest = plain(lambda x: jax.tree.map(jnp.subtract, fun(x), line(x)), key, law)
    return jax.tree.map(jnp.add, rest, line(mean))


# -- estimators that bring their derivative with them --------------------------------------------------------------


def _measure_valued(fun, key, law):
    """``f(x)``, whose derivative by each parameter of each component is ``c (f(x with plus) - f(x with minus))``."""
    first, second = jax.random.split(key)
    x = law.sample(first)
    family, batch = law.family, law.batch_shape
    # Weak derivatives are of families whose parameters are numbers, one for each component.
    broad = [jnp.broadcast_to(parameter, batch) for parameter in law.parameters]
    slopes = []
    for each, weak in zip(jax.random.split(second, len(broad)), family.weak_derivatives):
        constant, plus, minus = weak(each, batch, *broad)
        slopes.append(_by_component(fun, x, jnp.broadcast_to(constant, batch), plus, minus))
    return _with_slopes(fun(jax.lax.stop_gradient(x)), broad, slopes)


def _by_component(fun, x, constant, plus, minus):
    """The slope by one parameter of each component of a batch, stacked along its shape, before that of the output."""
    flat = x.reshape(-1)

    def slope(i):
        place = lambda values: flat.at[i].set(values.reshape(-1)[i]).reshape(x.shape)
        difference = jax.tree.map(jnp.subtract, fun(place(plus)), fun(place(minus)))
        return jax.tree.map(lambda y: y * constant.reshape(-1)[i], difference)

    slopes = jax.vmap(slope)(jnp.arange(flat.size))
    return jax.tree.map(lambda y: y.reshape(x.shape + y.shape[1:]), slopes)


def _finite_difference(step, fun, key, law):
    """``f(x)``, whose derivative by each number of the law is a central difference with common random numbers."""
    leaves, structure = jax.tree.flatten(law)
    value = fun(jax.lax.stop_gradient(law.sample(key)))
    moving = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]

    def at(i, leaf):
        changed = [*leaves[:i], leaf, *leaves[i + 1 :]]
        return fun(jax.tree.unflatten(structure, changed).sample(key))

    def slopes(i):
        leaf = jnp.asarray(leaves[i])
        size = float(jnp.finfo(leaf.dtype).eps) ** (1 / 3) if step is None else step

        def slope(j):
            entry = leaf.reshape(-1)[j]
            # Relative to the number where that is large, so that the step survives rounding.
            h = (
                size * jnp.maximum(1, abs(jax.lax.stop_gradient(entry)))
                if step is None
                else jnp.asarray(size, leaf.dtype)
            )
            moved = lambda to: leaf.reshape(-1).at[j].set(to).reshape(leaf.shape)
            above, below = entry + h, entry - h
            difference = jax.tree.map(jnp.subtract, at(i, moved(above)), at(i, moved(below)))
            return jax.tree.map(lambda y: y / (above - below), difference)

        found = jax.vmap(slope)(jnp.arange(leaf.size))
        return jax.tree.map(lambda y: y.reshape(leaf.shape + y.shape[1:]), found)

    return _with_slopes(value, [leaves[i] for i in moving], [slopes(i) for i in moving])


def _with_slopes(value, parameters, slopes):
    """The value, and as its derivative by each parameter the slope, of the parameter's shape before the value's."""
    add = lambda y, *each: y + _nothing_with_slopes(tuple(parameters), each, y)
    return jax.tree.map(add, value, *slopes)


@jax.custom_jvp
def _nothing_with_slopes(parameters, slopes, like):
    return jnp.zeros_like(like)


@functools.partial(_nothing_with_slopes.defjvp, symbolic_zeros=True)
def _nothing_with_slopes_jvp(primals, tangents):
    _, slopes, like = primals
    total = jnp.zeros_like(like)
    for tangent, slope in zip(tangents[0], slopes):
        if not isinstance(tangent, jax.custom_derivatives.SymbolicZero):
            total = total + jnp.tensordot(tangent, _differentiated_once(slope), axes=np.ndim(tangent))
    return jnp.zeros_like(like), total.astype(like.dtype)


@jax.custom_jvp
def _differentiated_once(slope):
    return slope


@_differentiated_once.defjvp
def _differentiated_once_jvp(primals, tangents):
    raise NotImplementedError(
        "expectation: 'measure-valued' and 'finite-difference' have first derivatives only. For higher ones take "
        "method='score' or 'reparameterised'."
    )

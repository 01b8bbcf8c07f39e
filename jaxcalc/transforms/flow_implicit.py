"""A step of a singly diagonally implicit Runge-Kutta method: stages that solve equations, and are differentiated so.

diffrax has the methods' coefficients. Its step raises from a host callback where a derivative meets a trial that
overflowed, and does not say how often it evaluates the field.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.scipy.linalg import lu_factor, lu_solve

from jaxcalc.transforms.flow_reals import from_reals, in_reals
from jaxcalc.transforms.flow_solvers import ROUNDING, lower_triangle

__all__ = ["implicit_step"]

# Chord iterations of a stage before a step is given up, and how much corrections may grow.
_MOST, _GROWTH = 20, 2
# Of the tolerances: what is left of a stage's error.
_SHARE = 0.03


def _real(tree: Any) -> tuple[jax.Array, Any]:
    """A tree as one real vector, complex numbers as two of them, and the way back."""
    leaves, structure = jax.tree.flatten(tree)
    flat, unravel = ravel_pytree(in_reals(leaves))
    return flat, lambda vector: jax.tree.unflatten(structure, from_reals(unravel(vector), 1j))


def implicit_step(table: Any, equations: Any, term: Any, t: Any, end: Any, y: Any, slope: Any) -> tuple[Any, ...]:
    """A step from ``t`` to ``end``: state, error, stages times the step, last slope, whether solved, evaluations.

    Stages are solved for ``k = h f(t, Y)``, ``Y = p + g k``, by chords of one Jacobian, from its LU factors. A stage's
    derivative is that of its equation, with the Jacobian at the stage.

    Args:
      equations: tolerances, relative and absolute, of the states that stages are.
      slope: the field's at the start.
    """
    h = end - t
    at, back = _real(y)
    step = h.astype(at.dtype)
    rates = lambda t, vector: _real(term.vf(t, back(vector), None))[0]
    diagonal = float(table.a_diagonal[-1])
    lower, predictor = (
        lower_triangle(table.a_lower).astype(at.dtype),
        lower_triangle(table.a_predictor).astype(at.dtype),
    )
    nodes = jnp.asarray(np.asarray(table.c), h.dtype)
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y))
    rtol, atol = equations
    chord = _chord(rates, *jax.lax.stop_gradient((t, at)), jax.lax.stop_gradient(step) * diagonal)

    def stage(carry: Any, row: Any) -> Any:
        stages, solved, evaluations = carry
        number, weights, guess, node = row
        time = jnp.where(node == 1, end, t + node * h)
        base = at + weights @ stages
        residual = lambda k: k - step * rates(time, base + diagonal * k)
        solve = lambda residual, k: _iterated(residual, chord, base, diagonal, (rtol, atol, eps), k)
        k, counts = jax.lax.custom_root(residual, guess @ stages, solve, _tangent, has_aux=True)
        good, tries = jax.lax.stop_gradient(counts)
        return (stages.at[number].set(k), solved & (good > 0), evaluations + tries.astype(jnp.int32)), None

    count = len(table.c) + 1
    first = jnp.zeros((count, at.size), at.dtype).at[0].set(step * _real(slope)[0])
    rows = jnp.arange(1, count), lower[1:], predictor[1:], nodes
    # One evaluation is the Jacobian's.
    begin = first, jnp.asarray(True), jnp.ones((), jnp.int32)
    (stages, solved, evaluations), _ = jax.lax.scan(stage, begin, rows)
    combined = lambda weights: np.asarray(weights).astype(at.dtype) @ stages
    state = back(at + combined(table.b_sol))
    last = back(stages[-1] / jnp.where(step == 0, 1, step))
    return state, back(combined(table.b_error)), jax.vmap(back)(stages), last, solved, evaluations


def _chord(rates: Any, t: Any, at: Any, step: Any) -> Any:
    """Factors of the stages' equations, linearised at the step's start."""
    jacobian = jax.jacfwd(lambda vector: rates(t, vector))(at)
    return jax.lax.stop_gradient(lu_factor(jnp.eye(at.size, dtype=at.dtype) - step * jacobian))


def _iterated(residual: Any, chord: Any, base: Any, diagonal: float, tolerances: Any, guess: Any) -> Any:
    """A stage by chord iterations, whether they ended, and how many there were.

    They end where what is left, by the rate at which corrections shrink, is a small share of the tolerances.
    """
    rtol, atol, eps = tolerances

    def on(carry: Any) -> Any:
        k, before, *_, tries = carry
        correction = -lu_solve(chord, residual(k))
        k = k + correction
        change, state = jnp.abs(diagonal * correction), jnp.abs(base + diagonal * k)
        scale = jnp.maximum(_SHARE * (atol + rtol * state), ROUNDING * eps * state)
        ratios = change / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)
        now = jnp.sqrt(jnp.sum(ratios**2) / max(ratios.size, 1))
        rate = jnp.where(tries == 0, 0.5, jnp.minimum(now / before, 0.999))
        # A small number among large ones has their rounding errors: no correction takes them away.
        at_rounding = (now > before / 2) & (change.max(initial=0) <= ROUNDING * eps * state.max(initial=0))
        solved = (now * rate / (1 - rate) <= 1) | (now == 0) | at_rounding
        return k, now, solved, solved | ~(now <= _GROWTH * before), tries + 1  # NaN is no number to go on from

    begin = guess, jnp.full((), jnp.inf, guess.dtype), jnp.asarray(False), jnp.asarray(False), jnp.zeros((), jnp.int32)
    going = lambda carry: ~carry[3] & (carry[4] < _MOST)
    k, _, solved, _, tries = jax.lax.while_loop(going, on, begin)
    return k, (solved.astype(guess.dtype), tries.astype(guess.dtype))  # JAX has no tangents of other types here


def _tangent(linear: Any, right: Any) -> Any:
    """The solution of a linear map's equation, transposable."""
    matrix = jax.vmap(linear, out_axes=1)(jnp.eye(right.size, dtype=right.dtype))
    factors = lu_factor(matrix)
    return jax.lax.custom_linear_solve(
        linear, right, lambda _, b: lu_solve(factors, b), lambda _, b: lu_solve(factors, b, trans=1)
    )

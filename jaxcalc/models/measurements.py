"""What is measured of a network: gradients by layer and through time, correlations, singular values, dead units.

Pure functions of a model's ``trace`` or of any differentiable function, ready for ``jit`` and for ``vmap`` over seeds.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from jaxcalc import checks

__all__ = [
    "ClippedGradient",
    "Moments",
    "activation_moments",
    "blocking_layer",
    "clip_gradient",
    "correlations",
    "dead_share",
    "dead_units",
    "lagged_jacobians",
    "singular_values",
    "state_gradients",
    "state_jacobians",
    "state_norms",
    "states_and_gradients",
    "step_norms",
]


def states_and_gradients(
    trace: Callable[..., tuple[jax.Array, Any]],
    loss: Callable[[jax.Array], jax.Array],
    params: Any,
    x: jax.Array,
    **choices: Any,
) -> tuple[Any, Any]:
    """Every state, layers or time steps, and the gradient of the summed loss in it, by one pass up and one back.

    A zero is added to each state; the gradient in that zero is the gradient in the state, by all ways that lead on.

    Args:
      trace: ``trace(params, x, *, probes) -> (outputs, states)`` of a model.
      loss: from the outputs to losses of any shape, which are summed.
      params, x: what the model is evaluated at.
      choices: further arguments of ``trace``, such as ``depth`` or ``truncation``.

    Returns:
      The states, and a PyTree shaped like them.
    """
    _, states = jax.eval_shape(lambda: trace(params, x, **choices))
    probes = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), states)

    def summed(probes):
        outputs, states = trace(params, x, probes=probes, **choices)
        return loss(outputs).sum(), states

    gradients, states = jax.grad(summed, has_aux=True)(probes)
    return states, gradients


def state_gradients(
    trace: Callable[..., tuple[jax.Array, Any]],
    loss: Callable[[jax.Array], jax.Array],
    params: Any,
    x: jax.Array,
    **choices: Any,
) -> Any:
    """The gradient of the summed loss in every state; see ``states_and_gradients``."""
    return states_and_gradients(trace, loss, params, x, **choices)[1]


def state_norms(gradients: Any) -> jax.Array:
    """The norm of all that belongs to one layer or time step: the root of its squares' mean over the batch.

    Args:
      gradients: a PyTree of arrays ``(steps, ..., width)``; an LSTM's two parts count as one vector.

    Returns:
      Shape ``(steps,)``: root mean square over the batch of the Euclidean norm.
    """
    leaves = jax.tree.leaves(gradients)
    sizes = [step_norms(a) / max(math.prod(a.shape[1:-1]), 1) ** 0.5 for a in leaves]
    return step_norms(jnp.stack(sizes, axis=1))


def step_norms(array: jax.Array) -> jax.Array:
    """The Euclidean norm of all that has one leading index, shape ``(steps,)``.

    Entries are divided by the largest before they are squared: gradients that vanish leave the range of float32 as
    squares from 1e-23 on, and as squared entries are 0 long before they are.
    """
    flat = array.reshape(array.shape[0], -1)
    unit, size = _over_largest(flat)
    return size[:, 0] * jnp.linalg.norm(unit, axis=1)


def _over_largest(array: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Vectors along the last axis over the size of their largest entry, and that size; 1 for what has none."""
    largest = jnp.max(jnp.abs(jax.lax.stop_gradient(array)), axis=-1, keepdims=True, initial=0.0)
    size = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return array / size, size


class Moments(NamedTuple):
    """By layer: mean, variance and mean fourth power over squared mean square of what a layer passes on."""

    mean: jax.Array
    square: jax.Array
    """mean square"""
    kurtosis: jax.Array
    """mean fourth power over the mean square squared: 3 for normal entries"""


def activation_moments(states: jax.Array) -> Moments:
    """The first moments of each layer's entries, over the batch and the units.

    Args:
      states: ``(layers, ..., width)``.
    """
    flat = states.reshape(states.shape[0], -1)
    square = jnp.mean(flat**2, 1)
    # Divided before the fourth power, which would leave the range of float32 at 1e10.
    unit = flat / jnp.sqrt(jnp.where(square > 0, square, 1.0))[:, None]
    return Moments(flat.mean(1), square, jnp.where(square > 0, jnp.mean(unit**4, 1), jnp.nan))


def correlations(first: jax.Array, second: jax.Array) -> jax.Array:
    """The cosine between two inputs' states in every layer, ``<a, b> / (|a| |b|)``, as mean-field theory follows it.

    Args:
      first, second: states ``(layers, ..., width)`` of two inputs, or of two batches of them.

    Returns:
      Shape ``(layers, ...)``; NaN where a state is zero.
    """

    def unit(a):
        a = _over_largest(a)[0]
        return a / jnp.linalg.norm(a, axis=-1, keepdims=True)

    return jnp.sum(unit(first) * unit(second), -1)


def dead_units(states: jax.Array, *, threshold: float = 0.0) -> jax.Array:
    """Which units do the same for every example: flags ``(layers, width)``.

    A rectifier whose output is 0 for all of a batch has gradient 0 there and is not moved by it.

    Args:
      states: activations ``(layers, batch, width)``.
      threshold: a unit is dead whose size stays at or below it for all examples.
    """
    return jnp.all(jnp.abs(states) <= threshold, axis=tuple(range(1, states.ndim - 1)))


def dead_share(states: jax.Array, *, threshold: float = 0.0) -> jax.Array:
    """The share of dead units in each layer, shape ``(layers,)``; see ``dead_units``."""
    return jnp.mean(dead_units(states, threshold=threshold), axis=-1)


def blocking_layer(norms: jax.Array, dead: jax.Array | None = None) -> jax.Array:
    """The layer that blocks the gradient: the first that passes no signal on, else the one with the largest fall.

    Layers above one whose units are all dead have no signal, and rectifiers without one have no gradient: the norms are
    zero below the last layer, whichever is at fault. The dead shares, read from the input on, tell it.

    Args:
      norms: of the gradient in the embedded input and in each layer's output, ``(..., layers + 1)``, as
        ``state_norms`` has them; NaN past the depth.
      dead: the shares of dead units of the same states, see ``dead_share``; only rectifiers have dead units.

    Returns:
      The layer's number, 1 for the first. A healthy network has one too: its fall tells how little it blocks.
    """
    below, above = norms[..., :-1], norms[..., 1:]
    # A layer that no gradient reaches is not the one that lost it.
    passed = jnp.where(above > 0, below / jnp.where(above > 0, above, 1.0), jnp.inf)
    layer = jnp.argmin(passed, -1)
    if dead is not None:
        silent = dead[..., 1:] >= 1.0
        layer = jnp.where(silent.any(-1), jnp.argmax(silent, -1), layer)
    return 1 + layer


def state_jacobians(
    step: Callable[[Any, Any, jax.Array], Any], params: Any, states: Any, inputs: jax.Array
) -> jax.Array:
    """The Jacobian of each step in the state before it, ``(time, n, n)``, states being flattened to n numbers.

    Args:
      step: ``step(params, state, x) -> state``, as a cell has it.
      params: the cell's.
      states: of one sequence, the one before the first step first: leaves ``(time + 1, width)``.
      inputs: ``(time, num_inputs)``.
    """

    def jacobian(state, x):
        flat, unravel = ravel_pytree(state)
        return jax.jacfwd(lambda s: ravel_pytree(step(params, unravel(s), x))[0])(flat)

    return jax.vmap(jacobian)(jax.tree.map(lambda a: a[:-1], states), inputs)


def lagged_jacobians(jacobians: jax.Array) -> jax.Array:
    """The Jacobian of the last state in the one ``lag`` steps before it, for every lag: ``(time + 1, n, n)``.

    Args:
      jacobians: of the single steps, ``(time, n, n)``; entry 0 of the result, the lag 0, is the identity.
    """
    identity = jnp.eye(jacobians.shape[-1], dtype=jacobians.dtype)
    before = lambda product, jacobian: (product @ jacobian,) * 2
    return jnp.concatenate([identity[None], jax.lax.scan(before, identity, jacobians[::-1])[1]])


class ClippedGradient(NamedTuple):
    """A gradient clipped by its global norm, with the norm before and after."""

    gradient: Any
    before: jax.Array
    after: jax.Array


def clip_gradient(gradient: Any, max_norm: jax.typing.ArrayLike) -> ClippedGradient:
    """optax's ``clip_by_global_norm`` on one gradient: scaled down to ``max_norm`` where its norm is above.

    Args:
      gradient: a PyTree.
      max_norm: above 0; may be traced.

    Raises:
      ValueError: for a norm that is not positive.
    """
    import optax

    checks.number("clip_gradient", "max_norm", max_norm, above=0)
    clip = optax.clip_by_global_norm(max_norm)  # pyright: ignore[reportArgumentType]
    clipped, _ = clip.update(gradient, clip.init(gradient))
    norm = lambda tree: step_norms(ravel_pytree(tree)[0][None])[0]
    return ClippedGradient(clipped, norm(gradient), norm(clipped))


_DENSE = 256  # entries of the shorter side up to which the whole Jacobian costs little


def singular_values(
    fun: Callable[[Any], Any],
    x: Any,
    num_values: int | None = None,
    *,
    method: str = "auto",
    num_steps: int | None = None,
    key: jax.Array | None = None,
) -> jax.Array:
    """Singular values of ``fun``'s Jacobian at ``x``, falling.

    Args:
      fun: from a PyTree of real arrays to one.
      x: where.
      num_values: the largest so many; by default all.
      method: ``"dense"``: of the Jacobian as a matrix, exact; ``"lanczos"``: by Golub and Kahan's bidiagonalisation
        from products alone, reorthogonalised in full, the ends of the spectrum first; ``"auto"``: dense up to a shorter
        side of 256.
      num_steps: of the bidiagonalisation, each one product and one transposed product; by default ``2 num_values + 10``
        and at most the shorter side, where the values are exact.
      key: of the random start; fixed by default.

    Raises:
      ValueError: for an unknown method, or more values or steps than there are.

    Cost: dense: as many products as the shorter side; lanczos: ``2 num_steps`` products and ``num_steps`` vectors kept.

    Source: G. Golub, W. Kahan, SIAM J. Numer. Anal. 1965; H. Simon, H. Zha, SIAM J. Sci. Comput. 2000.
    """
    who = "singular_values"
    checks.one_of(who, "method", method, ("auto", "dense", "lanczos"))
    flat, unravel = ravel_pytree(x)
    on_flat = lambda flat: ravel_pytree(fun(unravel(flat)))[0]
    output, push = jax.linearize(on_flat, flat)
    short = min(output.size, flat.size)
    wanted = short if num_values is None else checks.integer(who, "num_values", num_values, most=short)
    if method == "dense" or (method == "auto" and short <= _DENSE):
        jacobian = jax.jacfwd if flat.size <= output.size else jax.jacrev
        return jnp.linalg.svd(jacobian(on_flat)(flat), compute_uv=False)[:wanted]
    steps = min(2 * wanted + 10, short) if num_steps is None else num_steps
    steps = checks.integer(who, "num_steps", steps, least=wanted, most=short)
    pull = jax.linear_transpose(push, flat)
    key = jax.random.key(0) if key is None else key
    return _golub_kahan(push, lambda u: pull(u)[0], flat, output, steps, key)[:wanted]


def _golub_kahan(push, pull, like_input, like_output, num_steps, key):
    """The singular values of the bidiagonal matrix that ``num_steps`` steps make of an operator."""
    of_right, of_left = jax.random.split(key)
    rights = jax.random.normal(of_right, (num_steps + 1, like_input.size), like_input.dtype)
    lefts = jax.random.normal(of_left, (num_steps, like_output.size), like_output.dtype)

    def next_direction(vector, basis, spare, size):
        """The part of a vector across a basis, its length, and its direction; a spare one where nothing is left.

        An invariant subspace, as an isometry's first step makes, ends the recurrence; from a spare direction it goes on
        and finds the further values of a repeated one.
        """
        across = lambda v: v - basis.T @ (basis @ v)
        vector = across(across(vector))
        length = jnp.linalg.norm(vector)
        spare = across(across(spare))
        gone = length <= 100 * jnp.finfo(vector.dtype).eps * size
        direction = jnp.where(gone, spare / jnp.linalg.norm(spare), vector / jnp.where(gone, 1.0, length))
        return jnp.where(gone, 0.0, length), direction

    def step(carry, inputs):
        left_basis, right_basis, right, size = carry
        index, spare_left, spare_right = inputs
        image = push(right)
        size = jnp.maximum(size, jnp.linalg.norm(image))
        alpha, left = next_direction(image, left_basis, spare_left, size)
        left_basis = left_basis.at[index].set(left)
        back = pull(left)
        size = jnp.maximum(size, jnp.linalg.norm(back))
        beta, right = next_direction(back, right_basis, spare_right, size)
        right_basis = right_basis.at[index + 1].set(right)
        return (left_basis, right_basis, right, size), (alpha, beta)

    first = rights[0] / jnp.linalg.norm(rights[0])
    right_basis = jnp.zeros_like(rights).at[0].set(first)
    start = (jnp.zeros_like(lefts), right_basis, first, jnp.zeros((), rights.dtype))
    inputs = (jnp.arange(num_steps), lefts, rights[1:])
    _, (alphas, betas) = jax.lax.scan(step, start, inputs)
    # With the last beta it is the operator's transpose on all left vectors: exact once these fill their space.
    bidiagonal = jnp.zeros((num_steps, num_steps + 1), alphas.dtype)
    rows = jnp.arange(num_steps)
    bidiagonal = bidiagonal.at[rows, rows].set(alphas).at[rows, rows + 1].set(betas)
    return jnp.linalg.svd(bidiagonal, compute_uv=False)

"""Maps of few inputs and outputs through a large hidden layer, whose Jacobians want more memory than they return."""

from typing import Any

import numpy as np

from jaxcalc.scenarios.scenario import Scenario


def hidden_square(*, inputs: int, side: int) -> Scenario:
    """``h = softmax(tanh(a x + (b x)'))`` over rows, multiplied by ``weight`` from either side.

    Args:
      inputs: entries of ``x``.
      side: units along a side of the hidden square; there are twice as many outputs.

    Returns:
      The scenario, its constants ``(a, b, weight)``; all in float32, of shapes (inputs,), (side, inputs) twice and
      (side, 1), drawn from a fixed seed.
    """
    import jax
    import jax.numpy as jnp

    draw = np.random.default_rng(0)
    shapes = [(inputs,), (side, inputs), (side, inputs), (side, 1)]
    x, *rest = (draw.standard_normal(shape) / np.sqrt(shape[-1]) for shape in shapes)
    x, *rest = (jnp.asarray(values, jnp.float32) for values in (x, *rest))

    def fun(x: Any, a: Any, b: Any, weight: Any) -> Any:
        h = jax.nn.softmax(jnp.tanh((a @ x)[:, None] + b @ x), axis=1)
        return jnp.concatenate([(h @ weight)[:, 0], (h.T @ weight)[:, 0]])

    return Scenario(fun, x * np.sqrt(inputs), tuple(rest))

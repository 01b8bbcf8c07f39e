"""Equal layers in one loop, with a choice of what the backward pass finds stored."""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from jaxcalc import checks

__all__ = ["CHECKPOINTS", "Checkpoint", "scan_layers"]

Checkpoint = Literal["none", "layers", "segments"]
CHECKPOINTS: tuple[Checkpoint, ...] = get_args(Checkpoint)

# Inside a scan the recomputation cannot be merged with the first one, so XLA need not be kept from trying.
_remat = functools.partial(jax.checkpoint, prevent_cse=False)


def scan_layers(
    layer: Callable[[Any, Any], tuple[Any, Any]], h: Any, inputs: Any, checkpoint: str = "none"
) -> tuple[Any, Any]:
    """``jax.lax.scan(layer, h, inputs)``, and what of it is computed anew on the way back.

    Args:
      layer: ``(h, one of inputs) -> (h, output)``.
      h: what the first layer is given.
      inputs: a PyTree of arrays with the layers along their leading axis.
      checkpoint: ``"none"``: whatever AD keeps of each layer. ``"layers"``: each layer's input, the rest computed anew.
        ``"segments"``: the inputs of about sqrt(depth) segments of about sqrt(depth) layers, so that the memory of
        intermediates grows as sqrt(depth), for one more forward pass.

    Raises:
      ValueError: if ``checkpoint`` is unknown.

    Source: segments: Chen, Xu, Zhang and Guestrin, Training deep nets with sublinear memory cost (2016).
    """
    match checkpoint:
        case "none":
            return jax.lax.scan(layer, h, inputs)
        case "layers":
            return jax.lax.scan(_remat(layer), h, inputs)
        case "segments":
            depth = len(jax.tree.leaves(inputs)[0])
            length = max(math.isqrt(depth), 1)
            whole = depth // length * length
            segment = lambda h, part: jax.lax.scan(layer, h, part)
            split = jax.tree.map(lambda a: a[:whole].reshape(-1, length, *a.shape[1:]), inputs)
            h, first = jax.lax.scan(_remat(segment), h, split)
            h, rest = segment(h, jax.tree.map(lambda a: a[whole:], inputs))  # fewer than 2 sqrt(depth) are left over
            joined = lambda a, b: jnp.concatenate([a.reshape(whole, *a.shape[2:]), b])
            return h, jax.tree.map(joined, first, rest)
    raise checks.unknown("scan_layers", "checkpoint", checkpoint, CHECKPOINTS)

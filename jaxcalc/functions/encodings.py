"""Positions as vectors of sines and cosines."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = ["frequencies", "rotate", "sinusoidal"]


def frequencies(width: int, *, base: float = 10_000.0) -> Array:
    """The angular frequencies of an encoding's pairs, ``base^(-2 k / width)`` for ``k = 0, ..., width / 2 - 1``.

    Args:
      width: entries of the encoding, even.
      base: the ratio that the frequencies span.

    Raises:
      ValueError: for a width that is not a positive even number, or a base that is not positive.
    """
    checks.integer("frequencies", "width", width, least=2)
    if width % 2:
        raise ValueError(f"frequencies: width must be even, a sine and a cosine for each frequency; got {width}")
    if not base > 0:
        raise ValueError(f"frequencies: base must be positive, got {base}")
    return base ** (-2.0 * jnp.arange(width // 2) / width)


def sinusoidal(position: ArrayLike, width: int, *, base: float = 10_000.0) -> Array:
    """The encoding of positions: for each frequency omega the pair ``(sin(omega t), cos(omega t))``.

    Its derivative in the position is ``(omega cos(omega t), -omega sin(omega t))``; positions need not be whole.

    Args:
      position: of any shape.
      width, base: as in ``frequencies``.

    Returns:
      An array of shape ``position.shape + (width,)``, sines and cosines by turns.

    Source:
      A. Vaswani et al., Attention is all you need, 2017, section 3.5.
    """
    t = jnp.asarray(position, jnp.result_type(position, float))
    angle = t[..., None] * frequencies(width, base=base).astype(t.dtype)
    return jnp.stack([jnp.sin(angle), jnp.cos(angle)], axis=-1).reshape(*t.shape, width)


def rotate(encoding: ArrayLike, shift: ArrayLike, *, base: float = 10_000.0) -> Array:
    """The encoding of positions moved by ``shift``: each pair turned by ``omega shift``.

    Args:
      encoding: of shape ``(..., width)``, as ``sinusoidal`` gives it.
      shift: a scalar.
      base: as in ``frequencies``.
    """
    encoding = jnp.asarray(encoding)
    angle = frequencies(encoding.shape[-1], base=base).astype(encoding.dtype) * shift
    sine, cosine = encoding[..., ::2], encoding[..., 1::2]
    turned = (sine * jnp.cos(angle) + cosine * jnp.sin(angle), cosine * jnp.cos(angle) - sine * jnp.sin(angle))
    return jnp.stack(turned, axis=-1).reshape(encoding.shape)

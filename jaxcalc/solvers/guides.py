"""Guides: the families of distributions among which variational inference looks for the posterior."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from jaxcalc import checks

__all__ = ["GUIDES", "Guide", "LocalNormal", "full_rank", "low_rank", "mean_field"]

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class LocalNormal(NamedTuple):
    """A first normal approximation, in whose coordinates a guide's parameters are all of size 1.

    Args:
      location: (d,).
      factor: F with the covariance ``F F'``: (d, d), or (d,) of a diagonal one.
      scale: (d,), standard deviations of each variable given the others.
    """

    location: Array
    factor: Array
    scale: Array

    def moved(self, v: Array) -> Array:
        """``location + F v``."""
        return self.location + (self.factor * v if self.factor.ndim == 1 else self.factor @ v)

    def log_volume(self) -> Array:
        """``log |det F|``."""
        if self.factor.ndim == 1:
            return jnp.sum(jnp.log(self.factor))
        return jnp.linalg.slogdet(self.factor)[1]


class Guide(NamedTuple):
    """A family of distributions over R^d that standard normal noise is carried to; one's own is made of such functions.

    Args:
      name: as in ``variational``.
      num_noise: ``d -> k``, how many normal numbers a draw takes.
      init: ``(LocalNormal) -> params``, any PyTree of arrays; near that approximation if the family can be.
      push: ``(params, LocalNormal, noise (k,)) -> (x (d,), log q(x))``, differentiable in ``params``.
      entropy: ``(params, LocalNormal) -> scalar``, where there is a closed form; else None.
      scale: None, or the standard deviations to begin with, a number or (d,).
      normal: whether it is a normal distribution for all parameters, whose location the noise 0 is pushed to.
    """

    name: str
    num_noise: Callable[[int], int]
    init: Callable[[LocalNormal], Any]
    push: Callable[[Any, LocalNormal, Array], tuple[Array, Array]]
    entropy: Callable[[Any, LocalNormal], Array] | None = None
    scale: Any = None
    normal: bool = False


def mean_field(scale: ArrayLike | None = None) -> Guide:
    """Independent normal distributions, one for each variable: ``x = mu + sigma eps``; 2 d numbers.

    Its standard deviations are those of each variable given the others: too small where they are correlated.

    Args:
      scale: standard deviations to begin with, above 0, a number or (d,); by default the posterior's own curvature's.

    Raises:
      ValueError: for a scale that is not positive and finite.
    """
    return Guide("mean-field", _same, _init_mean_field, _push_mean_field, _entropy_mean_field, _scale(scale), True)


def full_rank(scale: ArrayLike | None = None) -> Guide:
    """The normal distribution with any covariance: ``x = mu + L eps``; ``d + d (d + 1) / 2`` numbers.

    Args:
      scale: standard deviations to begin with, as of ``mean_field``.

    Raises:
      ValueError: for a scale that is not positive and finite.
    """
    return Guide("full-rank", _same, _init_full_rank, _push_full_rank, _entropy_full_rank, _scale(scale), True)


def low_rank(rank: int = 5, scale: ArrayLike | None = None) -> Guide:
    """The normal distribution with a diagonal covariance plus one of low rank: ``x = mu + sigma eps + V eta``.

    Args:
      rank: r, the columns of V, at most d.
      scale: standard deviations to begin with, as of ``mean_field``.

    Raises:
      ValueError: for a rank below 1, or a scale that is not positive and finite.

    Source: Ong, Nott and Smith, "Gaussian variational approximation with a factor covariance structure", Journal of
      Computational and Graphical Statistics 27, 2018.
    """
    rank = checks.integer("low_rank", "rank", rank)
    return Guide("low-rank", *_low_rank(rank), _scale(scale), True)


GUIDES: dict[str, Callable[[], Guide]] = {"mean-field": mean_field, "full-rank": full_rank, "low-rank": low_rank}


def _scale(scale: ArrayLike | None) -> Any:
    """The scale as hashable numbers: it is part of the program."""
    if scale is None:
        return None
    scale = np.asarray(scale) if isinstance(scale, (list, tuple)) else scale
    checks.number("guide", "scale", scale, above=0, finite=True, remedy="It holds standard deviations.")
    array = np.asarray(scale, float)
    if array.ndim > 1:
        raise ValueError(f"guide: scale must be a number or of shape (d,), got shape {array.shape}.")
    return tuple(array.tolist()) if array.ndim else float(array)


def _same(d: int) -> int:
    return d


def _log_noise(noise: Array) -> Array:
    """The log density of standard normal noise."""
    return -0.5 * jnp.sum(noise**2) - noise.size * _HALF_LOG_TWO_PI


def _entropy_of_noise(d: int) -> float:
    return d * (0.5 + _HALF_LOG_TWO_PI)


# -- mean field ----------------------------------------------------------------------------------------------------


def _init_mean_field(near: LocalNormal) -> dict[str, Array]:
    zeros = jnp.zeros_like(near.location)
    return {"location": zeros, "log_scale": zeros}


def _push_mean_field(params: dict[str, Array], near: LocalNormal, noise: Array) -> tuple[Array, Array]:
    spread = near.scale * jnp.exp(params["log_scale"])
    return near.moved(params["location"]) + spread * noise, _log_noise(noise) - jnp.sum(jnp.log(spread))


def _entropy_mean_field(params: dict[str, Array], near: LocalNormal) -> Array:
    return jnp.sum(jnp.log(near.scale) + params["log_scale"]) + _entropy_of_noise(near.scale.size)


# -- full rank -----------------------------------------------------------------------------------------------------


def _init_full_rank(near: LocalNormal) -> dict[str, Array]:
    d = near.location.size
    zeros = jnp.zeros_like(near.location)
    return {"location": zeros, "log_diagonal": zeros, "lower": jnp.zeros(d * (d - 1) // 2, zeros.dtype)}


def _triangle(params: dict[str, Array]) -> Array:
    """The lower triangular factor with a positive diagonal."""
    d = params["log_diagonal"].size
    rows, columns = np.tril_indices(d, -1)
    return jnp.diag(jnp.exp(params["log_diagonal"])).at[rows, columns].set(params["lower"])


def _push_full_rank(params: dict[str, Array], near: LocalNormal, noise: Array) -> tuple[Array, Array]:
    x = near.moved(params["location"] + _triangle(params) @ noise)
    return x, _log_noise(noise) - jnp.sum(params["log_diagonal"]) - near.log_volume()


def _entropy_full_rank(params: dict[str, Array], near: LocalNormal) -> Array:
    return jnp.sum(params["log_diagonal"]) + near.log_volume() + _entropy_of_noise(near.location.size)


# -- low rank ------------------------------------------------------------------------------------------------------


@functools.cache
def _low_rank(rank: int) -> tuple[Any, Any, Any, Any]:
    """The family's functions, the same ones for one rank: they are what programs are told apart by."""

    def noise(d: int) -> int:
        if rank > d:
            raise ValueError(f"low_rank: rank must be at most the number of variables, {d}, got {rank}.")
        return d + rank

    def init(near: LocalNormal) -> dict[str, Array]:
        # In units of the conditional deviations the covariance has no eigenvalue whose excess over 1 is negative for
        # all of them; the largest excesses are what V holds best.
        factor = jnp.diag(near.factor) if near.factor.ndim == 1 else near.factor
        vectors, values, _ = jnp.linalg.svd(factor / near.scale[:, None], full_matrices=False)
        excess = jnp.sqrt(jnp.maximum(values[:rank] ** 2 - 1, 0.01))
        zeros = jnp.zeros_like(near.location)
        return {"location": zeros, "log_scale": zeros, "columns": vectors[:, :rank] * excess}

    def push(params: dict[str, Array], near: LocalNormal, noise: Array) -> tuple[Array, Array]:
        own = jnp.exp(params["log_scale"])
        columns = params["columns"]
        apart = own * noise[:-rank] + columns @ noise[-rank:]
        root = _capacitance_root(own, columns)
        half = jax.scipy.linalg.solve_triangular(root, columns.T @ (apart / own**2), lower=True)
        square = jnp.sum((apart / own) ** 2) - jnp.sum(half**2)
        volume = _volume(own, root) + jnp.sum(jnp.log(near.scale))
        return near.moved(params["location"]) + near.scale * apart, (
            -0.5 * square - own.size * _HALF_LOG_TWO_PI - volume
        )

    def entropy(params: dict[str, Array], near: LocalNormal) -> Array:
        own = jnp.exp(params["log_scale"])
        volume = _volume(own, _capacitance_root(own, params["columns"])) + jnp.sum(jnp.log(near.scale))
        return volume + _entropy_of_noise(own.size)

    return noise, init, push, entropy


def _capacitance_root(own: Array, columns: Array) -> Array:
    """The Cholesky factor of ``I + V' D^-1 V``, which the determinant and the inverse of ``D + V V'`` need."""
    inner = (columns / own[:, None]).T @ (columns / own[:, None])
    return jnp.linalg.cholesky(jnp.eye(columns.shape[1], dtype=columns.dtype) + inner)


def _volume(own: Array, root: Array) -> Array:
    """Half the logarithm of the determinant of ``D + V V'``."""
    return jnp.sum(jnp.log(own)) + jnp.sum(jnp.log(jnp.diagonal(root)))

"""Random weights: what is read off their draws, and what they make of samples.

A matrix of independent entries of mean 0 takes vectors to Gaussian features whose covariance is the vectors' own inner
product times the entries' variance, and it remembers: a vector that it has met before goes where it went before.
Orthogonal matrices do the same as their width grows.

Source: G. Yang, Tensor Programs I-III, 2019-2020.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from jaxcalc.models.criticality.fields import Layout, Outside, Sampler

__all__ = ["Matrices", "entry_variance"]

_SAME = 1e-9  # relative size of what rounding leaves of a vector that was met before


def entry_variance(draws: np.ndarray) -> np.ndarray:
    """The variance of weights ``(draws, taps, fan_in, fan_out)``, shape ``(taps,)``.

    Raises:
      Outside: for weights that are not independent entries of mean 0, which the message says.
    """
    count, _, fan_in, _ = draws.shape
    draws = np.asarray(draws, float)
    squares = draws * draws
    variance = np.mean(squares, axis=(0, 2, 3))
    whole = variance.mean()
    if not np.isfinite(whole):
        raise Outside("weights are not finite")
    if whole == 0:
        return variance
    mean = draws.mean()
    if abs(mean) > 5 * np.sqrt(whole / draws.size) and fan_in * mean**2 > 1e-3 * whole:
        raise Outside(f"weights have a mean, {mean:.3g} beside a deviation of {whole**0.5:.3g}")
    if count > 1 and count * np.mean(draws.mean(axis=0) ** 2) > (2 + 8 / np.sqrt(draws[0].size)) * whole:
        raise Outside("a matrix of parameters has the same entries for every key")
    # NumPy's powers above 2 take a hundred times as long as a product.
    if np.vdot(squares, squares) / draws.size > 0.5 * fan_in * draws.shape[1] * whole**2 and fan_in > 4:
        raise Outside(f"weights are sparse: few of {fan_in} entries make most of a sum")
    _entries_unrelated(draws[0, int(np.argmax(variance))], variance.max())
    return variance


def _entries_unrelated(matrix: np.ndarray, variance: float) -> None:
    """Refuse a matrix whose rows are related: of low rank, or symmetric."""
    rows, columns = matrix.shape
    if min(rows, columns) < 8:
        return
    gram = matrix @ matrix.T if rows <= columns else matrix.T @ matrix
    if np.sum(gram**2) > 1.6 * rows * columns * (rows + columns) * variance**2:
        raise Outside("a matrix of parameters has related rows, as one of low rank has")
    if rows == columns and abs(np.mean(matrix * matrix.T) - np.mean(np.diag(matrix) ** 2) / rows) > 0.3 * variance:
        raise Outside("a matrix of parameters is symmetric, so that gradients come back the way that signals went")


@dataclass
class _Memory:
    """An orthonormal basis of the vectors that a matrix has met, ``(rows, entries)``, and its images."""

    basis: np.ndarray
    images: np.ndarray


@dataclass
class Matrices:
    """All random matrices of a program.

    Args:
      sampler: where new directions come from.
      gain: a factor on all weights.
      remember: whether a matrix used again is to be the same one.
      transposes: whether a matrix may also be met transposed, as it is on the way back.
    """

    sampler: Sampler
    gain: float = 1.0
    remember: bool = False
    transposes: bool = True
    reused: bool = False
    memories: dict[Any, _Memory] = field(default_factory=dict)
    sides: dict[Any, set[Any]] = field(default_factory=dict)
    variances: dict[Any, np.ndarray] = field(default_factory=dict)
    inputs: dict[Any, tuple[Any, np.ndarray]] = field(default_factory=dict)

    def apply(self, draws: np.ndarray, vectors: np.ndarray, copies: int, layout: Layout) -> np.ndarray:
        """The images of vectors.

        Args:
          draws: the weights, ``(draws, taps, fan_in, fan_out)``.
          vectors: ``(rows, taps, entries)``; sums over entries are inner products.
          copies: how many independent images there are of each, as of several heads.
          layout: of an image.

        Returns:
          ``(rows, copies, layout.size)``.
        """
        key = matrix, side = self._key(draws)
        if matrix not in self.variances:
            self.variances[matrix] = entry_variance(draws)
        variance = self.gain**2 * self.variances[matrix]
        rows, middle = vectors.shape[0], vectors[:, vectors.shape[1] // 2]
        partners = self.inputs.pop(matrix, (side, middle))
        if partners[0] == side:
            self.inputs[matrix] = side, middle
        # Taps in another order, as on the way back, have other variances unless all are equal.
        if variance.size > 1 and np.ptp(variance) > 0:
            variance = self.gain**2 * entry_variance(draws)
        vectors = (vectors * np.sqrt(variance)[:, None]).reshape(rows, -1)
        zero = np.zeros((rows, copies, layout.size))
        if not np.any(vectors):
            return zero
        if not np.all(np.isfinite(vectors)):
            raise Outside("what reaches a layer is not finite")
        memory = self.memories.get(key) if self.remember else None
        images, rest = zero, vectors
        if memory is not None:
            if memory.basis.shape[1] != vectors.shape[1]:
                raise Outside("the same weights act on the input and on what is computed from it")
            met = vectors @ memory.basis.T
            images, rest = np.tensordot(met, memory.images, 1), vectors - met @ memory.basis
        sizes, directions = np.linalg.eigh(rest @ rest.T)
        new = sizes > _SAME * np.sum(vectors**2) / rows
        if not np.any(new):
            return images
        controls = vectors if vectors.shape[1] == layout.size and rows <= 64 else None
        fresh = [self.sampler.white(rows, layout, controls, partners[1]) for _ in range(copies)]
        lengths, directions = np.sqrt(sizes[new]), directions[:, new]
        # A symmetric root leaves each row the noise that was spread for it.
        fresh = np.tensordot(directions.T, np.stack(fresh, axis=1), 1)
        images = images + np.tensordot(directions * lengths, fresh, 1)
        if self.remember:
            basis = (directions.T @ rest) / lengths[:, None]
            self.memories[key] = _Memory(
                basis if memory is None else np.concatenate([memory.basis, basis]),
                fresh if memory is None else np.concatenate([memory.images, fresh]),
            )
        return images

    def _key(self, draws: np.ndarray) -> Any:
        """What matrix this is, and from which side it is met, however its axes are ordered."""
        one = np.asarray(draws[0], float)
        digits = lambda number: float(f"{number:.6e}")
        matrix = (one.size, digits(np.sum(np.abs(one))), digits(np.max(np.abs(one))))
        side = digits(np.sum(np.sum(one**2, axis=(0, 2)) ** 2)), one.shape[1]
        sides = self.sides.setdefault(matrix, set())
        self.reused |= side in sides
        sides.add(side)
        if len(sides) > 1 and not self.transposes:
            raise Outside("the same weights act both as they are and transposed")
        return matrix, side

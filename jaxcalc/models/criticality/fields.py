"""What a wide random network holds, in place of its arrays.

An array with an axis of features, each an independent draw of one law, becomes a ``Field``: that axis holds samples of
the law, all others are as they were. What does not depend on the draw is ``Known``; parameters, and what is computed
from them, are ``Drawn``: some actual draws, along a leading axis.
"""

import itertools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import special
from scipy.stats import qmc

__all__ = ["Drawn", "Field", "Known", "Layout", "Outside", "Sampler", "Split"]


class Outside(Exception):
    """The theory does not cover a model; the message says why."""


class Split(Exception):
    """Features are told apart by their place: those of this width are to be sampled part by part."""

    def __init__(self, width: int, parts: tuple[int, ...]):
        super().__init__(f"{width} features in parts of {parts}")
        self.width, self.parts = width, parts


@dataclass(frozen=True)
class Layout:
    """How samples stand for features.

    Args:
      parts: how many features each part has; they lie one after the other, each with ``num_samples`` samples.
      num_samples: of each part.
    """

    parts: tuple[int, ...]
    num_samples: int

    @property
    def width(self) -> int:
        """How many features there are."""
        return sum(self.parts)

    @property
    def size(self) -> int:
        """How many samples stand for them."""
        return len(self.parts) * self.num_samples

    @property
    def weights(self) -> np.ndarray:
        """How many features each sample stands for."""
        return np.repeat(np.array(self.parts, float) / self.num_samples, self.num_samples)


@dataclass(frozen=True, eq=False)
class Known:
    """An array that does not depend on the draw; ``data`` if it depends on the model's input."""

    array: Any
    data: bool = False


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws of an array along a leading axis, made from parameters (and from the input, if ``data``)."""

    array: Any
    data: bool = False


@dataclass(frozen=True, eq=False)
class Field:
    """Samples of features along one axis.

    Where features have been shaped into ``(groups, members)``, as attention's heads are, each sample is one member of a
    group of its own: the axis of groups holds the samples, and that of members has one entry for all of them.

    Args:
      array: float64.
      axis: of the samples.
      layout: what they stand for.
      members: the axis of a group's members, if there is one.
      group_size: how many members a group has.
    """

    array: Any
    axis: int
    layout: Layout
    members: int | None = None
    group_size: int = 1

    def like(self, array: Any) -> "Field":
        """Another array of the same axes."""
        return replace(self, array=array)

    def moved(self, array: Any, place: dict[int, int]) -> "Field":
        """The array after its axes have gone to new places."""
        members = None if self.members is None else place[self.members]
        return replace(self, array=array, axis=place[self.axis], members=members)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the program sees."""
        shape = list(self.array.shape)
        shape[self.axis] = self.layout.width // self.group_size
        if self.members is not None:
            shape[self.members] = self.group_size
        return tuple(shape)


class Sampler:
    """The one source of samples: white noise for random matrices, and places for what is known feature by feature.

    Args:
      num_samples: of each part of the features; a power of two.
      parts: widths whose features have to be sampled in parts, with the parts.
      seed: of the random shifts and orders.
    """

    def __init__(self, num_samples: int, parts: dict[int, tuple[int, ...]], seed: int = 0):
        self.num_samples, self.parts = num_samples, parts
        self._numbers = np.random.default_rng(seed)
        self._seed = seed
        # Equally likely pieces of the normal law, by their medians: one-dimensional means are quadratures.
        normal = special.ndtri((np.arange(num_samples) + 0.5) / num_samples)
        self._normal = normal / np.sqrt(np.mean(normal**2))
        bits = num_samples.bit_length() - 1
        ranks = np.arange(num_samples)
        self._reversed = np.sum([((ranks >> bit) & 1) << (bits - 1 - bit) for bit in range(bits)], axis=0)
        self._places: dict[Any, Any] = {}

    def layout(self, width: int) -> Layout:
        """The layout of features of a width."""
        return Layout(self.parts.get(width, (width,)), self.num_samples)

    def white(
        self,
        rows: int,
        layout: Layout,
        controls: np.ndarray | None = None,
        partners: np.ndarray | None = None,
    ) -> np.ndarray:
        """Standard normal samples, ``(rows, layout.size)``, uncorrelated with each other and with the controls.

        Each row is spread evenly over the values of its partner too, so that means of products of the two are
        quadratures in the plane.
        """
        count = len(layout.parts)
        if partners is not None and partners.shape == (rows, layout.size):
            parts = [self._paired(piece) for piece in np.split(partners, count, axis=1)]
            # Partners that agree, as inputs that a deep network no longer tells apart, may make rows agree.
            parts = [part if _independent(part) else self._white(rows) for part in parts]
        else:
            parts = [self._white(rows) for _ in range(count)]
        if controls is not None and controls.shape[1] == layout.size:
            parts = [_cleared(part, piece) for part, piece in zip(parts, np.split(controls, count, axis=1))]
        return np.concatenate([_whitened(part) for part in parts], axis=1)

    def _white(self, rows: int) -> np.ndarray:
        if 1 < rows <= 16:
            points = qmc.Sobol(rows, scramble=False).random(self.num_samples).T
            # Shifted by bits, points stay one to a piece; and fields of different layers must not share their order.
            shifts = self._numbers.integers(self.num_samples, size=(rows, 1))
            ranks = np.round(points * self.num_samples).astype(int) ^ shifts
            return self._normal[ranks][:, self._numbers.permutation(self.num_samples)]
        return np.stack([self._numbers.permutation(self._normal) for _ in range(rows)])

    def _paired(self, partners: np.ndarray) -> np.ndarray:
        """A Hammersley net between the ranks of each row and of its partner, scrambled for each row by itself."""
        samples = np.empty_like(partners)
        for row, partner in enumerate(partners):
            order = np.lexsort((self._numbers.random(self.num_samples), partner))
            samples[row, order] = self._normal[self._reversed[self._scrambled_ranks()]]
        return samples

    def _scrambled_ranks(self) -> np.ndarray:
        """Ranks whose digits are shifted at random, each by a number of its own for all that the digits before it say.

        One shift for all ranks would make rows whose partners agree functions of each other.
        """
        shifts = np.zeros(1, int)  # of the digits so far
        for _ in range(self.num_samples.bit_length() - 1):
            digits = self._numbers.integers(2, size=len(shifts))
            shifts = np.repeat(2 * shifts + digits, 2)
        return np.arange(self.num_samples) ^ shifts

    def places(self, layout: Layout, draws: int) -> tuple[np.ndarray, np.ndarray]:
        """For each sample a draw and a feature, the same whenever asked for: features keep their identity."""
        if (layout, draws) not in self._places:
            numbers = np.random.default_rng([self._seed, draws, *layout.parts])
            starts = itertools.accumulate(layout.parts, initial=0)
            count = layout.num_samples
            features = [
                start + numbers.permutation(np.arange(count) * part // count)
                for start, part in zip(starts, layout.parts)
            ]
            self._places[layout, draws] = numbers.integers(draws, size=layout.size), np.concatenate(features)
        return self._places[layout, draws]

    def resampled(self, value: Known | Drawn, axis: int, layout: Layout) -> Field:
        """The field that has known or drawn features along an axis: means and variances kept, masks as they are."""
        array = np.asarray(value.array)
        is_mask = array.dtype == np.bool_
        array = array if is_mask else array.astype(float)
        array = array[None] if isinstance(value, Known) else array
        array = np.moveaxis(array, axis + 1, -1)
        seeds, features = self.places(layout, array.shape[0])
        taken = np.moveaxis(array, 0, -2)[..., seeds, features]
        if is_mask:
            return Field(np.moveaxis(taken, -1, axis), axis, layout)
        borders = list(itertools.accumulate(layout.parts, initial=0))
        pieces = []
        for number, piece in enumerate(np.split(taken, len(layout.parts), axis=-1)):
            whole = array[..., borders[number] : borders[number + 1]]
            mean, spread = whole.mean(axis=(0, -1))[..., None], whole.std(axis=(0, -1))[..., None]
            own = piece.std(axis=-1, keepdims=True)
            scale = np.where(own > 0, spread / np.where(own > 0, own, 1.0), 1.0)
            pieces.append(mean + scale * (piece - piece.mean(axis=-1, keepdims=True)))
        return Field(np.moveaxis(np.concatenate(pieces, axis=-1), -1, axis), axis, layout)

    def fellows(self, layout: Layout, group_size: int) -> np.ndarray:
        """For each sample those that form a group with it, itself first: ``(group_size, layout.size)``."""
        key = ("fellows", layout, group_size)
        if key not in self._places:
            numbers = np.random.default_rng([self._seed, group_size, *layout.parts])
            orders = [np.arange(layout.size), *(numbers.permutation(layout.size) for _ in range(group_size - 1))]
            self._places[key] = np.stack(orders)
        return self._places[key]


def _cleared(samples: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Samples without what is linear in the controls, which independent ones do not have."""
    controls = controls - controls.mean(axis=1, keepdims=True)
    gram = controls @ controls.T
    if not np.trace(gram) > 0:
        return samples
    return samples - (samples @ controls.T) @ np.linalg.pinv(gram, rcond=1e-10, hermitian=True) @ controls


def _independent(samples: np.ndarray) -> bool:
    """Whether no row is nearly made of others."""
    rows, count = samples.shape
    return 4 * rows > count or bool(np.linalg.eigvalsh(samples @ samples.T / count)[0] > 0.05)


def _whitened(samples: np.ndarray) -> np.ndarray:
    """Samples of mean 0 and covariance 1."""
    samples = samples - samples.mean(axis=1, keepdims=True)
    rows, count = samples.shape
    if 4 * rows > count:
        return samples / np.sqrt(np.mean(samples**2, axis=1, keepdims=True))
    factor = np.linalg.cholesky(samples @ samples.T / count)
    return np.linalg.solve(factor, samples)

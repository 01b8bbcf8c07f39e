"""A traced model, its parameters drawn, and what its signals and gradients are over draws."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcalc.models.criticality.fields import Field
from jaxcalc.models.criticality.layers import Layer, order_of_rows, with_gradients
from jaxcalc.programs import walk

__all__ = ["Measured", "Traced"]

_ENTRIES = 2e7  # parameters drawn for their variances: 0.03 % of one


class Measured(NamedTuple):
    """Over seeds, one column a row of the report."""

    signal: np.ndarray
    gradient: np.ndarray


@dataclass(frozen=True, eq=False)
class Traced:
    """A model as a program, with its layers."""

    init: Callable[..., Any]
    program: walk.Program
    inlined: walk.Program
    layers: Sequence[Layer]
    inputs: list[Any]
    num_params: int
    key: jax.Array

    def drawn(self, keys: jax.Array) -> list[jax.Array]:
        """Parameters for each of some keys."""
        # Not compiled as a whole: draws of one shape share a program this way, and a deep model has dozens.
        return jax.tree.leaves(jax.vmap(self.init)(keys))

    def at_once(self, most: int) -> int:
        """How many of ``most`` draws of the parameters are held at a time: in parts as equal as can be."""
        count = sum(value.size for value in self.program.inputs[: self.num_params])
        parts = math.ceil(most / np.clip(_ENTRIES / count, min(4, most), most))
        return math.ceil(most / parts)

    def draws(self) -> list[np.ndarray]:
        """Parameters drawn several times, the sampling noise of their variances shared by all of one shape."""
        keys = jax.random.split(jax.random.fold_in(self.key, 1), self.at_once(64))
        return _pooled([np.asarray(leaf) for leaf in self.drawn(keys)])

    def measure(self, num_seeds: int, outputs: Sequence[Any] | None) -> Measured:
        """Moments and squared norms over seeds."""
        gradients = with_gradients(self.program, self.layers)
        rows = order_of_rows(self.layers)
        inexact = [value for value in self.program.outputs if value.inexact]
        random = [True] * len(inexact) if outputs is None else [isinstance(output, Field) for output in outputs]

        def one(key, params):
            cotangents = [
                jax.random.normal(k, value.shape, value.dtype) if is_random else jnp.zeros(value.shape, value.dtype)
                for k, value, is_random in zip(jax.random.split(key, len(inexact)), inexact, random)
            ]
            computed, back = gradients([*params, *self.inputs], cotangents)
            reduced = [
                [
                    fun(jnp.square(array), axis=tuple(range(len(layer.trips), array.ndim)))
                    for array, layer in zip(arrays, self.layers)
                ]
                for fun, arrays in ((jnp.mean, computed), (jnp.sum, back))
            ]
            return [jnp.stack([arrays[number][trip] for number, trip in rows]) for arrays in reduced]

        keys = jax.random.split(self.key, num_seeds)
        size = self.at_once(num_seeds)
        # Run once or a few times: full optimisation takes three times as long to compile, and saves nothing.
        run = jax.jit(jax.vmap(one), compiler_options={"xla_backend_optimization_level": 1})
        parts = [
            run(jax.vmap(lambda key: jax.random.fold_in(key, 2))(chunk), self.drawn(chunk))
            for chunk in (keys[start : start + size] for start in range(0, num_seeds, size))
        ]
        signal, gradient = (np.concatenate([np.asarray(part[i], float) for part in parts]) for i in (0, 1))
        return Measured(signal, gradient)


def _pooled(leaves: list[np.ndarray]) -> list[np.ndarray]:
    """Draws scaled so that slices of one shape whose variances differ by chance alone have the same.

    Slices are what a loop over layers takes: the first axis where an array has more than two.
    """
    slices: list[np.ndarray] = []
    leaves = [leaf.copy() for leaf in leaves]
    for leaf in leaves:
        if np.issubdtype(leaf.dtype, np.floating) and leaf.ndim > 1:
            slices.extend([leaf[:, i] for i in range(leaf.shape[1])] if leaf.ndim > 3 else [leaf])
    groups: dict[tuple[int, ...], list[np.ndarray]] = {}
    for each in slices:
        groups.setdefault(each.shape, []).append(each)
    for members in groups.values():
        squares = np.array([np.mean(np.square(each, dtype=float)) for each in members])
        middle = np.median(squares)
        for each, square in zip(members, squares):
            noise = math.sqrt(2 / each.size)
            alike = np.abs(squares - middle) < 5 * noise * middle
            if square > 0 and abs(square - middle) < 5 * noise * middle:
                each *= math.sqrt(np.mean(squares[alike]) / square)
    return leaves

"""The history of a run: kept on the device, a row a step; labelled, drawn."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc.solvers.control import while_loop
from jaxcalc.solvers.protocol import Evaluations, Iterate

__all__ = ["HISTORY_LIMIT", "History", "Rows", "nothing"]

HISTORY_LIMIT = 2**30
"""Bytes that a history may take, all lanes together."""
BLOCK = 16
"""Steps of all lanes that are stored together."""

_SQUARED = ("gradient_norm", "step_length")
_DESCRIPTIONS = {
    "value": "value of the objective",
    "gradient_norm": "Euclidean norm of the gradient",
    "kkt_residual": "distance from stationarity, max |x - P(x - g)|",
    "step_length": "Euclidean length of the step",
    "learning_rate": "learning rate",
    "trials": "trial points of the step",
    "trust_radius": "radius of the trust region",
    "curvature": "curvature seen along the step, d'Hd / d'd",
    "damping": "what was added to the Hessian's diagonal",
    "functions": "evaluations of the function so far",
    "gradients": "evaluations of the gradient so far",
    "hvps": "Hessian-vector products so far",
    "hessians": "evaluations of the Hessian so far",
}


@dataclass(frozen=True)
class Rows:
    """Which steps are kept, and how they are written.

    Args:
      who: the function that the user called, for messages.
      every: a row for each ``every``-th step, the start among them; 0 keeps nothing.
      max_steps: the last step that may come.
    """

    who: str
    every: int
    max_steps: int

    @property
    def count(self) -> int:
        """How many rows there may be."""
        return self.max_steps // self.every + 1 if self.every else 0

    def fields(self, at: Iterate, before: Iterate | None, counts: bool) -> dict[str, Array]:
        """The numbers of one step, of one lane or (with a leading axis) all; the start has no step before it."""
        if not self.every:
            return {}
        moved = jnp.full_like(at.value, jnp.nan) if before is None else _squared(at.x - before.x)
        # Roots are taken when they are read: over thousands of lanes they take longer than the steps.
        row = {"value": at.value, "gradient_norm": _squared(at.gradient), "step_length": moved, **at.info}
        return {**row, **at.evaluations._asdict()} if counts else row

    def collect(self, step: Any, running: Any, begun: Any, first: Mapping[str, Array], lanes: int | None) -> Any:
        """Run ``state, row = step(state)`` while ``running(state)``, keeping rows.

        Args:
          begun: the first state, with a ``counter`` of steps.
          first: the start's row.

        Returns:
          The last state and the rows, name to (..., rows) with the lanes' axis in front: NaN, or -1 among integers,
          past the end. There are a few more than ``count``: whole blocks, for cutting them here would copy them.

        Raises:
          ValueError: past ``HISTORY_LIMIT``.
        """
        if not self.every:
            return while_loop(running, lambda state: step(state)[0], begun), {}
        self._check(first, lanes)
        if lanes is None:
            history = self._write(_empty(first, (self._padded,)), jnp.zeros((), jnp.int32), first)

            def body(carry: Any) -> Any:
                state, row = step(carry[0])
                return state, self._write(carry[1], self._place(state.counter), row)

            return while_loop(lambda carry: running(carry[0]), body, (begun, history))
        return self._in_blocks(step, running, begun, first, lanes)

    def _in_blocks(self, step: Any, running: Any, begun: Any, first: Mapping[str, Array], lanes: int) -> Any:
        """As ``collect``: rows of all lanes are gathered in a block that fits the cache, turned, and stored.

        Turning the whole history at the end instead takes longer than the steps do.
        """
        scratch = lambda: _empty(first, (BLOCK + 1, lanes))

        def body(carry: Any) -> Any:
            state, block, number = carry
            state, row = step(state)
            place = self._place(state.counter)
            place = jnp.where(place == self.count, BLOCK, place - number * BLOCK)
            return state, self._write(block, place, row), number

        def inside(carry: Any) -> Array:
            state, _, number = carry
            return running(state) & ((state.counter + 1) // self.every // BLOCK == number)

        def stored(carry: Any) -> Any:
            state, block, number, history = carry
            state, block, _ = while_loop(inside, body, (state, block, number))
            for name, entries in block.items():
                place = (jnp.zeros_like(number), number * BLOCK)
                history = {**history, name: jax.lax.dynamic_update_slice(history[name], entries[:BLOCK].T, place)}
            return state, scratch(), number + 1, history

        begin = self._write(scratch(), jnp.zeros((), jnp.int32), first)
        carry = (begun, begin, jnp.zeros((), jnp.int32), _empty(first, (lanes, self._padded)))
        unfinished = lambda carry: running(carry[0]) | (carry[2] == 0)
        state, _, _, history = while_loop(unfinished, stored, carry)
        return state, history

    @property
    def _padded(self) -> int:
        """Whole blocks, and at least one row that is not kept."""
        return (self.count // BLOCK + 1) * BLOCK

    def _place(self, step: Array) -> Array:
        """The row of a step; one past the last takes what falls between two kept steps."""
        return step if self.every == 1 else jnp.where(step % self.every == 0, step // self.every, self.count)

    def _write(self, rows: Mapping[str, Array], place: Array, row: Mapping[str, Array]) -> dict[str, Array]:
        return {name: jax.lax.dynamic_update_index_in_dim(rows[name], row[name], place, 0) for name in rows}

    def _check(self, example: Mapping[str, Array], lanes: int | None) -> None:
        wanted = self.count * (lanes or 1) * sum(leaf.dtype.itemsize for leaf in example.values())
        if wanted > HISTORY_LIMIT:
            where = f" in {lanes} lanes" if lanes else ""
            raise ValueError(
                f"{self.who}: a history of {self.count} steps{where} takes {wanted / 2**20:.0f} MiB, more than the "
                f"{HISTORY_LIMIT / 2**20:.0f} MiB allowed; lower max_steps or keep every k-th step by "
                f'history="every k".'
            )


def _empty(example: Mapping[str, Array], shape: tuple[int, ...]) -> dict[str, Array]:
    """Rows without entries."""
    return {name: jnp.full(shape, nothing(leaf), leaf.dtype) for name, leaf in example.items()}


def nothing(leaf: Array) -> float | int:
    """What stands where there is no entry: NaN, or -1 among integers."""
    return jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else -1


def _squared(x: Array) -> Array:
    """The squared norm along the last axis."""
    if x.ndim == 1:
        return jnp.vdot(x, x)
    if x.shape[-1] > 8:
        return jnp.sum(x**2, axis=-1)
    return functools.reduce(jnp.add, (x[..., i] ** 2 for i in range(x.shape[-1])))  # vectorised over lanes


@dataclass(frozen=True)
class History:
    """What happened at each kept step: the start is step 0; steps after a lane's end are NaN, -1 among integers.

    Args:
      padded: name to (..., rows), norms squared, with rows that mean nothing at the end; ``history[name]`` takes roots
        and leaves them out.
      every: rows are that many steps apart.
      count: how many rows there are.
      costs: evaluations a step where they are always the same; their counts are then computed when asked for.
    """

    padded: dict[str, Any]
    every: int
    count: int
    costs: Evaluations | None = None

    def __getitem__(self, name: str) -> Any:
        """One of the rows, or a count of evaluations.

        Raises:
          KeyError: names those that there are.
        """
        if name in self.padded:
            kept = self.padded[name][..., : self.count]
            return jnp.sqrt(kept) if name in _SQUARED else kept
        if self.costs is not None and name in Evaluations._fields:
            # Every step has a length, a diverging one too; the start took as much as a step.
            reached = ~jnp.isnan(self["step_length"]) | (self.steps == 0)
            return jnp.where(reached, getattr(self.costs, name) * (1 + self.steps), -1).astype(jnp.int32)
        raise KeyError(f"this history has no {name!r}; it has: {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """What there is."""
        return (*self.padded, *(Evaluations._fields if self.costs is not None else ()))

    @property
    def steps(self) -> np.ndarray:
        """The step of each row, (rows,)."""
        return self.every * np.arange(self.count)

    def dataset(self) -> Any:
        """An ``xarray.Dataset`` over ``step``, and ``lane``, ``lane_1``... for further axes, without steps that no
        lane reached."""
        import xarray

        arrays = {name: np.asarray(self[name]) for name in self.names}
        value = arrays["functions"]
        reached = np.flatnonzero((value >= 0).reshape(-1, value.shape[-1]).any(axis=0))
        length = int(reached[-1]) + 1 if reached.size else 0
        axes = ["lane" if i == 0 else f"lane_{i}" for i in range(value.ndim - 1)]
        return xarray.Dataset(
            {
                name: ((*axes, "step"), row[..., :length], {"description": _DESCRIPTIONS.get(name, name)})
                for name, row in arrays.items()
            },
            coords={"step": self.steps[:length]},
        )

    def plot(self, *names: str) -> Any:
        """A figure of the named rows over the steps, one panel each; by default value, gradient norm and step
        length."""
        from jaxcalc import style

        data = self.dataset()
        chosen = names or ("value", "gradient_norm", "step_length")
        for name in chosen:
            self[name]
        figure, axes = style.subplots(1, len(chosen), width=2.2 * len(chosen) + 1.0, height=2.6)
        for panel, name in zip(np.ravel(axes), chosen):
            lines = data[name].values.reshape(-1, data.sizes["step"])[:20]
            panel.plot(data.step.values, lines.T, lw=1.0)
            positive = lines[np.isfinite(lines)]
            if positive.size and positive.min() > 0 and positive.max() > 30 * positive.min():
                panel.set_yscale("log")
            panel.set_xlabel("step")
            panel.set_ylabel(_DESCRIPTIONS.get(name, name))
        return figure


jax.tree_util.register_dataclass(History, data_fields=["padded"], meta_fields=["every", "count", "costs"])

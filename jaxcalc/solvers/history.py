"""The history of a run: kept on the device, a row a step; labelled, drawn."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxcalc.solvers.protocol import Iterate

__all__ = ["HISTORY_LIMIT", "History", "Rows"]

HISTORY_LIMIT = 2**30
"""Bytes that a history may take, all lanes together."""

_DESCRIPTIONS = {
    "value": "value of the objective",
    "gradient_norm": "Euclidean norm of the gradient",
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
      every: a row for each ``every``-th step, the start among them; 0 keeps nothing.
      max_steps: the last step that may come.
    """

    every: int
    max_steps: int

    @property
    def count(self) -> int:
        """How many rows there may be."""
        return self.max_steps // self.every + 1 if self.every else 0

    def fields(self, at: Iterate, before: Iterate | None = None) -> dict[str, Array]:
        """The numbers of one step, of one lane or (with a leading axis) all; the start has no step before it."""
        if not self.every:
            return {}
        length = jnp.full_like(at.value, jnp.nan) if before is None else _norm(at.x - before.x)
        row = {"value": at.value, "gradient_norm": _norm(at.gradient), "step_length": length}
        return {**row, **at.info, **at.evaluations._asdict()}

    def allocate(self, example: Mapping[str, Array], lanes: int | None) -> dict[str, Array]:
        """Empty rows: NaN, or -1 among integers.

        Raises:
          ValueError: past ``HISTORY_LIMIT``.
        """
        if not self.every:
            return {}
        wanted = self.count * (lanes or 1) * sum(leaf.dtype.itemsize for leaf in example.values())
        if wanted > HISTORY_LIMIT:
            raise ValueError(
                f"minimize: a history of {self.count} steps"
                + (f" in {lanes} lanes" if lanes else "")
                + f" takes {wanted / 2**20:.0f} MiB, "
                f"more than the {HISTORY_LIMIT / 2**20:.0f} MiB allowed; lower max_steps or keep every k-th step by "
                f'history="every k".'
            )
        # One row more than is kept takes what falls between two kept steps.
        empty = lambda leaf: jnp.nan if jnp.issubdtype(leaf.dtype, jnp.floating) else -1
        return {
            name: jnp.full((self.count + 1, *leaf.shape), empty(leaf), leaf.dtype) for name, leaf in example.items()
        }

    def write(self, rows: Mapping[str, Array], step: Array, row: Mapping[str, Array]) -> dict[str, Array]:
        """The rows with one more."""
        if not self.every:
            return {}
        place = (
            step // self.every if self.every == 1 else jnp.where(step % self.every == 0, step // self.every, self.count)
        )
        return {name: jax.lax.dynamic_update_index_in_dim(rows[name], row[name], place, 0) for name in rows}

    def finish(self, rows: Mapping[str, Array]) -> dict[str, Array]:
        """The rows with the lanes' axis, if any, in front."""
        return {name: jnp.moveaxis(leaf[: self.count], 0, -1) for name, leaf in rows.items()}


def _norm(x: Array) -> Array:
    return jnp.sqrt(jnp.sum(x**2, axis=-1))


@dataclass(frozen=True)
class History:
    """What happened at each kept step: the start is step 0; steps after a lane's end are NaN, -1 among integers.

    Args:
      rows: name to (..., rows).
      every: rows are that many steps apart.
    """

    rows: dict[str, Any]
    every: int

    def __getitem__(self, name: str) -> Any:
        if name not in self.rows:
            raise KeyError(f"this history has no {name!r}; it has: {', '.join(self.rows)}")
        return self.rows[name]

    @property
    def steps(self) -> np.ndarray:
        """The step of each row, (rows,)."""
        return self.every * np.arange(next(iter(self.rows.values())).shape[-1])

    def dataset(self) -> Any:
        """An ``xarray.Dataset`` over ``step``, and ``lane``, ``lane_1``... for further axes, without steps that no
        lane reached."""
        import xarray

        arrays = {name: np.asarray(row) for name, row in self.rows.items()}
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
        chosen = names or tuple(name for name in ("value", "gradient_norm", "step_length") if name in self.rows)
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


jax.tree_util.register_dataclass(History, data_fields=["rows"], meta_fields=["every"])

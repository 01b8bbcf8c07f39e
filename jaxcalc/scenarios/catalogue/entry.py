"""An entry of the catalogue, and how a file writes its entries down: one row a case, grouped by family.

    JACOBIANS = {
        "solve": [
            tuned("linear solve", _solve, size=60, dtype="float64", tags=["dense"], closed_form=True),
            held_out("implicit diffusion step", _implicit_step, nodes=100, tags=["solve", "while"]),
        ],
    }
    CASES = collect("jacobian", JACOBIANS)

A row names the case and its builder; ``dtype`` (float32 where unsaid), ``tags`` and ``closed_form`` are the case's, all
other keywords are the builder's.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np

from jaxcalc.scenarios.scenario import Scenario

__all__ = ["Case", "Dtype", "Operator", "Split", "collect", "held_out", "tuned"]

Operator = Literal["jacobian", "hessian", "laplacian"]
Split = Literal["tuned", "held out"]
Dtype = Literal["float32", "float64"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """An entry of the catalogue: nothing is drawn or traced before ``build``.

    Args:
      name: short, plain and unique.
      family: what it is a member of; every family has members in both splits.
      operator: the derivative that is asked for; of a Hessian also the diagonal or the trace.
      split: a planner may be fitted to ``"tuned"`` ones, ``"held out"`` ones judge it.
      builder: ``builder(rng, **choices)`` draws a ``Scenario`` in numpy; its docstring has the formula.
      choices: what the builder is told, sizes above all, as pairs.
      dtype: of ``x`` and of every floating-point constant.
      tags: shape (``"tall"``, ``"wide"``), structure (``"banded"``, ``"block diagonal"``), what the program holds
        (``"scan"``, ``"while"``, ``"kink"``); ``"custom vjp"`` where only reverse mode exists and ``"surrogate"``
        where the rule is meant not to be the derivative.
      closed_form: whether what is built has its derivative in closed form.
    """

    name: str
    family: str
    operator: Operator
    split: Split
    builder: Callable[..., Scenario]
    choices: tuple[tuple[str, Any], ...]
    dtype: Dtype
    tags: tuple[str, ...]
    closed_form: bool

    @property
    def formula(self) -> str:
        """What is computed, in words and symbols."""
        return (self.builder.__doc__ or "").partition("Source:")[0].strip()

    @property
    def source(self) -> str:
        """Where the problem comes from; empty where it is folklore."""
        return " ".join((self.builder.__doc__ or "").partition("Source:")[2].split())

    def build(self, dtype: Dtype | None = None, **choices: Any) -> Scenario:
        """The scenario, the same at every call.

        Args:
          dtype: in place of the case's own, for example ``"float64"`` for a reference answer.
          choices: in place of the case's own, for example another size.

        Raises:
          RuntimeError: for ``"float64"`` while JAX would silently make it ``float32``.
        """
        import jax
        import jax.numpy as jnp

        chosen = np.dtype(dtype or self.dtype)
        if chosen == np.float64 and jnp.result_type(float) != np.float64:
            raise RuntimeError(
                f"Case.build: {self.name!r} is to be built in float64, but JAX is in single precision. "
                "Call it within jax.enable_x64(True)."
            )
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        made = self.builder(rng, **(dict(self.choices) | choices))

        def cast(leaf: Any) -> Any:
            array = np.asarray(leaf)
            match array.dtype.kind:
                case "f":
                    return jax.device_put(array.astype(chosen))  # jnp.asarray would compile a copy for every shape
                case "c":
                    return jax.device_put(array.astype(np.result_type(chosen, np.complex64)))
                case "i" | "u":
                    return jax.device_put(array.astype(np.int32))
                case _:
                    return jax.device_put(array)

        return replace(made, x=jax.tree.map(cast, made.x), constants=jax.tree.map(cast, made.constants))


def _row(
    split: Split,
    name: str,
    builder: Callable[..., Scenario],
    /,
    *,
    dtype: Dtype = "float32",
    tags: Sequence[str] = (),
    closed_form: bool = False,
    **choices: Any,
) -> partial[Case]:
    """A case that lacks its family and operator; what has no name here is a choice of the builder."""
    return partial(
        Case,
        split=split,
        name=name,
        builder=builder,
        choices=tuple(choices.items()),
        dtype=dtype,
        tags=tuple(tags),
        closed_form=closed_form,
    )


tuned = partial(_row, "tuned")
held_out = partial(_row, "held out")


def collect(operator: Operator, families: Mapping[str, Sequence[partial[Case]]]) -> tuple[Case, ...]:
    """The cases of whole families, by name, that ask for one operator, in the order of the rows."""
    return tuple(row(family=family, operator=operator) for family, rows in families.items() for row in rows)

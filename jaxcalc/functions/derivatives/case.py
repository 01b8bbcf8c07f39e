"""What a test problem of differentiation is: a case in the catalogue, and the instance that it builds."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

__all__ = ["Case", "Dtype", "Instance", "Operator", "Size", "Split", "hessian", "jacobian", "laplacian"]

Operator = Literal["jacobian", "hessian", "laplacian"]
Split = Literal["tuned", "held out"]
Dtype = Literal["float32", "float64"]
Size = Literal["small", "large"]


@dataclass(frozen=True)
class Instance:
    """A function and the point to differentiate it at.

    Args:
      fun: ``fun(x, *constants)``, differentiated in ``x``; an array or a PyTree for a Jacobian, a scalar otherwise.
      x: where it is evaluated, an array or a PyTree of arrays.
      constants: what else it takes. They are arguments, since XLA computes with closed-over arrays at compile time.
      derivative: the closed form ``derivative(x, *constants)`` in numpy, where there is one: of shape
        ``output.shape + x.shape`` for a Jacobian, ``x.shape + x.shape`` for a Hessian, a scalar for a Laplacian.
      num_nonzeros: entries of the Jacobian or the Hessian that do not vanish at a generic point, where known.
    """

    fun: Callable[..., Any]
    x: Any
    constants: tuple[Any, ...] = ()
    derivative: Callable[..., Any] | None = None
    num_nonzeros: int | None = None

    @property
    def arguments(self) -> tuple[Any, ...]:
        """All that ``fun`` takes, the differentiated input first."""
        return (self.x, *self.constants)

    @property
    def num_inputs(self) -> int:
        """n, the number of scalars that are differentiated in."""
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(self.x))

    @property
    def num_outputs(self) -> int:
        """m, the number of scalars that come out."""
        import jax

        return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(self.fun, *self.arguments)))

    def unary(self, x: Any) -> Any:
        """``fun`` with its constants closed over."""
        return self.fun(x, *self.constants)


@dataclass(frozen=True)
class Case:
    """An entry of the catalogue: nothing is drawn or traced before ``build``.

    Args:
      name: short, plain and unique.
      family: what it is a member of; every family has members in both splits.
      operator: the derivative that is asked for.
      split: a planner may be fitted to ``"tuned"`` ones, ``"held out"`` ones judge it.
      dtype: of ``x`` and of every floating-point constant.
      size: ``"large"`` from 200 inputs or outputs on.
      builder: ``builder(rng, **choices)`` draws an ``Instance`` in numpy; its docstring has the formula.
      choices: what the builder is told, as pairs.
      tags: shape (``"tall"``, ``"wide"``), structure (``"banded"``, ``"block diagonal"``), what the program holds
        (``"scan"``, ``"while"``, ``"kink"``); ``"custom vjp"`` where only reverse mode exists and ``"surrogate"``
        where the rule is meant not to be the derivative.
    """

    name: str
    family: str
    operator: Operator
    split: Split
    dtype: Dtype
    size: Size
    builder: Callable[..., Instance]
    choices: tuple[tuple[str, Any], ...] = ()
    tags: tuple[str, ...] = ()

    @property
    def formula(self) -> str:
        """What is computed, in words and symbols."""
        return (self.builder.__doc__ or "").partition("Source:")[0].strip()

    @property
    def source(self) -> str:
        """Where the problem comes from; empty where it is folklore."""
        return " ".join((self.builder.__doc__ or "").partition("Source:")[2].split())

    def build(self, dtype: Dtype | None = None) -> Instance:
        """The instance, the same at every call.

        Args:
          dtype: in place of the case's own, for example ``"float64"`` for a reference answer.

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
        made = self.builder(np.random.default_rng(zlib.crc32(self.name.encode())), **dict(self.choices))

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


def jacobian(
    name: str, family: str, split: Split, dtype: Dtype, size: Size, builder: Callable, /, *tags: str, **choices: Any
) -> Case:
    """A case whose Jacobian is asked for."""
    return Case(name, family, "jacobian", split, dtype, size, builder, tuple(choices.items()), tags)


def hessian(
    name: str, family: str, split: Split, dtype: Dtype, size: Size, builder: Callable, /, *tags: str, **choices: Any
) -> Case:
    """A case whose Hessian (or its diagonal, or its trace) is asked for."""
    return Case(name, family, "hessian", split, dtype, size, builder, tuple(choices.items()), tags)


def laplacian(
    name: str, family: str, split: Split, dtype: Dtype, size: Size, builder: Callable, /, *tags: str, **choices: Any
) -> Case:
    """A case whose Laplacian is asked for."""
    return Case(name, family, "laplacian", split, dtype, size, builder, tuple(choices.items()), tags)

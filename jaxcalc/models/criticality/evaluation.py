"""A primitive applied to arrays in double precision, by NumPy where it can be: nothing is compiled for a shape."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcalc.models.criticality.fields import Outside
from jaxcalc.programs import elementwise
from jaxcalc.programs.walk import Equation
from jaxcalc.transforms.interpreter import bind

__all__ = ["as_numpy", "bound", "broadcast", "named", "on_fields", "typed"]


def _in_double(array: Any) -> Any:
    """Floating-point numbers in double precision."""
    if isinstance(array, (float, int, bool)):
        return array
    if jnp.issubdtype(jnp.result_type(array), jax.dtypes.extended):
        return array
    if jnp.issubdtype(jnp.result_type(array), jnp.complexfloating):
        raise Outside("complex numbers")
    if not jnp.issubdtype(jnp.result_type(array), jnp.floating):
        return array
    return array.astype(jnp.float64) if isinstance(array, Tracer) else np.asarray(array, np.float64)


def bound(equation: Equation, arrays: Sequence[Any], **changed: Any) -> list[Any]:
    """An equation's primitive on arrays of double precision, with some parameters changed."""
    params = equation.params
    if equation.name == "convert_element_type" and jnp.issubdtype(params["new_dtype"], jnp.floating):
        changed["new_dtype"] = jnp.dtype("float64")
    if params.get("preferred_element_type") is not None:
        changed["preferred_element_type"] = None
    if equation.name == "iota" and jnp.issubdtype(params["dtype"], jnp.floating):
        changed["dtype"] = jnp.dtype("float64")
    if changed:
        equation = Equation(
            equation.name, equation.inputs, equation.outputs, {**params, **changed}, None, equation.primitive
        )
    arrays = [typed(array, value) for array, value in zip(arrays, equation.inputs)]
    if all(isinstance(array, np.ndarray | np.generic) for array in arrays) and equation.name in _NUMPY:
        return [_NUMPY[equation.name](equation.params, *arrays)]
    return bind(equation, *arrays)


def as_numpy(array: Any) -> Any:
    return array if jnp.issubdtype(array.dtype, jax.dtypes.extended) else np.asarray(array)


def broadcast(array: Any, shape: Sequence[int], dims: Sequence[int]) -> np.ndarray:
    """``lax.broadcast_in_dim``."""
    sizes = [1] * len(shape)
    for size, axis in zip(np.shape(array), dims):
        sizes[axis] = size
    return np.broadcast_to(np.reshape(array, sizes), shape)


# What programs consist of, without a compilation for each shape.
_NUMPY: dict[str, Callable[..., Any]] = {
    **{
        name: lambda params, *arrays, fun=fun: fun(*arrays)
        for name, fun in {**elementwise.EXACT, **elementwise.ARITHMETIC, **elementwise.ROUNDED}.items()
    },
    "copy": lambda params, x: x,
    "one_minus_square": lambda params, x: 1 - x * x,
    "broadcast_in_dim": lambda params, x: broadcast(x, params["shape"], params["broadcast_dimensions"]),
    "convert_element_type": lambda params, x: x.astype(params["new_dtype"]),
    "div": lambda params, x, y: x / y if np.issubdtype(x.dtype, np.floating) else (np.fix(x / y)).astype(x.dtype),
    "integer_pow": lambda params, x: x ** float(params["y"]),
    "reduce_max": lambda params, x: np.max(x, axis=tuple(params["axes"])),
    "reduce_sum": lambda params, x: np.sum(x, axis=tuple(params["axes"])),
    "reshape": lambda params, x: np.reshape(x, params["new_sizes"]),
    "select_n": lambda params, which, *cases: (
        np.where(which, cases[1], cases[0]) if which.dtype == bool else np.choose(which, cases)
    ),
    "squeeze": lambda params, x: np.squeeze(x, tuple(params["dimensions"])),
    "transpose": lambda params, x: np.transpose(x, params["permutation"]),
}


def on_fields(equation: Equation, arrays: Sequence[Any], **changed: Any) -> list[np.ndarray]:
    return [np.asarray(array) for array in bound(equation, arrays, **changed)]


def typed(array: Any, value: Any) -> Any:
    array = _in_double(array)
    if value.inexact and not hasattr(array, "dtype"):
        return np.asarray(array, np.float64)
    if value.inexact and array.dtype == jax.dtypes.float0:
        return np.zeros(array.shape)
    return _concrete(array) if hasattr(array, "dtype") else np.asarray(array, value.dtype)


def _concrete(array: Any) -> Any:
    """A NumPy array, but for keys and what is being vmapped."""
    if isinstance(array, Tracer) or jnp.issubdtype(array.dtype, jax.dtypes.extended):
        return array
    return np.asarray(array)


def named(equation: Equation) -> str:
    return f"the primitive {equation.name}"

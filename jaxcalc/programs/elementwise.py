"""What elementwise primitives compute, as NumPy and SciPy compute it: ``name -> function of arrays``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

__all__ = ["ARITHMETIC", "EXACT", "ROUNDED"]

# The same bits whoever computes them.
EXACT: dict[str, Callable[..., Any]] = {
    "neg": np.negative, "abs": np.abs, "sign": np.sign, "floor": np.floor, "ceil": np.ceil, "is_finite": np.isfinite,
    "max": np.maximum, "min": np.minimum, "real": np.real, "imag": np.imag, "conj": np.conj,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "clamp": lambda low, x, high: np.minimum(np.maximum(x, low), high),
}  # fmt: skip

# Exact for integers, and for floating-point numbers that are whole and small.
ARITHMETIC: dict[str, Callable[..., Any]] = {
    "add": np.add, "add_any": np.add, "sub": np.subtract, "mul": np.multiply, "square": np.square,
}  # fmt: skip

# Rounded as NumPy rounds, which need not be as XLA does.
ROUNDED: dict[str, Callable[..., Any]] = {
    "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan,
    "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
    "exp": np.exp, "exp2": np.exp2, "log": np.log, "expm1": np.expm1, "log1p": np.log1p, "sqrt": np.sqrt,
    "cbrt": np.cbrt, "atan2": np.arctan2, "pow": np.power, "rsqrt": lambda x: 1 / np.sqrt(x),
    "logistic": special.expit, "erf": special.erf, "erfc": special.erfc, "erf_inv": special.erfinv,
    "lgamma": special.gammaln, "digamma": special.digamma, "nextafter": np.nextafter,
}  # fmt: skip

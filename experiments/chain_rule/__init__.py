"""Do the rules of differentiation hold, to rounding, and what do textbook examples come to?

Every rule as a hand-written formula against automatic differentiation (``rules``), worked examples
against what is printed of them (``examples``), compositions of fifty layers as products of local
derivatives (``chain``), and what a derivative is in the first place: a limit, a tangent, a sign, a
stationary point (``foundations``).
"""

import functools
import math

TABLE = ("xn", "exp", "ln", "sin", "cos", "sigmoid", "tanh", "relu", "abs", "ax", "loga")
"""The reference table of derivatives, in the order in which it is printed."""

_NAMED = {  # entries that the library calls otherwise, with their parameters
    "xn": ("cube", {}),
    "ln": ("log", {}),
    "ax": ("exponential", {"a": 2.5}),
    "loga": ("logarithm", {"a": 2.5}),
}
_BESIDE_KINK = (-4, 1.3 * math.pi)  # no point between is the kink at 0
_ENDS = {
    "xn": (0.3, 3),
    "ln": (0.2, 4),
    "loga": (0.2, 4),
    **dict.fromkeys(("relu", "abs"), _BESIDE_KINK),
}


def table_entry(name):
    """An entry of the table: (function, its derivative in closed form, from, to)."""
    from jaxcalc.functions.elementary import elementary

    known, parameters = _NAMED.get(name, (name, {}))
    low, high = _ENDS.get(name, (-4, 4))
    entry = elementary(known)
    fun, rule = (functools.partial(one, **parameters) for one in (entry.value, entry.derivative))
    return fun, rule, low, high

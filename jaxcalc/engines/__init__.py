"""engines: derivatives without jax's AD.

Four engines share the names ``derivative`` and ``gradient``, so they are reached through their modules:
``finite_differences`` (values alone), ``dual`` (forward mode), ``tape`` (reverse mode), ``symbolic`` (SymPy).
``scalar`` is reverse mode as popular texts print it, ``manual`` the backward pass of one network written out by hand,
and ``check_gradient`` judges any gradient by values alone. None of them calls ``jax.grad`` or its kin: an oracle never
calls what it judges.
"""

from jaxcalc.engines import dual, finite_differences, scalar, symbolic, tape, two_layer_backprop
from jaxcalc.engines.gradient_check import GradientReport, check_gradient
from jaxcalc.engines.stencils import Scheme, Stencil, fornberg_weights, stencil

__all__ = [
    "GradientReport",
    "Scheme",
    "Stencil",
    "check_gradient",
    "dual",
    "finite_differences",
    "fornberg_weights",
    "scalar",
    "stencil",
    "symbolic",
    "tape",
    "two_layer_backprop",
]

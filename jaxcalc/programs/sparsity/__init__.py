"""sparsity: which entries of a Jacobian or Hessian may differ from zero, without evaluating the function."""

from jaxcalc.programs.sparsity.detect import Pattern, given_pattern, hessian_pattern, jacobian_pattern

__all__ = ["Pattern", "given_pattern", "hessian_pattern", "jacobian_pattern"]

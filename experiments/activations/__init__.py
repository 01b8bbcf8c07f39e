"""What do activation functions do to values and to gradients, on paper and in floating point?

Every activation with its slope in closed form against automatic differentiation, and the printed tables (``curves``);
where floating point leaves the formula: outputs that are exactly 1, exponentials that overflow (``saturation``); and
what becomes of units: kinks, dead units, gradients through twenty layers (``units``).
"""

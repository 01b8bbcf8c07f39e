"""Do the rules of differentiation hold, to rounding, and what do textbook examples come to?

Every rule as a hand-written formula against automatic differentiation (``rules``), worked examples
against what is printed of them (``examples``), compositions of fifty layers as products of local
derivatives (``chain``), and what a derivative is in the first place: a limit, a tangent, a sign, a
stationary point (``foundations``).
"""

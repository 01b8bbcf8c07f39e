"""What becomes of a gradient on its way back through time, and which recurrent networks let it through?

The matrix alone (``spectra``), gates beside their theory (``gates``), clipping (``clipping``), and a task that cannot
be learned unless the gradient arrives (``long_lag``).
"""

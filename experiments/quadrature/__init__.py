"""How fast do quadrature rules converge, and do the facts about integrals hold?

The error of each rule against the number of panels, and of random sampling against the number of draws (``errors``);
worked integrals against what is printed of them, the fundamental theorem, integration by parts (``examples``).
"""

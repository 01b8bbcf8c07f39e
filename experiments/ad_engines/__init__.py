"""What does automatic differentiation do that formulas and difference quotients cannot, and where are its own limits?

Accuracy of every engine on one function (``accuracy``), the operations each counts for a gradient (``cost``), formulas
that swell (``symbolic``), and the small facts of tapes, dual numbers and computational graphs (``facts``).
"""

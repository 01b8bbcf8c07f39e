"""What does convexity promise, and what happens without it?

Chords, Hessian eigenvalues and the shape that they tell (``shapes``); many starts on convex and on other functions
(``starts``); a convex loss without a minimum, on separable data (``separable``); and how often networks of rising width
learn XOR from a random start (``width``).
"""

from jaxcalc.lab import jnp

XOR = ([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [0.0, 1.0, 1.0, 0.0])


def xor_loss(model):
    """The mean cross-entropy of a network with one logit on the four samples of XOR."""
    from jaxcalc.functions.losses import binary_cross_entropy_from_logits

    inputs, targets = (jnp.asarray(table) for table in XOR)
    return lambda params: binary_cross_entropy_from_logits.mean(model.apply(params, inputs)[:, 0], targets)

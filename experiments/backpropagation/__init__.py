"""Is backpropagation the chain rule, what does it cost, and does it solve XOR?

A backward pass written out in matrices against a tape and JAX's reverse mode (``gradients``), the training of a small
network on XOR from a thousand starts (``xor``), and one backward pass against one nudge for each parameter (``cost``).
"""

from jaxcalc.lab import jax


def by_tape(x, y):
    """The mean cross-entropy of the network, on the tape."""
    from jaxcalc.engines import tape

    def loss(p):
        z = tape.relu(x @ p.w1 + p.b1) @ p.w2 + p.b2
        return tape.mean(tape.softplus(z) - y * z)

    return loss


def by_jax(x, y):
    """The mean cross-entropy of the network, in JAX."""
    from jaxcalc.functions.losses import binary_cross_entropy_from_logits

    def loss(p):
        z = jax.nn.relu(x @ p.w1 + p.b1) @ p.w2 + p.b2
        return binary_cross_entropy_from_logits.mean(z, y)

    return loss

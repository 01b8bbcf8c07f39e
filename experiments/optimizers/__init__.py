"""What do momentum, Nesterov, Adam and AdamW add to gradient descent?

The numbers of textbook examples (``worked``); what bad conditioning costs each method, along the axes and turned
(``conditioning``); ways down real and artificial valleys, each method at its best rate (``paths``); gradients over
mini-batches as estimates (``estimates``); classifiers of handwritten digits, trained and held out (``digits``), how
sharp the minima are that batches of each size find (``sharpness``), and quasi-Newton steps beside Adam (``network``).
"""

from typing import Literal

from jaxcalc.lab import jax, jnp

Method = Literal["gradient-descent", "sgd", "momentum", "nesterov", "adam", "adamw", "l-bfgs", "trust-region"]


def solver_named(method, rate, weight_decay=0.0):
    """The method of that name; quasi-Newton methods and trust regions choose their steps themselves."""
    from jaxcalc import solvers

    match method:
        case "gradient-descent":
            return solvers.gradient_descent(rate)
        case "adamw":
            return solvers.adamw(rate, weight_decay=weight_decay)
        case "l-bfgs":
            return solvers.lbfgs()
        case "trust-region":
            return solvers.trust_region()
        case _:  # sgd, momentum, nesterov, adam
            return getattr(solvers, method)(rate)


def split_digits(key, samples, gains=1.0):
    """Digits to train on and the others, as a key draws them: two pairs (images (n, 64), labels (n,)).

    The pixels may have gains, (64,).
    """
    from jaxcalc.models import classifier

    images, labels = classifier.images(1797)
    order = jax.random.permutation(key, len(labels))
    return [(gains * images[rows], labels[rows]) for rows in (order[:samples], order[samples:])]


def draw_batch(pair, size):
    """What draws mini-batches of so many samples, with replacement: key -> (images, labels)."""

    def draw(key):
        rows = jax.random.randint(key, (size,), 0, len(pair[1]))
        return pair[0][rows], pair[1][rows]

    return draw


def held_out(model, params, pair):
    """The share of images that a model misreads."""
    scores = jax.vmap(model.apply, (None, 0))(params, pair[0])
    return jnp.mean(jnp.argmax(scores, 1) != pair[1])

"""How deep may a plain tanh network be and still learn the digits, and does that depth follow mean-field theory's?

Two inputs' correlation approaches its fixed point c* over ``xi_c`` layers. Far deeper networks tell no inputs apart
(order) or none alike (chaos), and no gradient mends it. The multiple of ``xi_c`` at which training fails depends on the
training: it is fitted, and reported with its budget.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Swept, Variable, above, between, jax, jnp, less, over

kind = "compiled"
dtype = "float64"  # of the theory; the networks train in single precision

_LEARNED = 0.5  # accuracy; guessing has 0.1


class Config(lab.Config):
    """A deep tanh network, trained for a while."""

    depth: int = pydantic.Field(default=24, gt=0)
    """hidden layers"""
    sw2: Swept[float] = pydantic.Field(default=1.76, gt=0)
    """variance of the weights times the width"""
    sb2: Swept[float] = pydantic.Field(default=0.05, ge=0)
    """variance of the biases"""
    learning_rate: Swept[float] = pydantic.Field(default=0.02, gt=0)
    """of gradient descent with momentum 0.9, its gradient clipped to norm 1"""
    num_steps: int = pydantic.Field(default=200, gt=0)
    """training steps"""
    batch: int = pydantic.Field(default=64, gt=0, le=1797)
    """digits in a step"""
    width: int = pydantic.Field(default=64, gt=0)
    """units in a layer"""


VARIABLES = {
    "accuracy": Variable((), "", "share of the training digits classified rightly"),
    "correlation_depth": Variable((), "", "layers over which two inputs' correlation settles, xi_c"),
    "gradient_depth": Variable((), "", "layers over which gradients change by e, xi_grad"),
    "chi1": Variable((), "", "factor of a layer on the gradient's squared norm, mean-field theory"),
}


def run(config, key):
    """Training from one initialisation, and theory's depths for it."""
    import optax

    from jaxcalc.functions import datasets
    from jaxcalc.functions.activations import tanh
    from jaxcalc.functions.correlations import depth_scales
    from jaxcalc.functions.mean_field import fixed_point, gradient_factor
    from jaxcalc.models import dense

    digits = datasets.digits()
    images = jnp.asarray(datasets.standardize(digits.images).values, jnp.float32)
    labels = jnp.asarray(digits.labels)
    network = dense.deep_network(images.shape[1], config.width, 10, max_depth=config.depth, phi="tanh")
    weights_key, batches_key = jax.random.split(key)
    # Square matrices of Glorot's variance have sw2 = 1.
    params = network.init(weights_key, gain=jnp.sqrt(config.sw2), bias_std=jnp.sqrt(config.sb2))
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    transform = optax.chain(optax.clip_by_global_norm(1.0), optax.sgd(config.learning_rate, momentum=0.9))

    def mean_loss(params, chosen):
        scores = network.apply(params, images[chosen])
        return optax.softmax_cross_entropy_with_integer_labels(scores, labels[chosen]).mean()

    def step(carry, key):
        params, state = carry
        chosen = jax.random.randint(key, (config.batch,), 0, len(images))
        updates, state = transform.update(jax.grad(mean_loss)(params, chosen), state)
        return (optax.apply_updates(params, updates), state), None

    keys = jax.random.split(batches_key, config.num_steps)
    (params, _), _ = jax.lax.scan(step, (params, transform.init(params)), keys)
    theory = depth_scales(tanh, sw2=config.sw2, sb2=config.sb2)
    return {
        "accuracy": jnp.mean(jnp.argmax(network.apply(params, images), axis=1) == labels),
        "correlation_depth": theory.correlation,
        "gradient_depth": theory.gradient,
        "chi1": gradient_factor(tanh, fixed_point(tanh, config.sw2, config.sb2), config.sw2),
    }


def _trainable(data):
    """By variance of the weights: the depth at which accuracy falls to one half, and ``xi_c``; NaN where it does not.

    Depths between two trained ones are interpolated in their logarithm.
    """
    depths, accuracy = data.depth.values, data.accuracy.mean("seed", skipna=False).transpose("sw2", "depth").values
    reached = np.full(len(accuracy), np.nan)
    for i, line in enumerate(accuracy):
        falls = np.flatnonzero((line[:-1] >= _LEARNED) & (line[1:] < _LEARNED))
        if falls.size:
            j = falls[0]
            share = (line[j] - _LEARNED) / (line[j] - line[j + 1])
            reached[i] = depths[j] ** (1 - share) * depths[j + 1] ** share
    return reached, data.correlation_depth.isel(seed=0, depth=0).values


def _told(data, reached, scale):
    """Where the depth scale could be what limits training: it is below the deepest network, and some depth trains."""
    return np.isfinite(reached) & (scale < data.depth.values.max())


def _complete(dataset):
    data = over(dataset, "sw2", "depth", "seed")
    if data.sizes["sw2"] < 5 or data.sizes["depth"] < 4:
        raise NotJudged("needs five variances of weights and four depths or more")
    return data


def figures(dataset):
    """Accuracy over the plane of depth and variance; the depth that is trained against ``xi_c``."""
    data = over(dataset, "sw2", "depth", "seed")
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.9)
    accuracy = data.accuracy.mean("seed").transpose("depth", "sw2")
    reached, scale = _trainable(data)
    critical = np.interp(1.0, data.chi1.isel(seed=0, depth=0), data.sw2)
    mesh = left.pcolormesh(data.sw2, data.depth, accuracy, cmap="cividis", vmin=0.1, vmax=1.0, shading="nearest")
    figure.colorbar(mesh, ax=left, label="training accuracy")
    told = _told(data, reached, scale)
    multiple = float(np.exp(np.log(reached[told] / scale[told]).mean())) if told.any() else np.nan
    left.set_yscale("log")
    style.ticks(left.yaxis, data.depth.values)
    limits = left.get_ylim()
    if np.isfinite(multiple):
        left.plot(data.sw2, multiple * scale, **style.THEORY)
    left.set_ylim(limits)
    left.axvline(critical, color="white", linewidth=0.8)
    left.set(xlabel=r"variance of weights $\times$ width, $\sigma_w^2$", ylabel="depth, layers")
    ordered = data.sw2.values < critical
    for phase, chosen, color in (("order", ordered, "blue"), ("chaos", ~ordered, "orange")):
        shown = chosen & told
        right.loglog(scale[shown], reached[shown], "o", color=style.COLORS[color], label=phase)
    if told.any():
        line = np.array([scale[told].min(), scale[told].max()])
        right.plot(line, multiple * line, **style.THEORY, label=rf"{multiple:.2g} $\xi_c$, fitted")
    right.set(xlabel=r"depth scale of correlations $\xi_c$, layers", ylabel="trainable depth, layers")
    for axis in (right.xaxis, right.yaxis):
        low, high = axis.get_view_interval()
        style.ticks(axis, [tick for tick in 2.0 ** np.arange(1, 8) if low <= tick <= high])
    right.legend(loc="upper left")
    figure.set_label(
        f"Left: training accuracy of tanh networks after {int(np.ravel(dataset.num_steps)[0])} steps; dashed: the "
        f"fitted multiple of the depth scale, white: the order-to-chaos line. Right: the depth at which accuracy falls "
        f"to {_LEARNED:.0%}, where the depth scale is below the deepest network; the multiple belongs to this training."
    )
    return {"trainability": figure}


def _judge_depth(dataset):
    """Whether trainable depth grows with xi_c in each phase, and whether it is one multiple of it."""
    data = _complete(dataset)
    reached, scale = _trainable(data)
    told, ordered = _told(data, reached, scale), data.chi1.isel(seed=0, depth=0).values < 1
    if min((told & ordered).sum(), (told & ~ordered).sum()) < 3:
        raise NotJudged("needs in each phase three variances at which some depth trains and a larger one does not")
    multiples = reached[told] / scale[told]
    by_scale = [reached[told & phase][np.argsort(scale[told & phase])] for phase in (ordered, ~ordered)]
    return Finding(
        stated=less(by_scale[0][:-1], by_scale[0][1:]) & less(by_scale[1][:-1], by_scale[1][1:]),
        limits=above(multiples.max() / multiples.min(), 2.0),
        measured=f"trainable depth / xi_c from {multiples.min():.2g} to {multiples.max():.2g}, geometric mean "
        f"{np.exp(np.log(multiples).mean()):.2g}",
        figure="trainability",
    )


def _judge_critical(dataset):
    """Whether the variance that trains deepest lies next to chi1 = 1."""
    data = _complete(dataset)
    reached, _ = _trainable(data)
    chi1 = data.chi1.isel(seed=0, depth=0).values
    if not np.isfinite(reached).all():
        raise NotJudged("needs depths that train, and larger ones that do not, at every variance")
    deepest, ends = chi1[np.argmax(reached)], reached[[int(np.argmin(chi1)), int(np.argmax(chi1))]]
    return Finding(
        between(deepest, 0.9, 1.1) & above(reached.max() / ends, 1.5),
        measured=f"{reached.max():.0f} layers at chi1 = {deepest:.3f}; {ends[0]:.0f} and {ends[1]:.0f} at both ends",
        figure="trainability",
    )


claims = {"trainable-depth-follows-xi": _judge_depth, "critical-networks-train-deepest": _judge_critical}

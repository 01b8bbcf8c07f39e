"""Does clipping by norm keep a gradient's direction, and does it save a recurrence whose training explodes?

A linear recurrence of spectral radius above 1 learns the mean of its inputs by gradient descent, from the same weights
with and without clipping.
"""

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, close, holds, jax, jnp, less

kind = "host"


class Config(lab.Config):
    radius: float = pydantic.Field(1.1, gt=1)
    """spectral radius of the recurrence at the start"""
    num_steps: int = pydantic.Field(60, ge=10)
    """steps in time"""
    width: int = pydantic.Field(16, ge=2)
    """units"""
    batch: int = pydantic.Field(32, ge=2)
    """sequences, drawn anew at each update"""
    updates: int = pydantic.Field(300, ge=10)
    """updates of the weights"""
    rate: float = pydantic.Field(0.02, gt=0)
    """learning rate"""
    max_norm: float = pydantic.Field(1.0, gt=0)
    """norm that gradients are clipped to"""
    seeds: int = pydantic.Field(3, ge=1)
    """networks"""


VARIABLES = {
    "way": Variable(("way",), "", "with or without clipping"),
    "update": Variable(("update",), "", "update of the weights"),
    "draw": Variable(("draw",), "", "random network"),
    "loss": Variable(("way", "draw", "update"), "", "mean square error"),
    "gradient": Variable(("way", "draw", "update"), "", "norm of the gradient before clipping"),
    "norm": Variable((), "", "norm of a large gradient once it is clipped, over the norm asked for"),
    "cosine": Variable((), "", "cosine between the two"),
    "untouched": Variable((), "", "whether a gradient below the norm is left as it is"),
}


def run(config, key):
    from jaxcalc import models

    network = models.recurrent_network(
        models.rnn_cell(1, config.width, phi="linear", spectrum="orthogonal", radius=config.radius), 1
    )

    def loss(params, key):
        x = jax.random.normal(key, (config.num_steps, config.batch, 1), float)
        return jnp.mean((network.apply(params, x)[-1] - x.mean(0)) ** 2)

    of_identity, *seeds = jax.random.split(key, config.seeds + 1)
    train = jax.jit(lambda key: [_train(config, loss, network.init(key), key, clip) for clip in (False, True)])
    runs = [train(seed) for seed in seeds]
    losses, gradients = (np.array([[run[way][i] for run in runs] for way in (0, 1)]) for i in (0, 1))

    large = jax.grad(loss)(network.init(of_identity), of_identity)
    clipped, before, after = models.clip_gradient(large, config.max_norm)
    flat = lambda tree: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
    small = jax.tree.map(lambda leaf: 0.5 * config.max_norm / before * leaf, large)
    kept = models.clip_gradient(small, config.max_norm).gradient
    return {
        "way": np.array(["as it is", "clipped"]),
        "update": np.arange(config.updates),
        "draw": np.arange(config.seeds),
        "loss": losses,
        "gradient": gradients,
        "norm": after / config.max_norm,
        "cosine": flat(large) @ flat(clipped) / (before * after),
        "untouched": np.array_equal(flat(small), flat(kept)),
    }


def _train(config, loss, params, key, clip):
    """Loss and gradient's norm at each update of gradient descent."""
    import optax

    descent = optax.sgd(config.rate)
    solver = optax.chain(optax.clip_by_global_norm(config.max_norm), descent) if clip else descent

    def update(carry, key):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params, key)
        norm = jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradient)))
        changes, state = solver.update(gradient, state, params)
        return (optax.apply_updates(params, changes), state), (value, norm)

    return jax.lax.scan(update, (params, solver.init(params)), jax.random.split(key, config.updates))[1]


def _identity(dataset):
    found = {"norm": float(dataset.norm), "cosine": float(dataset.cosine)}
    return Finding(close(found) & holds(dataset.untouched), figure="clipping")


def _rescue(dataset):
    """From the same weights: without clipping the loss leaves all numbers or its start, with it halves."""
    if dataset.sizes["update"] < 50:
        raise NotJudged("needs 50 updates")
    tail = dataset.loss.isel(update=slice(-20, None))
    first = dataset.loss.isel(update=0)
    plain, clipped = tail.sel(way="as it is"), tail.sel(way="clipped")
    if not np.isfinite(first.values).all() or not np.isfinite(dataset.gradient.isel(update=0).values).all():
        raise NotJudged("the loss at the start is not finite")
    # What has left all numbers is beyond any; the start is not.
    lost = np.where(np.isfinite(plain), plain, np.finfo(float).max).min(-1)
    start = first.sel(way="clipped").values
    gained = clipped.median("update", skipna=False).values
    return Finding(
        less(start, lost) & less(gained, 0.5 * start),
        measured=f"mean square error from {start.max():.3g} to {gained.max():.3g} with clipping; without it beyond "
        f"{min(lost.min(), 1e300):.0e}",
        figure="clipping",
    )


def figures(dataset):
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.6)
    for panel, values in ((left, dataset.loss), (right, dataset.gradient)):
        for way, color in zip(dataset.way.values, ("vermilion", "blue"), strict=True):
            for draw in range(dataset.sizes["draw"]):
                line = values.sel(way=way).isel(draw=draw)
                line = line.where(np.isfinite(line) & (line < 1e60))
                label = str(way) if draw == 0 else None
                panel.plot(
                    dataset["update"],
                    line,
                    color=style.COLORS[color],
                    label=label,
                    **(
                        {"marker": "x", "markersize": 7, "markeredgewidth": 1.6, "zorder": 3}
                        if way == "as it is"
                        else {}
                    ),
                )
        panel.set(yscale="log", xlabel="update")
    left.set_ylabel("mean square error")
    right.set_ylabel("norm of the gradient")
    left.legend(loc="upper right")
    figure.set_label(
        "A recurrence of spectral radius above 1 under gradient descent from the same weights: as it is "
        "(crosses), errors and gradients pass 1e60, where lines end, within an update or a few; with gradients clipped "
        "by norm they fall."
    )
    return {"clipping": figure}


claims = {"gradient-clipping-by-norm": _identity, "clipping-rescues-exploding-recurrence": _rescue}

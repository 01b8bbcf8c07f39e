"""How a field is fitted to one series, and what its figures share."""

from typing import Any

import numpy as np

from jaxcalc import lab, style
from jaxcalc.lab import jax, jnp

_SHORTEST = 0.15  # of the span: the view with which training begins
_GROWTH = 2.2  # of the view over the whole training, in spans: all is in view after some two fifths of it
_RAMP = 20.0  # how sharply the view ends, per span


def fit(model, initial, times, observed, seen, *, num_steps, learning_rate):
    """Adam on parameters and first state; how far the error looks grows over the first half of training.

    A field that sees several turns at once settles for their mean; a short view grows without losing the turn.

    Args:
      model: of a neural ODE, ``apply(params, y0, times)``.
      initial: ``(params, y0)``.
      times: ``(k,)``, increasing. observed: ``(k, dimension)``.
      seen: ``(k,)`` flags; the solve ends at the last time that is seen, the error knows no other.
      num_steps: steps of Adam. learning_rate: falls to 0 along a cosine.

    Returns:
      ``(params, y0, losses)``, the losses of shape ``(num_steps,)``.
    """
    import optax

    end = jnp.max(jnp.where(seen, times, times[0]))
    span = end - times[0]
    solved = jnp.minimum(times, end)
    cosine = optax.cosine_decay_schedule(1.0, num_steps)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(lambda count: learning_rate * cosine(count)))

    def loss(trained, iteration):
        view = span * (_SHORTEST + _GROWTH * iteration / num_steps)
        weights = seen * jax.nn.sigmoid(_RAMP * (view - (times - times[0])) / span)
        squares = jnp.mean((model.apply(*trained, solved) - observed) ** 2, axis=1)
        return jnp.sum(weights * squares) / jnp.sum(weights)

    def step(carry, iteration):
        trained, state = carry
        value, gradient = jax.value_and_grad(loss)(trained, iteration)
        updates, state = optimiser.update(gradient, state)
        return (optax.apply_updates(trained, updates), state), value

    carry: Any = initial, optimiser.init(initial)
    carry, losses = jax.lax.scan(step, carry, jnp.arange(num_steps))
    (params, start), _ = carry
    return params, start, losses


def rms(difference, weights=None):
    """The root mean square of all entries; ``weights`` are along the first axis."""
    squares = jnp.mean(difference**2, axis=tuple(range(1, difference.ndim)))
    return jnp.sqrt(jnp.average(squares, weights=weights))


def failed(report, error, spread):
    """Whether a fit is one in name alone: not solved to its end, or no better than a constant."""
    return ~(report.reached & (error < spread))


HOLLOW: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": "#222222", "markeredgewidth": 1.0}


def draw_field(ax, x, y, rate):
    """Stream lines of a field, ``rate`` of shape ``(rows, columns, 2)``, behind all else."""
    look: dict[str, Any] = {"color": "#B8B8B8", "linewidth": 0.6, "arrowsize": 0.6, "density": 0.9, "zorder": 1}
    ax.streamplot(x, y, rate[..., 0], rate[..., 1], **look)
    ax.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    ax.grid(visible=False)


def middle(dataset, error, dim="seed"):
    """The start whose error is the median one: what figures show where they can show only one."""
    order = np.argsort(dataset[error].fillna(np.inf).values)
    return dataset.isel({dim: int(order[(len(order) - 1) // 2])})


def over(dataset, variables, common, *names):
    """The dataset over these parameters, other axes of the sweep at their first.

    Args:
      dataset: a run's results.
      variables: the question's ``VARIABLES``.
      common: the names of variables that all points have in common, which get no further axis.
      names: parameters.
    """
    own = {name for variable in variables.values() for name in variable.dims}
    found = lab.first(lab.over(dataset, *names), *names, *own)
    return found.assign({name: dataset[name] for name in common})


def errors(data, name):
    """The starts' errors; those that failed count as infinitely far off, and none is left out."""
    return data[name].where(~data.failed.astype(bool), np.inf)


def median(data, name):
    """The starts' median error."""
    return errors(data, name).median("seed", skipna=False)


def draw_training(loss, hue, looks=None):
    """The training loss over the starts, smoothed by a running mean of 20 steps."""
    smooth = loss.rolling(iteration=min(20, loss.sizes["iteration"])).mean()
    choices: dict[str, Any] = {"log": "y", "legend": "upper right", "linewidth": 0.9}
    figure, panels = style.chart(smooth, "iteration", hue=hue, looks=looks, band=(0.0, 1.0), **choices)
    panels[0, 0].set(xlabel="step of Adam", ylabel="mean squared error in view")
    figure.set_label("Training loss, means of 20 steps: medians over the starts, and the range of all.")
    return figure

"""Are the gradients of the usual losses what the table says?"""

from typing import Any

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, Variable, below, close, jax, jnp, less

kind = "host"

# Of the table, as the ledger names them.
_CLAIMS = {
    "mse": "loss-gradient-mse",
    "mae": "loss-gradient-mae",
    "binary-ce": "loss-gradient-binary-ce",
    "categorical-ce": "loss-gradient-categorical-ce",
    "huber": "loss-gradient-huber",
}
_ROWS = tuple(_CLAIMS)
_DELTA = 0.7  # of Huber's loss


class Config(lab.Config):
    samples: int = pydantic.Field(500, ge=10)
    """random samples for each row of the table; rounded down to whole distributions of five classes"""
    points: int = pydantic.Field(241, ge=21)
    """points of each curve"""


VARIABLES = {
    "row": Variable(("row",), "", "row of the table of losses"),
    "by_table": Variable(("row", "sample"), "", "gradient as the table prints it"),
    "closed_form": Variable(("row", "sample"), "", "gradient in the library's closed form"),
    "by_ad": Variable(("row", "sample"), "", "gradient by reverse mode"),
    "loss": Variable(("loss",), "", "loss"),
    "prediction": Variable(("loss", "point"), "", "prediction against a fixed target"),
    "value": Variable(("loss", "point"), "", "loss of that prediction"),
    "gradient": Variable(("loss", "point"), "", "its derivative by the prediction"),
    "huber_jumps": Variable(("order",), "", "change of Huber's value, slope and curvature across delta"),
    "means": Variable(("mean",), "", "mean squared error and mean binary cross-entropy of three samples"),
    "one_hot": Variable(("answer",), "", "cross-entropy from logits (20, 0, 0), label 0 (right) and 1 (wrong)"),
    "one_hot_of_probabilities": Variable(("answer",), "", "cross-entropy of their softmax"),
    "minus_log": Variable(("answer",), "", "-log p of the label's class"),
}


def _by_table(row, p, y):
    """The gradient as the table prints it."""
    match row:
        case "mse":
            return 2 * (p - y)
        case "mae":
            return np.sign(p - y)
        case "binary-ce":
            return (p - y) / (p * (1 - p))
        case "categorical-ce":
            return -y / p
    return np.where(abs(p - y) <= _DELTA, p - y, _DELTA * np.sign(p - y))


def run(config, key):
    from jaxcalc.functions import losses
    from jaxcalc.functions.activations import softmax

    keys = jax.random.split(key, 4)
    rows, classes = config.samples // 5, 5
    real = [jax.random.normal(k, (rows * classes,)) for k in keys[:2]]
    unit = [jax.random.uniform(k, (rows * classes,), minval=0.01, maxval=0.99) for k in keys[2:]]
    simplex = [softmax(jax.random.normal(k, (rows, classes))) for k in keys[:2]]
    given = {
        "mse": (losses.mse, real, {}),
        "mae": (losses.mae, real, {}),
        "binary-ce": (losses.binary_cross_entropy, unit, {}),
        "categorical-ce": (losses.cross_entropy, simplex, {}),
        "huber": (losses.huber, real, {"delta": _DELTA}),
    }
    columns: dict[str, list[Any]] = {name: [] for name in ("by_table", "closed_form", "by_ad")}
    for row in _ROWS:
        loss, (p, y), parameters = given[row]
        columns["by_table"].append(np.ravel(_by_table(row, np.asarray(p), np.asarray(y))))
        columns["closed_form"].append(np.ravel(loss.gradient(p, y, **parameters)))
        total = lambda p, loss=loss, y=y, parameters=parameters: loss.value(p, y, **parameters).sum()
        columns["by_ad"].append(np.ravel(jax.grad(total)(p)))

    # A prediction against the target that the panel's title states.
    line, inner = jnp.linspace(-3, 3, config.points), jnp.linspace(0.02, 0.98, config.points)
    curves = {
        "mse": (losses.mse, line, 0.0),
        "mae": (losses.mae, line, 0.0),
        "huber": (losses.huber, line, 0.0),
        "binary_cross_entropy": (losses.binary_cross_entropy, inner, 1.0),
        "binary_cross_entropy_from_logits": (losses.binary_cross_entropy_from_logits, line, 1.0),
        "hinge": (losses.hinge, line, 1.0),
    }
    drawn = {name: (loss, p, jnp.full_like(p, y)) for name, (loss, p, y) in curves.items()}

    around = _DELTA + 1e-9 * np.array([-1.0, 1.0])  # both sides of where Huber's pieces meet
    huber = [fun(jnp.asarray(around), jnp.zeros(2), delta=_DELTA) for fun in (losses.huber, losses.huber.gradient)]
    bend = losses.huber.second_derivative(jnp.asarray(around), jnp.zeros(2), delta=_DELTA)

    p, y = jnp.array([0.9, 0.1, 0.8]), jnp.array([1.0, 0.0, 1.0])
    logits, labels = jnp.array([[20.0, 0.0, 0.0], [20.0, 0.0, 0.0]]), jnp.eye(3)[:2]
    probabilities = softmax(logits)
    return {
        "row": np.array(_ROWS),
        **{name: np.stack(values) for name, values in columns.items()},
        "loss": np.array(list(drawn)),
        "prediction": np.stack([p for _, p, _ in drawn.values()]),
        "value": np.stack([loss(p, y) for loss, p, y in drawn.values()]),
        "gradient": np.stack([loss.gradient(p, y) for loss, p, y in drawn.values()]),
        "huber_jumps": np.array([float(abs(each[1] - each[0])) for each in (*huber, bend)]),
        "means": np.array([float(loss.mean(p, y)) for loss in (losses.mse, losses.binary_cross_entropy)]),
        "one_hot": losses.cross_entropy_from_logits(logits, labels),
        "one_hot_of_probabilities": losses.cross_entropy(probabilities, labels),
        "minus_log": -jnp.log(jnp.sum(jnp.where(labels == 1, probabilities, 0.0), axis=-1)),
    }


def _gradient_of(row):
    def judge(dataset):
        mine = dataset.sel(row=row)
        # AD of a binary cross-entropy cancels where p is close to y.
        size = np.maximum(abs(mine.by_table.values), 1.0)
        both = [abs(each.values - mine.by_table.values) / size for each in (mine.by_ad, mine.closed_form)]
        told = f"largest relative difference {both[0].max():.2g} from AD, "
        return Finding(below(both), measured=f"{told}{both[1].max():.2g} from the library's closed form")

    return judge


def _huber_continuity(dataset):
    value, slope, bend = dataset.huber_jumps.values
    return Finding(
        close({"value_jump": value, "slope_jump": slope}),
        measured=f"within 1e-9 of delta: value jumps by {value:.2g}, slope by {slope:.2g}, curvature by {bend:g}",
    )


def _one_hot(dataset):
    right, wrong = dataset.one_hot.values
    # Of the same probabilities the two are one formula; from logits it keeps digits that the probability has not.
    pair = (dataset.one_hot_of_probabilities, dataset.one_hot)
    apart, from_logits = (abs(each.values - dataset.minus_log.values) for each in pair)
    return Finding(
        below([apart, from_logits]) & less(0.0, right) & less(right, 1e-6) & less(10.0, wrong),
        measured=f"difference {apart.max():.2g}, from logits {from_logits.max():.2g}; "
        f"confident and right {right:.3g}, confident and wrong {wrong:.4g}",
    )


_TITLES = {
    "mse": ("squared error", "residual p - y"),
    "mae": ("absolute error", "residual p - y"),
    "huber": ("Huber, delta 1", "residual p - y"),
    "binary_cross_entropy": ("binary CE, y = 1", "probability p"),
    "binary_cross_entropy_from_logits": ("binary CE of logits, y = 1", "logit z"),
    "hinge": ("hinge, y = 1", "score p"),
}


def figures(dataset):
    figure, axes = style.subplots(2, 3, width="page", height=4.0)
    panels = np.ravel(axes)
    for panel, name in zip(panels, map(str, dataset.loss.values)):
        mine = dataset.sel(loss=name)
        panel.plot(mine.prediction, mine.value, color=style.COLORS["blue"], label="loss")
        panel.plot(mine.prediction, mine.gradient, color=style.COLORS["vermilion"], label="gradient")
        title, label = _TITLES[name]
        panel.set_title(title)
        panel.set(xlabel=label, ylim=(-4, 4))
        if name == "binary_cross_entropy":
            panel.set_ylim(-12, 6)
    for panel in axes[:, 0]:
        panel.set_ylabel("loss, gradient")
    panels[0].legend(loc="lower right")
    figure.set_label(
        "Losses and their gradients. Huber's gradient is that of the squared error, halved, cut at delta; the binary "
        "cross-entropy's is unbounded in the probability and bounded by 1 in the logit."
    )
    return {"losses": figure}


claims = {
    **{id: _gradient_of(row) for row, id in _CLAIMS.items()},
    "huber-continuity": _huber_continuity,
    "mse-bce-three-sample-example": lambda data: close(data.means),
    "one-hot-ce-collapses-to-neg-log-p": _one_hot,
}

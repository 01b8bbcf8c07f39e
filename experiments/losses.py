"""What are the usual losses, are their gradients what the table says, and what does convexity have to do with it?

Six losses as curves with their gradients, the table of gradients against automatic differentiation on random samples,
printed examples, and the squared error of a linear model beside that of a single tanh unit: convex in the prediction,
not in the weights.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pydantic

from jaxcalc.lab import Config, Finding, Part, Variable, above, below, close, less

if TYPE_CHECKING:
    import xarray
    from matplotlib.figure import Figure


# -- gradients ---------------------------------------------------------------------------------------------------------

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


class Gradients(Config):
    samples: int = pydantic.Field(500, ge=10)
    """random samples for each row of the table; rounded down to whole distributions of five classes"""
    points: int = pydantic.Field(241, ge=21)
    """points of each curve"""


def _by_table(row: str, p: Any, y: Any) -> Any:
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


def run_gradients(config: Gradients, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

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


def _gradient_of(row: str) -> Callable[["xarray.Dataset"], Finding]:
    def judge(dataset: "xarray.Dataset") -> Finding:
        mine = dataset.sel(row=row)
        # AD of a binary cross-entropy cancels where p is close to y.
        size = np.maximum(abs(mine.by_table.values), 1.0)
        both = [abs(each.values - mine.by_table.values) / size for each in (mine.by_ad, mine.closed_form)]
        told = f"largest relative difference {both[0].max():.2g} from AD, "
        return Finding(below(both), measured=f"{told}{both[1].max():.2g} from the library's closed form")

    return judge


def _huber_continuity(dataset: "xarray.Dataset") -> Finding:
    value, slope, bend = dataset.huber_jumps.values
    return Finding(
        close({"value_jump": value, "slope_jump": slope}),
        measured=f"within 1e-9 of delta: value jumps by {value:.2g}, slope by {slope:.2g}, curvature by {bend:g}",
    )


def _one_hot(dataset: "xarray.Dataset") -> Finding:
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


def figures_of_gradients(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

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
    style.panel_labels(axes)
    figure.set_label(
        "Losses and their gradients. Huber's gradient is that of the squared error, halved, cut at delta; the binary "
        "cross-entropy's is unbounded in the probability and bounded by 1 in the logit."
    )
    return {"losses": figure}


gradients = Part(
    Gradients,
    {
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
    },
    "host",
    run_gradients,
    figures=figures_of_gradients,
    claims={
        **{id: _gradient_of(row) for row, id in _CLAIMS.items()},
        "huber-continuity": _huber_continuity,
        "mse-bce-three-sample-example": lambda data: close(data.means),
        "one-hot-ce-collapses-to-neg-log-p": _one_hot,
    },
    doc="Are the gradients of the usual losses what the table says?",
)

# -- convexity ---------------------------------------------------------------------------------------------------------


class Convexity(Config):
    samples: int = pydantic.Field(40, ge=5)
    """inputs on [-2, 2]"""
    points: int = pydantic.Field(121, ge=11)
    """weights on each axis of the map"""


def run_convexity(config: Convexity, key: Any) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    from jaxcalc.functions.activations import tanh
    from jaxcalc.functions.losses import mse

    x = jnp.linspace(-2, 2, config.samples)
    target = tanh(1.5 * x)
    models = {
        "linear": lambda p: p[0] * x + p[1],
        "tanh unit": lambda p: p[1] * tanh(p[0] * x),
    }
    inner, outer = jnp.linspace(-3, 3, config.points), jnp.linspace(-3, 3, config.points)
    weights = jnp.stack(jnp.meshgrid(inner, outer, indexing="ij"), axis=-1)

    def surface(model):
        loss = lambda p: mse.mean(model(p), target)
        each = lambda p: (loss(p), jnp.linalg.eigvalsh(jax.hessian(loss)(p))[0])
        return jax.jit(jax.vmap(jax.vmap(each)))(weights)

    found = [surface(model) for model in models.values()]
    return {
        "model": np.array(list(models)),
        "first": inner,
        "second": outer,
        "mean_loss": np.stack([loss for loss, _ in found]),
        "least_eigenvalue": np.stack([least for _, least in found]),
        "curvature_in_prediction": jnp.min(mse.second_derivative(x, target)),
    }


def _convex(dataset: "xarray.Dataset") -> Finding:
    linear, unit = (dataset.least_eigenvalue.sel(model=m).values for m in ("linear", "tanh unit"))
    inner = float(dataset.curvature_in_prediction)
    return Finding(
        above(inner, 0.0) & above(linear, 0.0),
        limits=~above(unit, -1e-6),
        measured=f"least eigenvalue of the Hessian: linear model {linear.min():.3g}, "
        f"tanh unit {unit.min():.3g}; second derivative in the prediction {inner:g}",
    )


def figures_of_convexity(dataset: "xarray.Dataset") -> dict[str, "Figure"]:
    from jaxcalc import style

    figure, axes = style.subplots(1, 2, width="page", height=3.1, sharey=True)
    bound = float(abs(dataset.least_eigenvalue).max())
    images = []
    for axis, model in zip(axes, map(str, dataset.model.values)):
        mine = dataset.sel(model=model)
        at = (dataset.first, dataset.second)
        colors = {"cmap": "PuOr", "vmin": -bound, "vmax": bound}
        images.append(axis.pcolormesh(*at, mine.least_eigenvalue.T, shading="gouraud", rasterized=True, **colors))
        axis.contour(*at, mine.mean_loss.T, levels=[0.1, 0.2, 0.5, 1, 2, 4, 8], colors="black", linewidths=0.6)
        axis.set_title(model)
        axis.grid(False)
        axis.set_aspect("equal")
    axes[0].set(xlabel="slope", ylabel="intercept")
    axes[1].set(xlabel="weight inside tanh", ylabel="weight outside tanh")
    figure.colorbar(images[0], ax=list(axes), label="least eigenvalue of the Hessian")
    style.panel_labels(axes)
    figure.set_label(
        "The squared error as a function of two weights (black: its level lines). Of a linear model it is convex; of "
        "one tanh unit it has directions of negative curvature (orange)."
    )
    return {"convexity": figure}


convexity = Part(
    Convexity,
    {
        "model": Variable(("model",), "", "what predicts"),
        "first": Variable(("first",), "", "slope, or weight inside tanh"),
        "second": Variable(("second",), "", "intercept, or weight outside tanh"),
        "mean_loss": Variable(("model", "first", "second"), "", "mean squared error"),
        "least_eigenvalue": Variable(("model", "first", "second"), "", "least eigenvalue of its Hessian"),
        "curvature_in_prediction": Variable((), "", "least second derivative of the squared error by the prediction"),
    },
    "host",
    run_convexity,
    figures=figures_of_convexity,
    claims={"mse-quadratic-hence-convex": _convex},
    doc="Is the squared error convex: in the prediction, and in the weights?",
)

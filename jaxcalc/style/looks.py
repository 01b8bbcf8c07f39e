"""Sizes, type, colours, and a fixed colour and marker per method."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


# Okabe and Ito (2008): eight colours told apart under every common colour-vision deficiency; yellow is left out,
# it does not carry a line on white.
COLORS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "black": "#000000",
    "grey": "#7F7F7F",
}

COLUMN = 3.5  # inches: one column of a two-column page
PAGE = 7.2  # inches: both columns

# Theory is dashed and grey-black beside solid measurements.
THEORY: dict[str, Any] = {"color": "#333333", "linestyle": (0, (4, 2)), "linewidth": 1.0, "marker": "", "zorder": 1.5}

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_CYCLE = ("blue", "vermilion", "green", "purple", "orange", "sky", "black", "grey")

# A method keeps its colour and marker in every figure of the project.
_METHODS = {
    "value": ("black", "o"),
    "forward": ("blue", "o"),
    "reverse": ("vermilion", "s"),
    "forward-over-reverse": ("green", "^"),
    "reverse-over-forward": ("purple", "D"),
    "reverse-over-reverse": ("orange", "v"),
    "forward-over-forward": ("sky", "P"),
    "by hand": ("blue", "o"),
    "tape": ("green", "^"),
    "forward differences": ("purple", "v"),
    "central differences": ("orange", "P"),
    "jax forward": ("blue", "o"),
    "jax reverse": ("vermilion", "s"),
    "dual": ("sky", "v"),
    "symbolic": ("grey", "D"),
    "jvp": ("sky", "v"),
    "vjp": ("orange", "^"),
    "jacfwd": ("blue", "o"),
    "jacrev": ("vermilion", "s"),
    "hessian": ("green", "^"),
    "sparse": ("green", "D"),
    "gradient-descent": ("blue", "o"),
    "momentum": ("purple", "D"),
    "sgd": ("blue", "o"),
    "nesterov": ("black", "<"),
    "adam": ("orange", "v"),
    "adamw": ("vermilion", "s"),
    "newton": ("vermilion", "s"),
    "damped-newton": ("green", "^"),
    "trust-region": ("green", "^"),
    "newton-cg": ("sky", "P"),
    "bfgs": ("black", "P"),
    "l-bfgs": ("sky", "X"),
    "gradient-flow": ("grey", "*"),
    "normal": ("vermilion", "s"),
    "inverse": ("orange", "v"),
    "qr": ("green", "^"),
    "svd": ("black", "D"),
    "constant": ("blue", "o"),
    "step-decay": ("vermilion", "s"),
    "exponential-decay": ("green", "^"),
    "cosine": ("purple", "D"),
    "linear-warmup": ("orange", "v"),
    "warmup-cosine": ("sky", "P"),
    "linear": ("grey", "X"),
    "dense": ("vermilion", "s"),
    "convolution": ("orange", "v"),
    "attention": ("green", "^"),
    "squared error": ("blue", "o"),
    "absolute error": ("vermilion", "s"),
    "Huber": ("green", "^"),
    "cross-entropy": ("purple", "D"),
    "hinge": ("orange", "v"),
    "squared error of a sigmoid": ("sky", "P"),
    "sigmoid": ("blue", "o"),
    "tanh": ("green", "^"),
    "relu": ("vermilion", "s"),
    "gelu": ("purple", "D"),
    "direct": ("vermilion", "s"),
    "checkpointed": ("green", "^"),
    "backsolve": ("blue", "o"),
    "trapezoid": ("green", "D"),
    "simpson": ("vermilion", "^"),
    "gauss-legendre": ("purple", "v"),
    "sparse columns": ("green", "D"),
    "sparse rows": ("purple", "^"),
    "bidirectional": ("orange", "v"),
    "sparse star": ("black", "*"),
    "sparse acyclic": ("grey", "X"),
    "forward-laplacian": ("blue", "o"),
    "nested": ("vermilion", "s"),
    "jaxcalc": ("blue", "D"),
    "quadax": ("vermilion", "s"),
    "scipy": ("grey", "X"),
    "monte-carlo": ("blue", "o"),
    "sobol": ("orange", "s"),
    "sobol, scrambled": ("black", "X"),
    "backward": ("sky", "s"),
    "central": ("orange", "P"),
    "fourth-order central": ("green", "D"),
    "complex step": ("purple", "v"),
    "richardson": ("black", "*"),
    "minimum": ("blue", "o"),
    "saddle": ("vermilion", "X"),
    "maximum": ("green", "^"),
    "degenerate": ("grey", "D"),
}

# Names that a legend writes otherwise than a config.
_LABELS = {
    "gradient-descent": "gradient descent",
    "gradient-flow": "gradient flow",
    "sgd": "SGD",
    "nesterov": "Nesterov",
    "adam": "Adam",
    "adamw": "AdamW",
    "newton": "Newton",
    "damped-newton": "damped Newton",
    "trust-region": "trust region",
    "newton-cg": "Newton-CG",
    "bfgs": "BFGS",
    "l-bfgs": "L-BFGS",
    "qr": "QR",
    "svd": "SVD",
}

_RC: dict[Any, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8,
    "mathtext.fontset": "dejavusans",
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": "",  # filled in below, where matplotlib is at hand
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.0,
    "lines.markeredgewidth": 0.0,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "image.cmap": "cividis",
    "svg.hashsalt": "jaxcalc",
    "svg.fonttype": "path",
}


@contextmanager
def context() -> Iterator[None]:
    """The house style for everything built and saved inside the block; what was set before comes back after it."""
    import matplotlib
    from cycler import cycler

    cycle = cycler(color=[COLORS[name] for name in _CYCLE])
    with matplotlib.rc_context({**_RC, "axes.prop_cycle": cycle}):
        yield


def method(name: str, **changes: Any) -> dict[str, Any]:
    """Line properties (colour, marker, label) of a named method; an unnamed one gets a colour by its name's position.

    Args:
      name: the method's name, such as ``"forward"``.
      changes: properties to add or replace, such as ``linestyle="--"``.
    """
    if name in _METHODS:
        color, marker = _METHODS[name]
    else:
        slot = sum(map(ord, name))
        color, marker = _CYCLE[slot % len(_CYCLE)], _MARKERS[slot % len(_MARKERS)]
    return {"color": COLORS[color], "marker": marker, "label": _LABELS.get(name, name), **changes}


def looks(names: Iterable[str]) -> list[dict[str, Any]]:
    """Line properties of several methods at once: named ones keep theirs, the others get colours that are still free.

    Args:
      names: the methods' names, in the order of the legend.
    """
    names = list(names)
    taken = {_METHODS[name][0] for name in names if name in _METHODS}
    free = [color for color in _CYCLE if color not in taken] or list(_CYCLE)
    found, used = [], 0
    for name in names:
        if name in _METHODS:
            found.append(method(name))
        else:
            color, marker = COLORS[free[used % len(free)]], _MARKERS[used % len(_MARKERS)]
            found.append({"color": color, "marker": marker, "label": name})
            used += 1
    return found


def ink(color: Any) -> tuple[float, float, float]:
    """A colour dark enough to read as text on white: its contrast is 4.5 or more (WCAG 2.1), its hue the same."""
    import numpy as np
    from matplotlib.colors import to_rgb

    def contrast(rgb: "np.ndarray") -> float:
        linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        return 1.05 / (float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05)

    rgb = np.array(to_rgb(color))
    while contrast(rgb) < 4.5:
        rgb = 0.97 * rgb
    return tuple(rgb.tolist())


def sequence(count: int) -> list[Any]:
    """``count`` ordered colours, dark to light, for an ordered family of lines (depths, sizes, condition numbers)."""
    import matplotlib
    import numpy as np

    return list(matplotlib.colormaps["cividis"](np.linspace(0.0, 0.85, count)))


def subplots(
    nrows: int = 1,
    ncols: int = 1,
    *,
    width: float | Literal["column", "page"] = "column",
    height: float | None = None,
    letters: bool = True,
    **options: Any,
) -> "tuple[Figure, Any]":
    """A figure and its axes without pyplot.

    Args:
      nrows, ncols: the grid of axes.
      width: ``"column"`` (3.5 in), ``"page"`` (7.2 in) or inches.
      height: inches; by default 0.72 of one panel's width per row.
      letters: several axes have a, b, c, ... at their upper left corners.
      options: passed to ``Figure.subplots`` (``sharex``, ``sharey``, ``squeeze``, ``gridspec_kw``, ...).

    Returns:
      ``(figure, axes)``, the axes as ``Figure.subplots`` gives them.
    """
    from matplotlib.figure import Figure

    inches = {"column": COLUMN, "page": PAGE}[width] if isinstance(width, str) else width
    figure = Figure(figsize=(inches, height or 0.72 * inches / ncols * nrows), layout="constrained")
    axes = figure.subplots(nrows, ncols, **options)
    if letters and nrows * ncols > 1:
        _letter(figure.axes)
    return figure, axes


def _letter(panels: "list[Axes]") -> None:
    for letter, panel in zip("abcdefghijklmnop", panels):
        panel.annotate(
            letter,
            xy=(0, 1),
            xycoords="axes fraction",
            xytext=(-18, 6),
            textcoords="offset points",
            fontsize=9,
            fontweight="bold",
        )

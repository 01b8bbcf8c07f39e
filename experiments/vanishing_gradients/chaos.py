"""Where does a tanh network pass from order, where gradients vanish, to chaos, where they explode?"""

import numpy as np

from experiments.vanishing_gradients import NORMAL, deep, over_seeds, setting
from experiments.vanishing_gradients import VARIABLES as VARIABLES
from experiments.vanishing_gradients import Config as Config
from experiments.vanishing_gradients import run as run
from experiments.vanishing_gradients import shared as shared
from jaxcalc import style
from jaxcalc.lab import Finding, NotJudged, below, over

kind = "compiled"


def figures(dataset):
    """Across the critical gain: the gradient by layer, and the factor of a layer beside theory."""
    data = over(dataset, "seed")
    figure, (left, right) = style.subplots(1, 2, width="page", height=2.7, letters=False)
    depth = int(np.isfinite(data.signal).any([d for d in data.signal.dims if d != "layer"]).sum()) - 1
    ends = []
    for gain, color in zip(data.gain.values, style.sequence(data.sizes["gain"]), strict=True):
        line = over_seeds(data.signal.sel(gain=gain))
        line = line / float(line[depth])
        left.plot(data.layer, line, color=color)
        theory = data.theory_signal.sel(gain=gain).mean("seed")
        left.plot(data.layer, theory / float(theory[depth]), **style.THEORY)
        ends.append((rf"$\sigma_w^2$ = {gain**2:.4g}", (0.0, float(line[0])), color))
    left.set_yscale("log")
    left.set_xlim(depth, 0)
    left.set(xlabel="layer, from the last to the input", ylabel="gradient norm over last layer")
    squared, theory = _squared_factors(data, depth)
    scale = data.gain.values**2
    right.axhline(1.0, color="#333333", linewidth=0.8)
    right.plot(scale, theory, **style.THEORY, label=r"mean field, $\chi_1$")
    for seed in data.seed.values:
        right.plot(scale, squared.sel(seed=seed), **style.method("tanh", linestyle="", label=None, alpha=0.8))
    right.plot([], [], **style.method("tanh", linestyle="", label="measured, each seed"))
    if theory.min() < 1 < theory.max():
        critical = float(np.interp(1.0, theory, scale))
        right.axvline(critical, color="#333333", linewidth=0.8)
        right.annotate("order", (critical, 1), xytext=(-6, 34), textcoords="offset points", ha="right")
        right.annotate("chaos", (critical, 1), xytext=(6, 34), textcoords="offset points")
    right.set_xlabel(r"variance of weights $\times$ width, $\sigma_w^2$")
    right.set_ylabel("squared gradient's factor per layer")
    right.legend(loc="lower right")
    style.label_ends(left, ends, size=7.5, spacing=1.6)
    figure.set_label(
        "Left: the gradient's norm by layer. Right: its squared factor a layer against the variance of the weights. "
        "Dashed: mean-field theory, valid at infinite width."
    )
    return {"order_to_chaos": figure}


def _sweeps_gain(dataset):
    """Whether the gain is swept, and nothing else beside the seed."""
    return set(dataset.attenuation.dims) in ({"gain"}, {"gain", "seed"}) and dataset.sizes["gain"] > 2


def _squared_factors(data, depth, skipped=10):
    """Squared-gradient factor per layer past the first ``skipped`` layers, by gain and seed, and theory's last one."""
    skipped = min(skipped, depth - 1)
    ratio = data.signal.sel(layer=skipped) / data.signal.sel(layer=depth)
    theory = data.theory_factor.sel(layer=depth) ** 2
    others = [d for d in theory.dims if d != "gain"]
    return ratio ** (2 / (depth - skipped)), theory.mean(others, skipna=False).values


def _judge_chaos(dataset):
    """Mean-field theory's factor against the measured one, across the critical point of a wide plain tanh network."""
    settings = {"activation": "tanh", "residual": "none", "normalisation": "none"}
    if not _sweeps_gain(dataset) or any(setting(dataset, name) != value for name, value in settings.items()):
        raise NotJudged("needs a sweep of a plain tanh network's gain")
    if setting(dataset, "initialisation") not in NORMAL or setting(dataset, "width") < 200:
        raise NotJudged("needs 200 units or more, of normal weights")
    depth = int(setting(dataset, "depth"))
    if depth < 40:
        raise NotJudged("needs 40 layers or more")
    deep(dataset)
    squared, theory = _squared_factors(dataset, depth)
    gaps = np.abs(np.log(squared).mean("seed", skipna=False).values - np.log(theory))
    if not (theory > 1).any() or not (theory < 1).any():
        raise NotJudged("needs gains on both sides of the critical point")
    return Finding(
        below(gaps, 0.05),
        measured=f"within {100 * np.expm1(gaps.max()):.1f} % at every gain, chi1 from {theory.min():.4f} to "
        f"{theory.max():.4f}",
        figure="order_to_chaos",
    )


claims = {"gradient-factor-is-chi1": _judge_chaos}

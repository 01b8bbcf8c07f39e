"""How near does variational inference come to posteriors of real data, and does it say where it does not?

Eight models with reference draws; each guide as it is, and corrected by its weights; what k-hat said of each.
"""

import time

import numpy as np
import pydantic

from jaxcalc import lab, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, below, first, holds, jax, less, over, xarray

kind = "timed"
MODELS = (
    "eight_schools-eight_schools_noncentered",
    "hudson_lynx_hare-lotka_volterra",
    "kidiq-kidscore_momiq",
    "kidiq-kidscore_interaction",
    "earnings-logearn_height",
    "mesquite-logmesquite_logvash",
    "sblrc-blr",
    "kilpisjarvi_mod-kilpisjarvi",
)
LABELS = ("eight schools", "lynx and hare", "IQ", "IQ, interaction", "earnings", "mesquite", "sblrc", "Kilpisjärvi")
_FAR = 0.6  # of a standard deviation that a mean-field guide leaves
MOST_OFF_MEAN, MOST_OFF_SD = 0.1, 0.15  # in standard deviations of the reference, and as a share of them


class Config(lab.Config):
    model: str = MODELS[0]
    """a posterior of ``jaxcalc.scenarios.posteriors``"""
    guide: str = "full-rank"
    """the family: mean-field, low-rank or full-rank"""
    num_samples: int = pydantic.Field(8192, ge=100)
    """draws that judge"""
    repeats: int = pydantic.Field(3, ge=1)
    """fits with keys of their own"""


_BY_QUANTITY = ("repeat", "quantity")
VARIABLES = {
    "shift": Variable(_BY_QUANTITY, "", "mean by weights less the reference's, in its standard deviations"),
    "spread": Variable(_BY_QUANTITY, "", "standard deviation by weights over the reference's"),
    "reliable": Variable(_BY_QUANTITY, "", "1 where mean and standard deviation are said to be reliable, else 0"),
    "khat_of_quantity": Variable(_BY_QUANTITY, "", "k-hat of the weights times squared deviations"),
    "guide_shift": Variable(_BY_QUANTITY, "", "the same shift of the guide itself"),
    "guide_spread": Variable(_BY_QUANTITY, "", "the same ratio of the guide itself"),
    "reference_error": Variable(("quantity",), "", "Monte Carlo error of the reference's mean, in standard deviations"),
    "khat": Variable(("repeat",), "", "k-hat of the weights"),
    "guide_khat": Variable(("repeat",), "", "k-hat of the weights of the guide's own draws"),
    "elbo": Variable(("repeat",), "nat", "evidence lower bound"),
    "elbo_error": Variable(("repeat",), "nat", "its standard error"),
    "log_evidence": Variable(("repeat",), "nat", "importance-weighted bound of all draws"),
    "effective_size": Variable(("repeat",), "", "independent draws that the weights are worth"),
    "status": Variable(("repeat",), "", "status of the fit, an integer"),
    "seconds": Variable(("repeat",), "s", "time of a fit once compiled"),
}


def run(config, key):
    from jaxcalc import variational
    from jaxcalc.scenarios.posteriors import posterior

    problem = posterior(config.model)

    def fit(key):
        return variational(
            problem.log_density,
            config.guide,
            problem.start,
            problem.data,
            key=key,
            support=problem.support,
            num_samples=config.num_samples,
        )

    def judge(fitted):
        return fitted.moments(problem.quantities), fitted.moments(problem.quantities, of="guide")

    keys = jax.random.split(key, config.repeats + 1)
    jax.block_until_ready(fit(keys[-1]))
    told, judged = [], jax.jit(judge)
    for own in keys[:-1]:
        begun = time.perf_counter()
        fitted = jax.block_until_ready(fit(own))
        seconds = time.perf_counter() - begun
        corrected, guide = judged(fitted)
        told.append(_told(fitted, corrected, guide, problem.reference, seconds))
    rows = {name: np.stack([each[name] for each in told]) for name in told[0]}
    return {**rows, "reference_error": problem.reference.error / problem.reference.sd}


def _told(fitted, corrected, guide, reference, seconds):
    """One fit beside the reference."""
    shift = lambda moments: (np.asarray(moments.mean) - reference.mean) / reference.sd
    names = ("khat", "guide_khat", "elbo", "elbo_error", "log_evidence", "effective_size")
    return {
        "shift": shift(corrected),
        "spread": np.asarray(corrected.sd) / reference.sd,
        "reliable": np.asarray(corrected.reliable, float),
        "khat_of_quantity": np.asarray(corrected.khat),
        "guide_shift": shift(guide),
        "guide_spread": np.asarray(guide.sd) / reference.sd,
        **{name: np.asarray(getattr(fitted, name)) for name in names},
        "status": np.asarray(fitted.status, float),
        "seconds": seconds,
    }


def _by_model(dataset):
    return first(over(dataset, "model", "guide"), "model", "guide", "repeat", "quantity")


def _here(data):
    """Which quantities there are: models have different numbers of them."""
    return data["valid"] if "valid" in data else xarray.ones_like(data.reference_error, dtype=bool)


def _columns(data, *names):
    """Several variables of all quantities, flat and in one order."""
    like = data["shift"].transpose("model", "guide", "repeat", "quantity")
    here = _here(data).broadcast_like(like).transpose(*like.dims).values
    columns = {name: data[name].broadcast_like(like).transpose(*like.dims).values[here] for name in names}
    for name, values in columns.items():
        if not np.isfinite(values).all():
            raise NotJudged(f"{name}: not finite")
    return list(columns.values())


def _wrong(shift, spread):
    return (abs(shift) > MOST_OFF_MEAN) | (abs(spread - 1) > MOST_OFF_SD)


def _unflagged_are_right(dataset):
    shift, spread, reliable = _columns(_by_model(dataset), "shift", "spread", "reliable")
    held = reliable > 0.5
    if not held.any():
        raise NotJudged("nothing is unflagged")
    return Finding(
        below(abs(shift[held]), MOST_OFF_MEAN) & below(abs(spread[held] - 1), MOST_OFF_SD),
        measured=f"{held.sum()} of {held.size} unflagged, 0 wrong: means off by at most {abs(shift[held]).max():.3f} "
        f"standard deviations, those by {100 * abs(spread[held] - 1).max():.1f} %"
        if not _wrong(shift, spread)[held].any()
        else f"{_wrong(shift, spread)[held].sum()} of {held.sum()} unflagged are wrong",
        figure="posteriors",
    )


def _full_rank(dataset):
    data = _by_model(dataset)
    if "full-rank" not in data.guide.values:
        raise NotJudged("no full-rank guide")
    shift, reliable = _columns(data.sel(guide=["full-rank"]), "shift", "reliable")
    return Finding(
        above(reliable.mean(), 0.9) & below(abs(shift).max(), MOST_OFF_MEAN),
        measured=f"{int(reliable.sum())} of {reliable.size} quantities reliable, means off by at most "
        f"{abs(shift).max():.3f} standard deviations",
        figure="posteriors",
    )


def _mean_field_is_narrow(dataset):
    """Of mean-field guides: how narrow, and whether all that are say so."""
    data = _by_model(dataset)
    if "mean-field" not in data.guide.values:
        raise NotJudged("no mean-field guide")
    spread, told = _columns(data.sel(guide=["mean-field"]), "guide_spread", "khat")
    far = spread < _FAR
    missed = (spread < 1 - MOST_OFF_SD) & (told <= 0.7)
    return Finding(
        less(spread.min(), 0.5) & above(told[far], 0.7),
        limits=holds(missed.any()),
        measured=f"narrowest {spread.min():.3f} of the true deviation; k-hat by wider draws {told[far].min():.2f} "
        f"and more where less than {_FAR:g} is left, but {told.min():.2f} where {spread[told.argmin()]:.2f} is",
        figure="posteriors",
    )


def _fast(dataset):
    seconds = _by_model(dataset).seconds
    worst = float(seconds.max(skipna=False))
    return Finding(below(worst, 60.0), measured=f"at most {worst:.2g} s")


def _own_khat(dataset):
    """Whether a good k-hat of the guide's own draws vouches for the guide itself, uncorrected."""
    shift, spread, khat = _columns(_by_model(dataset), "guide_shift", "guide_spread", "guide_khat")
    good = khat <= 0.7
    wrong = _wrong(shift, spread) & good
    return Finding(
        holds(good.any()),
        limits=holds(wrong.any()),
        measured=f"{wrong.sum()} of {good.sum()} quantities wrong in the guide itself at a k-hat of at most 0.7",
        figure="posteriors",
    )


claims = {
    "unflagged-posteriors-are-right": _unflagged_are_right,
    "full-rank-corrected-tells-regressions": _full_rank,
    "mean-field-is-narrow-and-khat-says-so": _mean_field_is_narrow,
    "a-good-khat-vouches-for-weights-not-for-the-guide": _own_khat,
    "a-posterior-takes-less-than-a-minute": _fast,
}


def tables(dataset):
    data = _by_model(dataset)
    rows = []
    for guide in data.guide.values.tolist():
        for model in data.model.values.tolist():
            one = data.sel(guide=guide, model=model)
            rows.append(
                {
                    "model": model,
                    "guide": guide,
                    "guide's k-hat": lab.digits(one.guide_khat.max()),
                    "guide's worst mean, sd": lab.digits(abs(one.guide_shift).max()),
                    "guide's narrowest sd, ratio": lab.digits(one.guide_spread.min()),
                    "k-hat": lab.digits(one.khat.max()),
                    "reliable": lab.digits(one.reliable.mean()),
                    "worst mean, sd": lab.digits(abs(one["shift"]).max()),
                    "worst sd, share": lab.digits(abs(one.spread - 1).max()),
                    "ELBO, nat": lab.digits(one.elbo.mean(), 6),
                    "s": lab.digits(one.seconds.median()),
                }
            )
    return {"Fits beside the reference": rows}


def figures(dataset):
    data = _by_model(dataset)
    guides = data.guide.values.tolist()
    names = [model for model in MODELS if model in data.model.values]
    figure, axes = style.subplots(2, len(guides), width="page", height=5.2, squeeze=False, sharex="col", sharey="row")
    for column, guide in zip(axes.T, guides, strict=True):
        _draw_guide(column, data.sel(guide=guide), names)
        column[0].set_title(guide)
    axes[0, 0].set_ylabel("standard deviation / reference")
    axes[1, 0].set_ylabel("error of the mean (reference sd)")
    axes[0, 0].legend(loc="lower left", fontsize=6.5)
    figure.set_label(
        "Standard deviations (top) and errors of means (bottom) of all quantities beside the reference draws, by "
        "guide: of the guide itself (grey crosses), and by weighted draws, said to be reliable (blue) or not "
        "(hollow orange). Bands: within 15 % and within 0.1 standard deviations."
    )
    return {"posteriors": figure, "khat": _draw_khat(data, guides)}


def _draw_guide(column, data, names):
    """Both panels of a guide; a model's quantities side by side."""
    top, bottom = column
    panels = ((top, "guide_spread", "spread"), (bottom, "guide_shift", "shift"))
    for ax, own, corrected in panels:
        centre, half = (1.0, MOST_OFF_SD) if ax is top else (0.0, MOST_OFF_MEAN)
        ax.axhspan(centre - half, centre + half, color="#E6E6E6", lw=0)
        for at, name in enumerate(names):
            one = data.sel(model=name).isel(repeat=0)
            here = np.flatnonzero(_here(one).values)
            x = at + 0.7 * (np.arange(here.size) + 0.5) / here.size - 0.35
            held = one.reliable.values[here] > 0.5
            label = lambda text, at=at: text if at == 0 else "_"
            grey, orange = style.COLORS["grey"], style.COLORS["orange"]
            ax.plot(x, one[own].values[here], "x", color=grey, ms=3.5, mew=0.8, label=label("guide itself"))
            values = one[corrected].values[here]
            ax.plot(x[held], values[held], "o", color=style.COLORS["blue"], ms=3, label=label("weighted, reliable"))
            hollow = {"color": orange, "ms": 3, "mfc": "none", "mew": 0.8, "label": label("weighted, flagged")}
            ax.plot(x[~held], values[~held], "s", **hollow)
    top.set(yscale="log")
    bottom.set_yscale("symlog", linthresh=0.1)
    bottom.set_xticks(range(len(names)), [LABELS[MODELS.index(name)] for name in names], rotation=60, ha="right")


def _draw_khat(data, guides):
    """Each fit's largest error against its k-hat: of the guide itself, and by weights."""
    figure, axes = style.subplots(1, 2, width="page", height=2.8, sharey=True)
    pairs = (("guide_khat", "guide_shift", "guide_spread"), ("khat", "shift", "spread"))
    for ax, (khat, shift, spread), title in zip(axes, pairs, ("guide itself", "by weights"), strict=True):
        off = np.maximum(abs(data[shift]) / MOST_OFF_MEAN, abs(data[spread] - 1) / MOST_OFF_SD).max("quantity")
        for guide, look in zip(guides, ("o", "s", "^"), strict=False):
            color = style.COLORS[("blue", "orange", "green")[guides.index(guide)]]
            ax.plot(
                data[khat].sel(guide=guide).values.ravel(),
                off.sel(guide=guide).transpose(*data[khat].sel(guide=guide).dims).values.ravel(),
                look,
                color=color,
                ms=4,
                alpha=0.8,
                label=guide,
            )
        ax.axhline(1, color=style.COLORS["grey"], lw=0.8)
        ax.axvline(0.7, color=style.COLORS["grey"], lw=0.8)
        ax.set(yscale="log", xlabel=r"$\hat k$", title=title)
    axes[0].set_ylabel("largest error / allowed")
    axes[0].legend(loc="upper left", fontsize=6.5)
    figure.set_label(
        "The largest error of a fit over what is allowed (0.1 standard deviations of a mean, 15 % of a standard "
        "deviation) against k-hat: of the guide and its own draws, and by weights with wider draws among them. Lines: "
        "what is allowed, and k-hat of 0.7."
    )
    return figure

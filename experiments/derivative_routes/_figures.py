"""How good the choice, the prediction and the planning of routes are, drawn."""

import numpy as np

from experiments import derivative_routes as routes
from jaxcalc import style


def figures(operator, dataset):
    data = routes.regrets(dataset)
    found = {}
    if bool(np.isfinite(data["regret"]).any(0).all()) and len(data["regret"]) > 2:
        found["regret"] = draw_regret(operator, data)
    if (np.isfinite(data["predicted"]) & data["valid"]).sum() > 2:
        found["prediction"] = draw_prediction(operator, data)
    if len(data["function"]) > 2:
        found["planning"] = draw_planning(operator, data)
    return found


def draw_regret(operator, data):
    """The share of functions on which a rule is within a factor of the best, one panel for each split."""
    splits = [split for split in ("tuned", "held out") if (data["split"] == split).any()]
    figure, panels = style.subplots(1, len(splits), width="page", height=2.9, sharey=True, squeeze=False)
    end = min(1.3 * float(np.nanmax(data["regret"])), 6.0)  # a curve below 1 there tells how many are beyond
    for panel, split in zip(panels[0], splits):
        mine = data["split"] == split
        for rule, (_, color, line) in routes.RULES.items():
            regret = data["regret"][mine, data["rules"].index(rule)]
            known = np.sort(regret[np.isfinite(regret)])
            if not len(known):
                continue
            share = np.arange(1, len(known) + 1) / mine.sum()
            label = f"{routes.title(operator, rule)}: {routes.mean(known):.3f}"
            x, y = np.r_[1.0, known, max(end, known[-1])], np.r_[0.0, share, share[-1]]
            panel.step(x, y, where="post", color=style.COLORS[color], linestyle=line, label=label)
        panel.set(xscale="log", xlim=(0.98, end), ylim=(0, 1.02))
        panel.set_title(f"{split} functions ({int(mine.sum())})")
        panel.set_xlabel("time over that of the fastest, peers included")
        style.ticks(panel.xaxis, [tick for tick in (1, 1.5, 2, 3, 5) if tick <= end])
        panel.legend(loc="lower right", title="geometric mean", title_fontsize=7.5)
    panels[0][0].set_ylabel("share of functions within that factor")
    figure.set_label(
        f"How often each rule's choice for the {operator} is within a factor of the fastest strategy. "
        f"The planner's rates were not fitted to held-out functions."
    )
    return figure


def draw_prediction(operator, data):
    """Predicted against measured time, a marker for each strategy; the band is a factor of two."""
    middle = routes.medians(data["seconds"])
    figure, axis = style.subplots(width=5.2, height=3.9)
    shown = data["valid"] & np.isfinite(data["predicted"])
    low, high = (f(np.r_[middle[shown], data["predicted"][shown]]) for f in (np.min, np.max))
    ends = np.array([low / 2, high * 2])
    axis.fill_between(ends, ends / 2, ends * 2, color="#EDEDED", linewidth=0, zorder=0)
    axis.plot(ends, ends, **style.THEORY)
    for s, name in enumerate(data["strategies"]):
        there = shown[:, s]
        if there.any():
            look = style.method(name, linestyle="", markersize=4.5, alpha=0.75)
            axis.plot(middle[there, s], data["predicted"][there, s], **look)
    axis.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    axis.set(xlabel="measured (s)", ylabel="predicted (s)")
    axis.set_aspect("equal")
    axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    off = np.exp(abs(np.log(data["predicted"][shown] / middle[shown])))
    axis.annotate(
        f"within 2 times (band): {np.mean(off <= 2):.0%}",
        (0.03, 0.97),
        xycoords="axes fraction",
        va="top",
        fontsize=7.5,
    )
    figure.set_label(f"Time of every strategy for every {operator}, predicted from its program and measured.")
    return figure


def draw_planning(operator, data):
    """Seconds to plan against seconds to compile what was planned."""
    from matplotlib.ticker import LogLocator

    rows = np.arange(len(data["planned"]))
    compiling = data["compile_seconds"][rows, data["planned"]]
    figure, axis = style.subplots(width=4.2, height=3.2)
    for split, color, marker in (("tuned", "blue", "o"), ("held out", "vermilion", "s")):
        mine = data["split"] == split
        axis.plot(
            compiling[mine],
            data["planning_seconds"][mine],
            marker,
            color=style.COLORS[color],
            label=f"{split} functions",
            alpha=0.75,
        )
    known = compiling[np.isfinite(compiling)]
    ends = np.array([known.min() / 1.3, known.max() * 1.3])
    axis.plot(ends, routes.PLANNING_SHARE * ends, **style.THEORY, label=f"{routes.PLANNING_SHARE:.0%} of compiling")
    share = routes.mean(routes.shares(data)[0][np.isfinite(compiling)])
    axis.plot(ends, share * ends, color=style.COLORS["black"], linewidth=1.0, label=f"geometric mean: {share:.0%}")
    axis.set(xscale="log", yscale="log", xlim=ends)
    for line in (axis.xaxis, axis.yaxis):
        line.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        line.set_major_formatter("{x:g}")
    axis.minorticks_off()
    axis.set(xlabel="compiling the planned program (s)", ylabel="planning by estimate (s)")
    axis.legend(loc="best")
    figure.set_label(f"What planning a {operator} by estimate takes beside compiling the program that it chooses.")
    return figure

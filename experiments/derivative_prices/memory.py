"""Is the predicted peak memory of a route what XLA allocates for it?"""

import functools

import numpy as np
import pydantic

from experiments._survey import flat
from experiments.derivative_prices import complete
from jaxcalc import lab, scenarios, style
from jaxcalc.lab import Finding, NotJudged, Variable, above, digits, jax

kind = "host"


class Config(lab.Config):
    problem: str = "5-point stencil"
    """a case of jaxcalc.scenarios, whatever its operator"""

    @pydantic.field_validator("problem")
    @classmethod
    def _in_the_catalogue(cls, name: str) -> str:
        return scenarios.case(name).name


VARIABLES = {
    "strategy": Variable(("strategy",), "", "a route to the derivative"),
    "function": Variable((), "", "the function's name"),
    "operator": Variable((), "", "the derivative that is asked for"),
    "split": Variable((), "", "whether the planner's rates were fitted to the function"),
    "predicted": Variable(("strategy",), "B", "predicted peak of temporaries and outputs"),
    "temporaries": Variable(("strategy",), "B", "temporaries that XLA allocates"),
    "outputs": Variable(("strategy",), "B", "memory of the outputs"),
    "footprint": Variable(("strategy",), "B", "temporaries and outputs that XLA allocates"),
    "chosen": Variable(("strategy",), "", "whether it is the planned route"),
}


def run(config, key):
    """Compile every route that the planner offers, and read XLA's account of its memory; nothing is run."""
    from experiments import _contest
    from jaxcalc.transforms import choose, plan
    from jaxcalc.transforms.plan import Request

    case = scenarios.case(config.problem)
    public, known = _contest.operators()[case.operator]
    every = tuple(f"{operator}: {name}" for operator, names in _contest.STRATEGIES.items() for name in names)
    found: dict[str, tuple[float, ...]] = {}
    with jax.enable_x64(case.dtype == "float64"), _contest.nothing_remembered():
        instance = case.build()
        made = plan(public, instance.fun, *instance.arguments)
        request = Request(known, instance.fun, known.choices(), instance.arguments)
        for route in made.routes:
            if not route.refused and route.cost is not None:
                name = f"{case.operator}: {_contest.strategy(case.operator, route)}"
                program = choose.compiled(request, route)
                planned = float(route.label == made.chosen.label)
                sizes = float(route.cost.peak_bytes), program.temporaries, program.outputs, program.footprint
                found[name] = (*sizes, planned)
    columns = np.array([found.get(name, (np.nan,) * 4 + (0.0,)) for name in every], float).T
    return {
        "strategy": np.array(every),
        "function": np.array(case.name),
        "operator": np.array(case.operator),
        "split": np.array(case.split),
        **dict(zip(("predicted", "temporaries", "outputs", "footprint"), columns)),
        "chosen": columns[4] > 0,
    }


# Predicted within this factor of what XLA allocates, on so many of the routes; and so rarely too little.
_FACTOR, _WITHIN, _SAFE, _SAFELY = 2.0, 0.8, 0.8, 0.9
_NAMED = {"function": "function", "split": "split", "route": "strategy"}  # columns of a table


def _pairs(dataset):
    """One entry for each compiled route: function, operator, split, strategy, predicted, footprint, chosen."""
    data = flat(dataset, VARIABLES, "function")
    # Where there is no such route both are missing.
    there = ~(np.isnan(data["footprint"]) & np.isnan(data["predicted"]))
    point, column = np.nonzero(there & (data["footprint"] != 0))
    found = {name: data[name][point] for name in ("function", "operator", "split")}
    found |= {name: data[name][point, column] for name in ("predicted", "footprint", "chosen")}
    found["strategy"] = dataset["strategy"].values.astype(str)[column]
    found["ratio"] = found["predicted"] / found["footprint"]
    return found


def _share(ratio):
    """The shares within the factor, and not far below."""
    return float(np.mean((ratio <= _FACTOR) & (ratio >= 1 / _FACTOR))), float(np.mean(ratio >= _SAFE))


def _peak(which, least, dataset):
    """One of the two shares, of all routes and of those of each half of the functions."""
    complete(dataset, "function")
    data = _pairs(dataset)
    ratio = data["ratio"]
    if len(ratio) < 2:
        raise NotJudged("takes two routes or more")
    halves = {split: ratio[data["split"] == split] for split in ("tuned", "held out")}
    shares = {split: _share(values)[which] for split, values in halves.items() if len(values)}
    every = _share(ratio)[which]
    each = ", ".join(f"{share:.1%} {split}" for split, share in shares.items())
    return Finding(
        above(ratio, 0.0) & above([every, *shares.values()], least),
        measured=f"{every:.1%} of {len(ratio)} routes ({each})",
    )


def tables(dataset):
    data = _pairs(dataset)
    summary = []
    for name in dict.fromkeys(dataset["strategy"].values.astype(str).tolist()):
        ratio = data["ratio"][data["strategy"] == name]
        if len(ratio):
            within, safe = _share(ratio)
            low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9))
            summary.append(
                {
                    "route": name,
                    "functions": len(ratio),
                    "predicted / allocated, median": digits(middle),
                    "10th percentile": digits(low),
                    "90th percentile": digits(high),
                    "within 2 times": f"{within:.0%}",
                    "at least 0.8": f"{safe:.0%}",
                }
            )
    order = np.argsort(-abs(np.log(data["ratio"])), kind="stable")[:8]
    worst = [
        {
            **{name: str(data[of][i]) for name, of in _NAMED.items()},
            "predicted MB": digits(data["predicted"][i] / 1e6),
            "allocated MB": digits(data["footprint"][i] / 1e6),
            "ratio": digits(data["ratio"][i]),
        }
        for i in order
    ]
    tables = {"Predicted peak memory over XLA's temporaries and outputs": summary, "The farthest": worst}
    return {title: rows for title, rows in tables.items() if rows}


def figures(dataset):
    """Predicted against allocated, a marker for each operator; the band is the factor of two."""
    data = _pairs(dataset)
    if len(data["ratio"]) < 2:
        return {}
    splits = [split for split in ("tuned", "held out") if (data["split"] == split).any()]
    width = "page" if len(splits) > 1 else 4.0
    figure, panels = style.subplots(1, len(splits), width=width, height=3.6, squeeze=False, sharey=True)
    both = np.r_[data["predicted"], data["footprint"]]
    ends = np.array([max(both[both > 0].min() / 2, 1.0), both.max() * 2])
    looks = {"jacobian": ("blue", "o"), "hessian": ("vermilion", "s"), "laplacian": ("green", "^")}
    for panel, split in zip(panels[0], splits):
        panel.fill_between(ends, ends / _FACTOR, ends * _FACTOR, color="#EDEDED", linewidth=0, zorder=0)
        panel.plot(ends, ends, **style.THEORY)
        for operator, (color, marker) in looks.items():
            mine = (data["split"] == split) & (data["operator"] == operator)
            look = {"color": style.COLORS[color], "markersize": 3.5, "alpha": 0.7}
            if mine.any():
                look["label"] = f"{operator.capitalize()} ({int(mine.sum())} routes)"
                panel.plot(data["footprint"][mine], data["predicted"][mine], marker, **look)
        within, safe = _share(data["ratio"][data["split"] == split])
        text = f"within 2 times: {within:.0%}\nat least 0.8: {safe:.0%}"
        panel.annotate(text, (0.97, 0.03), xycoords="axes fraction", ha="right", fontsize=7.5)
        panel.set(xscale="log", yscale="log", xlim=ends, ylim=ends, title=f"{split} functions")
        panel.set_aspect("equal")
        panel.set_xlabel("temporaries + outputs by XLA (bytes)")
        panel.legend(loc="upper left")
    panels[0, 0].set_ylabel("predicted peak (bytes)")
    figure.set_label("Peak memory of every route, predicted from its program and as XLA allocates it.")
    return {"memory": figure}


claims = {
    "peak-within-twice": functools.partial(_peak, 0, _WITHIN),
    "peak-rarely-too-low": functools.partial(_peak, 1, _SAFELY),
}

"""How often is the planned route to a derivative the best one?

Every function of a catalogue, half of which has no part in the fit of the planner's rates: all strategies and their
peers are compiled beforehand, take turns under one clock, and are set against what was predicted and chosen. The regret
of a choice is its time over that of the fastest, peers included. ``jacobians``, ``hessians`` and ``laplacians`` ask the
same of three operators.
"""

import functools
from typing import Any, ClassVar

import numpy as np
import pydantic

from experiments import _contest
from experiments._survey import Timed, flat
from jaxcalc import scenarios
from jaxcalc.lab import Finding, NotJudged, Variable, below, digits, equal, less


class Settings(Timed):
    """What the parts share; each names its operator."""

    operator: ClassVar[str]
    problem: str
    """a case of jaxcalc.scenarios"""
    repeats: int = pydantic.Field(15, ge=1)
    min_seconds: float = pydantic.Field(5e-3, ge=0)
    patience: float = pydantic.Field(2.0, gt=0)
    """a strategy that is predicted to take more seconds is not compiled, unless a rule chose it"""
    run_limit: float = pydantic.Field(2000.0, gt=0)
    """a program whose temporaries and outputs exceed this many MB is not run"""
    contention: float = pydantic.Field(4.0, ge=1)
    """what is this many times slower than the fastest takes part in three rounds only"""

    @pydantic.field_validator("problem")
    @classmethod
    def _in_the_catalogue(cls, name: str) -> str:
        found = scenarios.case(name)
        if found.operator != cls.operator:
            raise ValueError(f"{name!r} asks for a {found.operator}; this part takes cases of the {cls.operator}")
        return name


def run(config, key):
    """All strategies for the operator's derivative of one function."""
    return _contest.hold(config.operator, config)


VARIABLES = {
    "strategy": Variable(("strategy",), "", "a way to the derivative, ours or a peer's"),
    "rule": Variable(("rule",), "", "what chooses a strategy"),
    "function": Variable((), "", "the function's name", measured=False),
    "family": Variable((), "", "what the function is a member of", measured=False),
    "split": Variable((), "", "whether the planner's rates were fitted to it", measured=False),
    "precision": Variable((), "", "dtype of the function's arguments", measured=False),
    "num_inputs": Variable((), "", "number of inputs n", measured=False),
    "num_outputs": Variable((), "", "number of outputs m", measured=False),
    "products": Variable(("strategy",), "", "products with the Jacobian or its transpose", measured=False),
    "predicted": Variable(("strategy",), "s", "predicted time of one call", measured=False),
    "seconds": Variable(("strategy", "repeat"), "s", "time of one call"),
    "again": Variable(("repeat",), "s", "time of the planned program, read a second time in the same rounds"),
    "compile_seconds": Variable(("strategy",), "s", "time that XLA took to compile"),
    "trace_seconds": Variable(("strategy",), "s", "time from Python to StableHLO"),
    "deviation": Variable(("strategy",), "", "largest difference from the reference over its largest entry"),
    "status": Variable(("strategy",), "", "measured, or why it was not", measured=False),
    "choice": Variable(("rule",), "", "the strategy that a rule chooses"),
    "planning_seconds": Variable((), "s", "time to plan by estimate, nothing known of the function"),
    "measuring_seconds": Variable((), "s", "time to plan by measurement"),
}

# What each rule is called and how it is drawn.
RULES = {
    "estimate": ("planned by estimate", "blue", "-"),
    "measure": ("planned by measurement", "green", "-"),
    "fewest products": ("fewest products", "orange", "--"),
    "peer": ("", "vermilion", "-."),
}
PEER_RULE = {"jacobian": "jacfwd or jacrev by shape", "hessian": "jax.hessian", "laplacian": "folx"}
PLANNING_SHARE = 0.5  # of compiling, as the ledger has it


def ratio(a: np.ndarray, b: np.ndarray) -> float:
    """The ratio of two strategies' times: round by round where both took part, so that a common drift cancels."""
    if np.isfinite(a).all() and np.isfinite(b).all():
        return float(np.median(a / b))
    return float(np.nanmedian(a) / np.nanmedian(b))


def regret_of(seconds: np.ndarray, valid: np.ndarray, chosen: int) -> tuple[float, int]:
    """A strategy's time over that of the fastest valid one, and which one that is; NaN if it has no valid reading."""
    if not valid[chosen]:
        return np.nan, -1
    ratios = {int(i): ratio(seconds[chosen], seconds[i]) for i in np.flatnonzero(valid)}
    best = max(ratios, key=ratios.__getitem__)
    return ratios[best], best


def cross_fitted(seconds: np.ndarray, valid: np.ndarray, chosen: int) -> float:
    """A regret whose best is picked by one half of the rounds and timed by the other, both ways, geometric mean.

    The fastest of ten that differ by noise alone is the luckiest: its time is too good, and every regret too large.
    """
    raced = np.flatnonzero(valid & np.isfinite(seconds).all(-1))
    if chosen not in raced or seconds.shape[-1] < 4:
        return np.nan
    even, odd = seconds[:, ::2], seconds[:, 1::2]
    found = []
    for picking, timing in ((even, odd), (odd, even)):
        best = max(raced, key=lambda i: ratio(picking[chosen], picking[i]))
        found.append(np.log(ratio(timing[chosen], timing[best])))
    return float(np.exp(np.mean(found)))


def regrets(dataset):
    """The arrays, with ``regret``, ``fair`` (cross-fitted) and ``best`` of shape (point, rule), and ``noise``.

    The noise is that of the planned program, read twice, against itself.
    """
    data: dict[str, Any] = flat(dataset, VARIABLES, "function")
    strategies, rules = [list(map(str, dataset[name].values)) for name in ("strategy", "rule")]
    valid = (data["status"] == _contest.MEASURED) & np.isfinite(data["seconds"]).any(-1)
    data |= {"strategies": strategies, "rules": rules, "valid": valid}
    found = [
        [regret_of(data["seconds"][p], valid[p], strategies.index(str(name))) for name in data["choice"][p]]
        for p in range(len(valid))
    ]
    table = np.array(found, float).reshape(len(valid), len(rules), 2)
    data["regret"], data["best"] = table[..., 0], table[..., 1].astype(int)
    data["fair"] = np.array(
        [
            [cross_fitted(data["seconds"][p], valid[p], strategies.index(str(name))) for name in data["choice"][p]]
            for p in range(len(valid))
        ]
    ).reshape(len(valid), len(rules))
    planned = np.array([strategies.index(str(name)) for name in data["choice"][:, rules.index("estimate")]], int)
    data["planned"] = planned
    once = data["seconds"][np.arange(len(planned)), planned]
    ratios = [ratio(a, b) for a, b in zip(once, data["again"]) if np.isfinite(a).all() and np.isfinite(b).all()]
    data["noise"] = np.exp(abs(np.log(ratios))) if ratios else np.array([np.nan])
    return data


def mean(values: np.ndarray) -> float:
    """The geometric mean; NaN if there is nothing, or if one is missing."""
    return float(np.exp(np.mean(np.log(values)))) if len(values) else float("nan")


# What the regrets of a rule are judged by.
STATISTICS = {
    "on average": mean,
    "nearly always": lambda regret: float(np.quantile(regret, 0.9)),
    "at worst": lambda regret: float(np.max(regret)),
}


def judges(operator):
    """Rightness, the regret by estimate and by measurement, the comparison with counting products, planning's share."""
    found: dict[str, Any] = {"every strategy right": functools.partial(every_right, operator)}
    for rule in ("estimate", "measure"):
        for word in STATISTICS:
            if word != "nearly always" or (operator, rule) == ("jacobian", "estimate"):
                found[f"{rule} {word}"] = functools.partial(regret_within, rule, word)
    if operator != "laplacian":
        found["better than counting products"] = better_than_counting
    found["planning is cheaper than compiling"] = cheap_planning
    return {f"{operator}: {name}": judge for name, judge in found.items()}


def told(dataset):
    """What ``regrets`` finds, of a run that says how every contender fared."""
    data = regrets(dataset)
    if missing := dataset["function"].size - len(data["function"]):
        raise NotJudged(f"{missing} of {dataset['function'].size} functions without a result")
    if len(data["function"]) < 2:
        raise NotJudged("takes two functions or more")
    if unread := int(((data["status"] == _contest.MEASURED) & ~data["valid"]).sum()):
        raise NotJudged(f"{unread} contenders measured, without a reading")
    return data


def every_right(operator, dataset):
    data, own = told(dataset), len(_contest.STRATEGIES[operator])
    status = data["status"].astype(str)
    wrong = np.char.startswith(status, _contest.WRONG)
    failed = np.char.startswith(status, "failed")
    named = lambda p, s: f"{data['function'][p]} by {data['strategies'][s]}"
    bad = [f"{named(p, s)}, {status[p, s]}" for p, s in np.argwhere((wrong | failed)[:, :own])]
    peers = [named(p, own + s) for p, s in np.argwhere(wrong[:, own:])]
    allowed = np.sqrt([np.finfo(str(name)).eps for name in data["precision"]])
    off = (data["deviation"] / allowed[:, None])[:, :own][(status == _contest.MEASURED)[:, :own]]
    return Finding(
        equal(len(bad), 0) & below(abs(off), 1.0),
        measured="; ".join(bad) or f"{off.size} results agree, to {off.max():.2g} of sqrt(eps)",
        note=f"Of the peers {int(failed[:, own:].sum())} fail and {len(peers)} are wrong"
        + (f": {'; '.join(peers)}." if peers else "."),
    )


def regret_within(rule, word, dataset):
    data = told(dataset)
    regret, fair = (data[name][:, data["rules"].index(rule)] for name in ("regret", "fair"))
    if lost := int(np.isnan(regret).sum()):
        raise NotJudged(f"{lost} of {len(regret)} choices without a reading")
    noise = f"The same program read twice differs by {mean(data['noise']):.3g} times "
    noise += f"(geometric mean), at worst {data['noise'].max():.3g}."
    if np.isfinite(fair).any():
        noise += " Cross-fitted (the best picked by half of the rounds, timed by the other): "
        noise += f"{mean(fair[np.isfinite(fair)]):.4g}."
    value = STATISTICS[word](regret)
    by = f" ({data['function'][np.argmax(regret)]})" if word == "at worst" else ""
    return Finding(below(value), measured=f"{value:.4g}{by}", figure="regret", note=noise)


def better_than_counting(dataset):
    """On held-out functions where the choice of either has a reading; fewest products may be too slow to read."""
    data = told(dataset)
    ours, theirs = (
        data["regret"][data["split"] == "held out", data["rules"].index(rule)]
        for rule in ("estimate", "fewest products")
    )
    if lost := int(np.isnan(ours).sum()):
        raise NotJudged(f"{lost} of {len(ours)} choices without a reading")
    both = ~np.isnan(theirs)
    ours, theirs = ours[both], theirs[both]
    wins, losses = int((theirs > 1.03 * ours).sum()), int((ours > 1.03 * theirs).sum())
    return Finding(
        less(mean(ours), mean(theirs)),
        measured=f"{mean(ours):.4g} against {mean(theirs):.4g}; of {len(ours)} functions "
        f"{wins} better and {losses} worse by more than 3 %",
        figure="regret",
    )


def cheap_planning(dataset):
    share, with_tracing = shares(told(dataset))
    return Finding(
        below(mean(share)),
        measured=f"{mean(share):.3g}, from {share.min():.2g} to {share.max():.2g}",
        figure="planning",
        note=f"Of tracing and compiling together {mean(with_tracing):.3g}.",
    )


def shares(data):
    """Seconds of planning over those of compiling the planned program, without and with its tracing."""
    rows = np.arange(len(data["planned"]))
    compiling = data["compile_seconds"][rows, data["planned"]]
    return data["planning_seconds"] / compiling, data["planning_seconds"] / (
        compiling + data["trace_seconds"][rows, data["planned"]]
    )


def tables(operator, dataset):
    """By split; the worst five with what was predicted; every function."""
    data = regrets(dataset)
    rules = {name: data["regret"][:, data["rules"].index(name)] for name in data["rules"]}
    summary = []
    for rule, regret in rules.items():
        for split in ("tuned", "held out"):
            there, fair = data["split"] == split, data["fair"][:, data["rules"].index(rule)]
            known = regret[there & np.isfinite(regret)]
            if len(known):
                summary.append(
                    {
                        "rule": title(operator, rule),
                        "functions": f"{len(known)} {split}",
                        "geometric mean": digits(mean(known), 4),
                        "cross-fitted": digits(mean(fair[there & np.isfinite(fair)]), 4),
                        "90th percentile": digits(np.quantile(known, 0.9)),
                        "worst": digits(known.max()),
                        "within 5 %": f"{np.mean(known <= 1.05):.0%}",
                    }
                )
    estimate = rules["estimate"]
    order = np.argsort(-np.where(np.isfinite(estimate), estimate, np.inf), kind="stable")
    middle = medians(data["seconds"])
    worst = []
    for p in order[:5]:
        chosen, best = data["planned"][p], data["best"][p, data["rules"].index("estimate")]
        ahead = data["strategies"][best] if best >= 0 else ""
        worst.append(
            {
                "function": str(data["function"][p]),
                "split": str(data["split"][p]),
                "regret": digits(estimate[p]),
                "planned": data["strategies"][chosen],
                "predicted ms": _contest.in_ms(data["predicted"][p, chosen]),
                "measured ms": _contest.in_ms(middle[p, chosen]),
                "fastest": ahead,
                "its predicted ms": _contest.in_ms(data["predicted"][p, best]) if best >= 0 else np.nan,
                "its measured ms": _contest.in_ms(middle[p, best]) if best >= 0 else np.nan,
            }
        )
    every = [
        {
            "function": str(data["function"][p]),
            "split": str(data["split"][p]),
            "n": int(data["num_inputs"][p]),
            "m": int(data["num_outputs"][p]),
            "planned": data["strategies"][data["planned"][p]],
            "ms": _contest.in_ms(middle[p, data["planned"][p]]),
            "fastest": data["strategies"][best] if (best := data["best"][p, 0]) >= 0 else "",
            "regret": digits(estimate[p]),
            "measured": digits(rules["measure"][p]),
            "fewest products": digits(rules["fewest products"][p]),
            "peer": digits(rules["peer"][p]),
        }
        for p in range(len(estimate))
    ]
    return {
        f"Regret of the {operator}: time over the fastest, peers included": summary,
        f"The worst five plans of a {operator}": worst,
        f"The {operator} of every function: regret by each rule": every,
    }


def medians(seconds: np.ndarray) -> np.ndarray:
    """Medians over the rounds that there were."""
    there: Any = np.isfinite(seconds).any(-1, keepdims=True)
    return np.where(there[..., 0], np.nanmedian(np.where(there, seconds, 0.0), -1), np.nan)


def title(operator: str, rule: str) -> str:
    return RULES[rule][0] or PEER_RULE[operator]

"""What do Jacobians with dense rows and columns cost, dense and sparse, against dense routes and peers?"""

from typing import Literal

import numpy as np
import pydantic

from experiments import _contest
from experiments._peers import pattern_of
from experiments._survey import Timed
from experiments.sparse_derivatives import (
    CONTEST,
    Built,
    agree,
    hold,
    look_of,
    medians,
    planned,
)
from jaxcalc import measure, scenarios, style
from jaxcalc.lab import Finding, NotJudged, above, below, between, digits, first, jax, over
from jaxcalc.lab.judge import Judge

kind = "timed"
dtype = "float32"
VARIABLES = CONTEST


def _ran(data, names):
    """Of some routes those that ran at this point."""
    reads = {name: float(data.reads.sel(route=name)) for name in names if name in data.route.values}
    if not np.isfinite(list(reads.values())).all():
        raise NotJudged("which routes ran is not known")
    return [name for name, count in reads.items() if count > 0]


def _best(data, names):
    """The least median among the routes named, of those that ran; NaN for none."""
    values = [float(medians(data).sel(route=name)) for name in _ran(data, names)]
    return float(np.min(values)) if values else float("nan")


_DENSE = ("jacfwd", "jacrev", "forward", "reverse")
_PEERS = ("asdex forward", "asdex reverse")
_SPARSE_PEERS = ("asdex forward, BCOO", "asdex reverse, BCOO", "sparsejac forward, BCOO", "sparsejac reverse, BCOO")
_ROUTES = ("auto", *_DENSE, *_PEERS, "auto, BCOO", *_SPARSE_PEERS)


class Config(Timed):
    problem: Literal["arrowhead", "bordered band"] = "arrowhead"
    """a dense row, a dense column and a diagonal; or a tridiagonal band with a dense border"""
    size: int = pydantic.Field(1000, ge=3)
    """n, inputs and outputs"""
    sparsejac_limit: int = pydantic.Field(1000, ge=0)
    """above this n sparsejac is left out: its colouring visits the n^2 pairs of conflicting columns in Python"""
    repeats: int = pydantic.Field(7, ge=1)


def _asdex_routes(fun, arguments):
    """asdex in either mode and format, pattern and colouring made beforehand."""
    import warnings

    import asdex  # pyright: ignore[reportMissingImports]

    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that as many colours as columns do not pay
        modes: dict[Literal["fwd", "rev"], str] = {"fwd": "forward", "rev": "reverse"}
        formats: dict[Literal["dense", "bcoo"], str] = {"dense": "", "bcoo": ", BCOO"}
        for mode, word in modes.items():
            coloring = asdex.jacobian_coloring(fun, *arguments, mode=mode)
            for output_format, ending in formats.items():
                call = asdex.jacobian_from_coloring(fun, coloring, output_format=output_format)
                found[f"asdex {word}{ending}"] = call, arguments, coloring.num_colors
    return found


def _sparsejac_routes(fun, arguments):
    """sparsejac in either mode, which has to be given the pattern."""
    import sparsejac  # pyright: ignore[reportMissingImports]

    pattern = pattern_of(fun, arguments)
    return {
        "sparsejac forward, BCOO": (sparsejac.jacfwd(fun, pattern), arguments, -1),
        "sparsejac reverse, BCOO": (sparsejac.jacrev(fun, pattern), arguments, -1),
    }


def run(config, key):
    from jaxcalc.transforms import jacobian

    dtype = "float64" if jax.config.read("jax_enable_x64") else "float32"
    scenario = scenarios.case(config.problem).build(dtype, size=config.size)
    fun, arguments, n = scenario.fun, scenario.arguments, config.size
    built: dict[str, Built] = {
        "auto": planned(fun, arguments),
        "auto, BCOO": planned(fun, arguments, output_format="bcoo"),
        "jacfwd": (jax.jacfwd(fun), arguments, n),
        "jacrev": (jax.jacrev(fun), arguments, n),
        "forward": (jacobian(fun, method="forward"), arguments, n),
        "reverse": (jacobian(fun, method="reverse"), arguments, n),
    }
    if _contest.installed("asdex"):
        built |= _asdex_routes(fun, arguments)
    if _contest.installed("sparsejac") and n <= config.sparsejac_limit:
        built |= _sparsejac_routes(fun, arguments)
    return hold(built, _ROUTES, config, jax.jit(jax.jacrev(fun))(*arguments))


def _sizes(dataset, problem):
    """The points of one problem along the sizes, or none."""
    data = over(dataset, "problem", "size")
    if problem not in data.problem.values:
        return None
    return first(data.sel(problem=problem), "size", "route", "repeat")


def _of(dataset, problem):
    data = _sizes(dataset, problem)
    if data is None:
        raise NotJudged(f"it takes the {problem}")
    return data


def _few_products(problem: str, most: int) -> Judge:
    def judge(dataset):
        data = _of(dataset, problem)
        large = data["size"].values >= 1000
        products = data.products.sel(route=["auto", "auto, BCOO"]).isel(size=large if large.any() else slice(None))
        words = ", ".join(f"{v:.0f}" for v in np.unique(products))
        return Finding(between(products, 1, most), measured=words, figure="sizes")

    return judge


def _faster(problem: str, size: int, route: str, least: float) -> Judge:
    def judge(dataset):
        data = _of(dataset, problem)
        if size not in data["size"].values:
            raise NotJudged(f"it takes n = {size}")
        point = data.sel(size=size)
        dense, ours = _best(point, _DENSE), float(medians(point).sel(route=route))
        return Finding(
            above(dense / ours, least),
            measured=f"{_contest.in_ms(dense)} ms / {_contest.in_ms(ours)} ms = {dense / ours:.3g}",
            figure="sizes",
        )

    return judge


def _not_beaten(problem: str) -> Judge:
    def judge(dataset):
        data, ratios = _of(dataset, problem), {}
        for size in data["size"].values:
            point = data.sel(size=size)
            for route, others in (("auto", (*_DENSE, *_PEERS)), ("auto, BCOO", _SPARSE_PEERS)):
                if _ran(point, others):
                    ours = float(medians(point).sel(route=route))
                    ratios[f"{route}, n = {size}"] = ours / _best(point, others)
        worst = max(ratios, key=ratios.__getitem__)
        return Finding(below(list(ratios.values()), 1.25), measured=f"{ratios[worst]:.3g} ({worst})", figure="sizes")

    return judge


def figures(dataset):
    """Time against n, the dense result above and the sparse one below, a column for each problem."""
    lines = {p: _sizes(dataset, p) for p in ("arrowhead", "bordered band")}
    lines = {p: data for p, data in lines.items() if data is not None and data.sizes["size"] > 1}
    if not lines:
        return {}
    figure, panels = style.subplots(2, len(lines), width="page", height=6.0, squeeze=False, sharex="col", sharey="row")
    for (problem, data), column in zip(lines.items(), panels.T):
        n, seconds = data["size"].values.astype(float), medians(data)
        for panel, sparse in zip(column, (False, True)):
            for route in _ROUTES:
                values = seconds.sel(route=route).values
                if ("BCOO" in route) != sparse or np.isfinite(values).sum() < 2:
                    continue
                power = measure.exponent(n[-3:], values[-3:])
                label = route.removesuffix(", BCOO")
                label += f": $n^{{{power:.1f}}}$" if np.isfinite(power) else ""
                panel.plot(n, values, **look_of(route) | {"label": label})
            panel.set(xscale="log", yscale="log")
            style.ticks(panel.xaxis, n)
            panel.legend(fontsize=6, ncols=2, loc="upper left")
            low, high = panel.get_ylim()
            panel.set_ylim(low, high * (high / low) ** 0.45)
            panel.set_title(f"{problem}, {'BCOO' if sparse else 'dense'}")
        column[1].set_xlabel("size $n$")
    for panel in panels[:, 0]:
        panel.set_ylabel("time (s)")
    figure.set_label(
        "Median time of a Jacobian against its size, with the exponent of the last three sizes: the dense result "
        "above, the sparse one below. Patterns, colourings and compilation are not in it."
    )
    return {"sizes": figure}


def tables(dataset):
    rows = []
    for problem in ("arrowhead", "bordered band"):
        data = _sizes(dataset, problem)
        for size in data["size"].values if data is not None else []:
            point = data.sel(size=size)  # pyright: ignore[reportOptionalMemberAccess]
            seconds = medians(point)
            best = _best(point, _DENSE)
            row = {"problem": problem, "n": int(size), "products": int(point.products.sel(route="auto"))}
            for title, names in (("dense", _DENSE), ("asdex", _PEERS), ("peers, BCOO", _SPARSE_PEERS)):
                row[f"{title} ms"] = _contest.in_ms(_best(point, names))
            for route in ("auto", "auto, BCOO"):
                own = float(seconds.sel(route=route))
                row |= {f"{route} ms": _contest.in_ms(own), f"{route}: times faster": digits(best / own)}
            rows.append(row)
    return {"Jacobians with a dense border: the best of each kind": rows} if rows else {}


claims = {
    "few-products": _few_products("arrowhead", 3),
    "few-products-of-bordered-band": _few_products("bordered band", 5),
    "dense-against-dense-routes": _faster("arrowhead", 1000, "auto", 3.0),
    "dense-against-dense-routes-of-bordered-band": _faster("bordered band", 1000, "auto", 10.0),
    "bcoo-against-dense-routes": _faster("arrowhead", 4000, "auto, BCOO", 50.0),
    "no-route-is-faster": _not_beaten("arrowhead"),
    "no-route-is-faster-of-bordered-band": _not_beaten("bordered band"),
    "jacobians-agree": agree(("auto", "auto, BCOO", "forward", "reverse")),
}

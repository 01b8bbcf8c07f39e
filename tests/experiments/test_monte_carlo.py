"""Small runs of the experiment on Monte Carlo: verdicts follow broken data; grids and integrals by other routes."""

import numpy as np
import pytest
import scipy.integrate
import scipy.special

from experiments.monte_carlo import dimension
from jaxcalc import lab
from jaxcalc.functions import integrands, quadrature
from tests.verdicts import changed as all_changed
from tests.verdicts import claims, survivors, verdicts


def changed(run, **changes):
    """What turns, but for the claim that the small run's one budget cannot judge."""
    return {id: verdict for id, verdict in all_changed(run, **changes).items() if id != "grid-slopes"}


SMALL = {
    "convergence": (
        {},
        {
            "grid": {"method": ["monte-carlo", "sobol"], "evaluations": [1024]},
            "vmap": {"seed": {"range": [0, 600]}},
        },
    ),
    "scrambling": ({"repeats": 8, "doublings": [3]}, {}),
    "importance": (
        {"num_samples": 512},
        {"vmap": {"mean": [0, 3, 4, 8], "scale": [0.1, 1], "seed": {"range": [0, 200]}}},
    ),
    "dimension": (
        {"most": 10, "repeats": 50},
        {"grid": {"method": ["trapezoid", "simpson", "monte-carlo"], "evaluations": [16384]}},
    ),
    "memory": ({"doublings": [10]}, {}),
    "examples": ({"draws": 100_000, "dimensions": [1, 100], "grids": [1, 2, 3]}, {}),
}


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    """Each part of the experiment, run once."""
    found = {}

    def make(part):
        if part not in found:
            params, sweep = SMALL[part]
            config = {
                "experiment": f"monte_carlo.{part}",
                "dtype": "float64",
                "params": params,
                "sweep": sweep,
            }
            found[part] = lab.run(config, out=tmp_path_factory.mktemp(part), progress=False)
            assert found[part].messages == []
            assert survivors(f"monte_carlo.{part}", found[part].dataset) == []
        return found[part]

    return make


@pytest.mark.parametrize(("part", "claims"), [("importance", 4), ("dimension", 2), ("examples", 2)])
def test_every_claim_passes(run, part, claims):
    told = [claim for claim in run(part).claims if claim.verdict != "not judged"]
    assert len(told) == claims
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []


# How the errors of a run with 64 times as many points compare, as the rates of the full run have it.
SHRUNK = {
    "monte-carlo": {"smooth": 64**-0.5, "kink": 64**-0.5, "jump": 64**-0.5, "pole": 64**-0.25},
    "sobol": {"smooth": 64**-1.0, "kink": 64**-1.0, "jump": 64**-0.7, "pole": 64**-0.25},
}


def with_more_points(data, power=1.0):
    """The run, and beside it the same run as if with 64 times as many points."""
    import xarray

    factor = [
        [SHRUNK[str(method)][str(name)] ** power for name in data.integrand.values] for method in data["method"].values
    ]
    factor = xarray.DataArray(factor, dims=("method", "integrand"))
    far = data.assign_coords(evaluations=64 * data.evaluations)
    far = far.assign(
        value=data.exact + (far.value - data.exact) * factor,
        standard_error=far.standard_error * factor,
    )
    joined = xarray.concat(
        [data, far], "evaluations", data_vars="minimal", coords="minimal", join="outer", compat="override"
    )
    return joined.transpose("method", "evaluations", ...)


def test_convergence_turns_its_verdicts(run):
    found = run("convergence")
    data = with_more_points(found.dataset)
    before = verdicts(found, data)
    assert len(before) == 5

    def turned(**changes):
        told = verdicts(found, data.assign(changes))
        return {name: told[name] for name in told if told[name] != before[name]}

    assert turned(exact=data.exact) == {}
    assert {name for name, verdict in before.items() if verdict == "qualified"} == {
        "monte-carlo-slope",
        "sobol-slope",
        "monte-carlo-error-is-honest",
        "sobol-error-is-honest",
    }
    assert before["sobol-beats-monte-carlo"] == "confirmed"
    slow = verdicts(found, with_more_points(found.dataset, power=0.9))
    assert {name for name in slow if slow[name] != before[name]} == {"monte-carlo-slope", "sobol-slope"}
    assert {slow["monte-carlo-slope"], slow["sobol-slope"]} == {"refuted"}
    error, of_sobol = data.value - data.exact, data["method"] == "sobol"
    told = turned(standard_error=data.standard_error / 2)
    assert told == {f"{method}-error-is-honest": "refuted" for method in ("monte-carlo", "sobol")}
    # Too careful is not honest either.
    told = turned(standard_error=data.standard_error.where(of_sobol, 2 * data.standard_error))
    assert told == {"monte-carlo-error-is-honest": "refuted"}
    worse = data.exact + error.where(~of_sobol, 1000 * error)
    told = turned(value=worse, standard_error=data.standard_error.where(~of_sobol, 1000 * data.standard_error))
    assert told == {"sobol-beats-monte-carlo": "refuted"}

    def instead(name, of):
        names = ("value", "standard_error", "exact")
        return {each: data[each].where(data.integrand != of, data[each].sel(integrand=name)) for each in names}

    # With a variance nothing is left that limits the slope of Monte Carlo and the intervals.
    assert turned(**instead("jump", of="pole")) == {
        "monte-carlo-slope": "confirmed",
        "monte-carlo-error-is-honest": "confirmed",
        "sobol-error-is-honest": "confirmed",
    }
    assert turned(**instead("smooth", of="jump")) == {"sobol-slope": "confirmed"}


def test_scrambling_turns_its_verdict(run):
    import xarray

    found = run("scrambling")
    data = found.dataset
    assert found.dataset.rmse.shape == (2, 1, 4)
    n, power = data.evaluations * [1, 16], xarray.DataArray([-1.0, -1.5], dims="method")

    def judged(rmse):
        far = data.isel(evaluations=[0, 0]).assign_coords(evaluations=n.values)
        told = verdicts(found, far.assign(rmse=0 * far.rmse + rmse))
        return told["scrambling-gains-on-smooth-integrands"]

    n = xarray.DataArray(n.values, dims="evaluations")
    assert judged(n**power) == "confirmed"
    assert judged(n ** (0.9 * power)) == "refuted"
    assert judged(n ** power[::-1]) == "refuted"


def test_importance_turns_its_verdicts(run):
    found = run("importance")
    data = found.dataset
    name = "importance-sampling-reduces-variance"
    wide = data.exact + 50 * (data.value - data.exact)
    told = changed(found, value=wide, standard_error=50 * data.standard_error)
    assert told == {name: "refuted", "importance-variance-is-the-integral": "refuted"}
    assert changed(found, theory_spread=1.3 * data.theory_spread) == {"importance-variance-is-the-integral": "refuted"}
    told = changed(found, standard_error=0.5 * data.standard_error)
    assert told == {"importance-error-is-honest": "refuted"}
    # A standard error that owns up to what the far proposal misses.
    told = changed(found, standard_error=data.standard_error.where(data["mean"] < 8, data.exact))
    assert told == {name: "confirmed", "a-bad-proposal-hides-its-error": "refuted"}


def on_grids(power=1.0):
    """What the experiment would hold of two rules with three budgets."""
    import xarray

    def one(method, budget):
        found = dimension.run(dimension.Config(method=method, evaluations=budget, most=5), None)
        names = {"error": ("dimension", "integrand"), "points": ("dimension",)}
        data = {name: (dims, found[name]) for name, dims in names.items()}
        return xarray.Dataset(data, {name: found[name] for name in ("dimension", "integrand")})

    methods, budgets = ["trapezoid", "simpson"], [1024, 4096, 16384]
    rows = [xarray.concat([one(method, n) for n in budgets], "evaluations") for method in methods]
    data = xarray.concat(rows, "method").assign_coords(method=methods, evaluations=budgets)
    return data.assign(error=data.error**power)


def test_dimension_turns_its_verdicts(run):
    slopes = claims("monte_carlo.dimension", on_grids())["grid-slopes"]
    assert slopes.passed, slopes.measured
    assert claims("monte_carlo.dimension", on_grids(power=0.9))["grid-slopes"].verdict == "refuted"
    found = run("dimension")
    data, name = found.dataset, "monte-carlo-overtakes-at-twice-the-order"
    kind, of_random = data["method"], data.error.sel({"method": "monte-carlo"})
    grows = data.error.where(kind != "monte-carlo", data.error * data.dimension)
    assert changed(found, error=grows)["monte-carlo-does-not-feel-the-dimension"] == "refuted"
    assert changed(found, error=data.error.where(kind != "monte-carlo", 100 * data.error)) == {name: "refuted"}
    # Had Simpson's rule its order at a kink too, nothing would limit the claim.
    at_eight = data.error.where(kind != "simpson", of_random * (data.dimension / 8.0) ** 6)
    assert changed(found, error=at_eight) == {name: "confirmed"}


def test_memory_turns_its_verdicts(run):
    found = run("memory")
    assert {claim.verdict for claim in found.claims} == {"refuted"}  # so few points say nothing of 10^8
    data = found.dataset.isel(evaluations=[0, 0]).assign_coords(evaluations=[2**20, 2**27])
    far = data.at_once * (data.evaluations / 2**10)
    good = data.assign(growth=0 * data.growth, error=data.standard_error, at_once=far)
    assert set(verdicts(found, good).values()) == {"confirmed"}

    def refuted(**changes):
        return {name for name, verdict in verdicts(found, good.assign(changes)).items() if verdict == "refuted"}

    bounded = {"monte-carlo-memory-is-bounded", "sobol-memory-is-bounded"}
    assert refuted(chunked=8.0 * good.evaluations + 0 * good.chunked) == bounded
    assert refuted(growth=good.growth + 1e9) == bounded
    right = {"monte-carlo-of-many-points-is-right", "sobol-of-many-points-is-right"}
    assert refuted(error=10 * good.standard_error) == right


def test_examples_turn_their_verdicts(run):
    found = run("examples")
    data = found.dataset
    assert changed(found, grid_points=data.grid_points + 1) == {"curse-of-dimensionality": "refuted"}
    grows = data.standard_error * np.sqrt(data.dimension)
    assert changed(found, standard_error=grows) == {"curse-of-dimensionality": "confirmed"}
    assert changed(found, gradient=data.gradient + 0.02) == {"policy-gradient-is-monte-carlo": "refuted"}


def test_theory_of_importance_sampling(run):
    """The closed form of the second moment, exp(m^2) P(Z > c + m)."""
    data = run("importance").dataset
    means, p = data.theory_mean.values, scipy.special.ndtr(-4.0)
    np.testing.assert_allclose(float(data.exact), p, rtol=1e-12)
    spread = np.sqrt(np.exp(means**2) * scipy.special.ndtr(-4.0 - means) / p**2 - 1)
    np.testing.assert_allclose(data.theory_spread, spread, rtol=1e-12)


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("convergence", {"convergence", "coverage"}),
        ("scrambling", {"scrambling"}),
        ("importance", {"importance"}),
        ("dimension", {"dimensions", "slopes"}),
        ("memory", {"memory"}),
    ],
)
def test_figures_are_drawn(run, part, names):
    assert set(run(part).figures) == names


def test_integrals_are_those_of_the_integrands():
    """SciPy's quad in one dimension, with the kink told; the product rule that the grids use in two."""
    one = lambda x: integrands.genz_pair(x - 0.5, abs(x - 0.3), 1, xp=np)
    exact = integrands.genz_integrals(1)
    for i in range(2):
        found = scipy.integrate.quad(lambda x, i=i: float(one(x)[i]), 0, 1, points=[0.3], epsabs=1e-13)[0]
        np.testing.assert_allclose(exact[i], found, rtol=1e-12)
    wave, kink = dimension._on_grid("gauss-legendre", 64, 2) - integrands.genz_integrals(2)
    assert abs(wave) < 1e-13 and abs(kink) < 1e-3
    smooth = scipy.integrate.quad(lambda x: float(integrands.integrands(np.array([x]))[0]), 0, 1)[0]
    np.testing.assert_allclose(integrands.integrals(1)[0], smooth, rtol=1e-6)


def test_the_product_rule_is_the_iterated_one(x64):
    import jax.numpy as jnp

    from jaxcalc.transforms.iterated import iterated_integral

    def fun(x, y, z):
        x = jnp.stack([x, y, z])
        return integrands.genz_pair((x - 0.5).sum(), abs(x - 0.3).sum(), 3)

    nested = iterated_integral(fun, method="simpson", num_points=5)([(0.0, 1.0)] * 3)
    np.testing.assert_allclose(dimension._on_grid("simpson", 5, 3), nested, rtol=1e-13)


def test_a_grid_is_the_finest_affordable():
    for method in ("trapezoid", "simpson", "gauss-legendre"):
        for d in (2, 3, 7, 20):
            n, step = quadrature.affordable_points(method, 4096, d), 2 if method == "simpson" else 1
            assert n**d <= 4096 and (n == 0 or (n + step) ** d > 4096)
    assert quadrature.affordable_points("trapezoid", 4096, 12) == 2
    assert quadrature.affordable_points("trapezoid", 4096, 13) == 0


def test_all_dimensions_at_once(x64):
    import jax.numpy as jnp

    x = np.linspace(0.05, 0.9, 5)
    each = [integrands.genz_pair((x[:d] - 0.5).sum(), abs(x[:d] - 0.3).sum(), d, xp=np) for d in range(1, 6)]
    np.testing.assert_allclose(dimension._in_all_dimensions(jnp.asarray(x)), each, rtol=1e-14)

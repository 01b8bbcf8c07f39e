"""Small runs of the contest of routes: what is read and chosen, and that every claim can fail."""

import numpy as np
import pytest
import yaml

from experiments import derivative_routes
from jaxcalc import lab, scenarios
from jaxcalc.lab import registry
from tests.verdicts import claims, mutated

PROBLEMS = ["small elementwise", "square roots", "clipped gradient"]


def start(out, part, problems):
    params = {"repeats": 2, "min_seconds": 0.0}
    config = {"experiment": f"derivative_routes.{part}", "dtype": "float64", "params": params}
    run = lab.run(config | {"sweep": {"grid": {"problem": problems}}}, out=out, progress=False)
    assert run.messages == []
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    pytest.importorskip("asdex")
    pytest.importorskip("sparsejac")
    return start(tmp_path_factory.mktemp("runs"), "jacobians", PROBLEMS)


def judged(dataset, **changes):
    """Claims by what follows the operator, with some of the readings other than they were."""
    found = claims("derivative_routes.jacobians", dataset.assign(changes))
    return {id.partition(": ")[2]: claim for id, claim in found.items()}


def settled(dataset):
    """The same run as it might be read: the planned strategy is the fastest by far, and planned in no time."""
    planned = dataset.choice.sel(rule="estimate")
    quick = dataset.strategy == planned
    seconds = dataset.seconds.where(~quick, 1e-6).where(quick | dataset.seconds.isnull(), 1e-3)
    choice = dataset.choice.where(dataset.rule != "measure", planned)
    return dataset.assign(
        seconds=seconds,
        again=dataset.again * 0 + 1e-6,
        choice=choice.where(choice.rule != "fewest products", "forward"),
        planning_seconds=dataset.planning_seconds * 0 + 1e-6,
    )


def test_what_is_read(run):
    data = run.dataset
    assert data.function.values.tolist() == PROBLEMS
    assert data.precision.values.tolist() == [scenarios.case(name).dtype for name in PROBLEMS]
    assert data.num_inputs.values.tolist() == [20, 300, 50]
    assert np.isfinite(data.again).all()
    status = data.status.to_pandas()
    measured = status == "measured"
    assert (np.isfinite(data.seconds).any("repeat").values == (measured | status.apply(_off)).values).all()
    # Forward mode alone knows the loop, reverse mode alone the custom rule, and both the product of sines.
    assert measured.loc["small elementwise"].all()
    assert measured.loc["square roots", ["forward", "jax.jacfwd"]].all()
    assert status.loc["square roots", "reverse"].startswith("not offered: Reverse-mode")
    assert status.loc["square roots", "jax.jacrev"].startswith("failed: ValueError")
    assert measured.loc["clipped gradient", ["reverse", "jax.jacrev"]].all()
    assert status.loc["clipped gradient", "jax.jacfwd"].startswith("failed: TypeError")
    assert not status.iloc[:, :5].apply(_off, axis=1).values.any()
    products = data.products.sel(problem="small elementwise")
    assert products.sel(strategy=["forward", "reverse", "sparse columns", "sparse rows"]).values.tolist() == [
        20,
        20,
        1,
        1,
    ]
    assert data.choice.sel(rule="fewest products").values[0].startswith("sparse")
    assert data.choice.sel(rule="peer").values.tolist() == ["jax.jacfwd", "jax.jacfwd", "jax.jacrev"]
    assert (data.planning_seconds > 0).all() and (data.measuring_seconds > 0).all()


def _off(column):
    return column.str.startswith("wrong")


def test_every_claim_can_hold_and_can_fail(run):
    data = settled(run.dataset)
    told = judged(data)
    assert len(told) == 8
    assert {name: claim.measured for name, claim in told.items() if not claim.passed} == {}
    slow = data.seconds.where(data.strategy != "jax.jacfwd", 1e-7)
    slow = slow.where(data.seconds.notnull())
    refuted = {name for name, claim in judged(data, seconds=slow).items() if claim.verdict == "refuted"}
    assert {"estimate on average", "estimate nearly always", "estimate at worst"} <= refuted
    assert {"measure on average", "measure at worst"} <= refuted
    same = data.choice.where(data.rule != "fewest products", data.choice.sel(rule="estimate"))
    assert judged(data, choice=same)["better than counting products"].verdict == "refuted"
    assert judged(data, planning_seconds=data.planning_seconds + 1e3)["planning is cheaper than compiling"].verdict == (
        "refuted"
    )
    wrong = data.status.where(data.strategy != "sparse rows", "wrong: off by 1")
    claim = judged(data, status=wrong)["every strategy right"]
    assert claim.verdict == "refuted" and "small elementwise by sparse rows" in claim.measured


def test_a_choice_without_a_reading_is_no_success(run):
    data = settled(run.dataset)
    planned = data.strategy == data.choice.sel(rule="estimate", problem="small elementwise")
    lost = data.status.where(~(planned & (data.problem == "small elementwise")), "not run: too large")
    claim = judged(data, status=lost)["estimate at worst"]
    assert claim.verdict == "not judged" and claim.reason == "1 of 3 choices without a reading"


def test_nan_neither_confirms_nor_refutes(run):
    data = settled(run.dataset)
    found = list(mutated("derivative_routes.jacobians", data))
    assert {after.verdict for _, word, _, after in found if word == "not a number"} == {"not judged"}
    assert len({before.id for _, _, before, _ in found}) == 8
    unread = data.seconds.where((data.problem != "square roots") | (data.strategy != "jax.jacfwd"))
    told = judged(data, seconds=unread)
    assert {claim.reason for claim in told.values()} == {"1 contenders measured, without a reading"}
    lost = judged(data, function=data.function.where(data.problem != "square roots", ""))
    assert {claim.verdict for claim in lost.values()} == {"not judged"}
    off = data.deviation.where(data.strategy != "forward", np.nan)
    assert judged(data, deviation=off)["every strategy right"].verdict == "not judged"
    assert judged(data, deviation=off.fillna(1.0))["every strategy right"].verdict == "refuted"


def test_what_is_wrong_is_not_the_fastest(run):
    data = settled(run.dataset)
    seconds = data.seconds.where(data.strategy != "jax.jacfwd", data.seconds * 1e-6)
    wrong = data.status.where(data.strategy != "jax.jacfwd", "wrong: off by 1")
    told = judged(data, seconds=seconds, status=wrong)
    assert told["estimate at worst"].passed
    assert "of the peers" in told["every strategy right"].note.lower()


def test_figures_and_tables(run):
    assert set(run.figures) == {"regret", "prediction", "planning"}
    summary, worst, every = run.tables.values()
    assert {row["rule"] for row in summary} >= {"planned by estimate", "jacfwd or jacrev by shape"}
    assert [row["function"] for row in every] == PROBLEMS
    assert worst[0]["regret"] == max(row["regret"] for row in worst)


def test_regret_pairs_rounds_so_that_a_drift_cancels():
    drift = np.array([1.0, 5.0, 2.0])
    seconds = np.array([2 * drift, drift, [3.0, np.nan, np.nan]])
    regret, best = derivative_routes.regret_of(seconds, np.array([True, True, True]), 0)
    assert (regret, best) == (2.0, 1)
    assert np.isnan(derivative_routes.regret_of(seconds, np.array([False, True, True]), 0)[0])


@pytest.mark.parametrize(
    ("part", "problem", "strategies"),
    [("hessians", "Beale", ["forward-over-reverse", "jax.hessian"]), ("laplacians", "harmonic", ["nested", "folx"])],
)
def test_other_operators(tmp_path, part, problem, strategies):
    pytest.importorskip("asdex")
    pytest.importorskip("folx")
    run = start(tmp_path, part, [problem])
    assert {claim.reason for claim in run.claims} == {"takes two functions or more"}
    status = run.dataset.status.isel(problem=0)
    assert set(status.sel(strategy=strategies).values.tolist()) == {"measured"}
    assert not any(word.startswith("wrong") for word in status.values.tolist())
    assert run.dataset.choice.isel(problem=0).sel(rule="estimate").item() in run.dataset.strategy.values


def test_the_configs_hold_the_whole_catalogue():
    from pathlib import Path

    folder = Path(__file__).resolve().parents[2] / "configs/bench"
    for part in ("jacobian", "hessian", "laplacian"):
        config = yaml.safe_load((folder / f"derivative_routes-{part}s.yaml").read_text())
        assert config["sweep"]["grid"]["problem"] == [case.name for case in scenarios.cases(part)]


def test_a_problem_of_another_operator_is_refused():
    model = registry.load("derivative_routes.jacobians").part.Config
    with pytest.raises(ValueError, match="asks for a hessian"):
        model(problem="Rosenbrock")
    with pytest.raises(ValueError, match="name must be one of 177 names"):
        model(problem="Rosenbruck")

"""Plans: axes, points, programs and trials."""

import pytest

from jaxcalc.lab.errors import ConfigError
from jaxcalc.lab.sweep import open_plan, replace, swept_fields


def planned(there, sweep, params="{}", experiment="theirs.compiled"):
    return open_plan(there(f"experiment: {experiment}\nparams: {params}\nsweep: {sweep}\n"))


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ("{range: 3}", (0, 1, 2)),
        ("{range: [2, 8, 3]}", (2, 5)),
        ("{linear: [0, 1, 5]}", (0, 0.25, 0.5, 0.75, 1)),
        ("{log: [1, 8, 4]}", (1, 2, 4, 8)),
        ("{log: [1e-4, 1, 5]}", (1e-4, 1e-3, 1e-2, 1e-1, 1)),
        ("{linear: [0.05, 0.2, 4]}", (0.05, 0.1, 0.15, 0.2)),
        ("{linear: [3, 4, 1]}", (3,)),
    ],
)
def test_shorthands(there, written, values):
    plan = planned(there, f"{{vmap: {{inner.offset: {written}}}}}")
    assert plan.lanes[0].labels == values


def test_points_are_the_product(there):
    lanes, cases = "{rate: [0.1, 0.2], seed: [3, 4, 5]}", "{a: {method: plain}, b: {method: noisy}}"
    plan = planned(there, f"{{vmap: {lanes}, grid: {{steps: [2, 3]}}, cases: {cases}}}")
    assert (plan.num_points, plan.num_lanes, plan.num_programs) == (24, 6, 4)
    trials = plan.trials(4)
    assert [(t.start, t.stop) for t in trials[:2]] == [(0, 4), (4, 6)] and len(trials) == 8
    assert all(t.width == 4 for t in trials), "chunks of one program share its width"
    assert trials[0].config["params"] == {"method": "plain", "steps": 2}


def test_a_grid_over_a_traced_value_is_one_program(there):
    plan = planned(there, "{grid: {rate: [0.1, 0.2, 0.3], inner.offset: [0, 1]}}")
    assert (plan.num_points, plan.num_programs) == (6, 1)


def test_cases_with_their_own_options(there):
    plan = planned(there, "{cases: [{method: plain}, {method: noisy, rate: 0.5}]}")
    assert plan.outer[0].labels == ("method=plain", "method=noisy, rate=0.5")
    assert [t.config["params"] for t in plan.trials()] == [{"method": "plain"}, {"method": "noisy", "rate": 0.5}]


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ("{vmap: {rate: [1]}, grid: {rate: [2]}}", "varied twice"),
        ("{cases: [{rate: 1}], vmap: {rate: [2]}}", "varied twice"),
        ("{cases: [{rate: 1}, {rate: 1}]}", "twice"),
        ("{cases: {a: {rte: 1}}}", "did you mean 'rate'"),
        ("{cases: [{rate: -1}]}", "greater than 0"),
        ("{cases: [{method: plaine}]}", "'plain' or 'noisy'"),
    ],
)
def test_bad_sweeps(there, sweep, words):
    with pytest.raises(ConfigError, match=words):
        planned(there, sweep)


def test_only_compiled_experiments_have_lanes(there):
    with pytest.raises(ConfigError, match="is host; only a compiled one has lanes"):
        planned(there, "{vmap: {size: [1, 2]}}", experiment="theirs.host:ragged")


def test_an_override_does_not_lose_to_a_case(there):
    path = there("experiment: theirs.compiled\nsweep: {cases: [{method: noisy}]}\n")
    with pytest.raises(ConfigError, match="set by the sweep too"):
        open_plan(path, ("method=plain",))


def test_swept_marks_are_found_and_replaced(there):
    base = planned(there, "{}").base
    assert swept_fields(base) == [("rate",), ("inner", "offset")]
    changed = replace(base, {("rate",): 9.0, ("inner", "offset"): 8.0})
    assert (changed.rate, changed.inner.offset, changed.steps, base.rate) == (9.0, 8.0, base.steps, 0.1)
    plain = planned(there, "{vmap: {a: [1, 2], b: [3]}}", experiment="theirs.plain").base
    assert swept_fields(plain) == [("a",), ("b",)]


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ("{grid: {inner: [{offset: 1}], inner.offset: [2]}}", "varied twice"),
        ("{vmap: {rate: [1, 1.0]}}", "twice"),
        ("{vmap: {rate: {linear: [0.1, .inf, 3]}}}", "finite numbers"),
        ("{vmap: {seed: {range: 1000000000000}}}", "at most"),
        ("{cases: []}", "zero points"),
    ],
)
def test_slips_of_the_pen(there, sweep, words):
    with pytest.raises(ConfigError, match=words):
        planned(there, sweep)


def test_shorthands_over_the_whole_range(there):
    plan = planned(there, "{vmap: {rate: {log: [1e-250, 1e250, 3]}}}")
    assert plan.lanes[0].labels == (1e-250, 1, 1e250)


def test_columns_are_the_product_in_order(there):
    plan = planned(there, "{vmap: {rate: [0.1, 0.2], seed: [3, 4, 5]}}")
    assert plan.columns(1, 5) == {"rate": [0.1, 0.1, 0.2, 0.2], "seed": [4, 5, 3, 4]}


@pytest.mark.parametrize("override", ["inner.offset=7", "seed=9"])
def test_an_override_does_not_lose_to_an_axis(there, override):
    cases = "{a: {inner: {offset: 1}, seed: 3}, b: {inner: {offset: 2}, seed: 4}}"
    path = there(f"experiment: theirs.compiled\nsweep: {{cases: {cases}}}\n")
    with pytest.raises(ConfigError, match="set by the sweep too"):
        open_plan(path, (override,))

"""A few failures: who tells of them, and verdicts that follow the data."""

from tests.verdicts import changed

EXPERIMENT = "silent_failures"
SMALL = {
    EXPERIMENT: {
        "cases": [
            "step limit reached",
            "field NaN from the middle on",
            "trial steps NaN, solution not",
            "equal steps, too long",
        ]
    }
}
ALOUD, ODEINT, BACKSOLVE, READ = (
    "flow-fails-aloud",
    "odeint-fails-silently",
    "backsolve-fails-silently",
    "failed-states-are-left-to-read",
)


def test_what_fails_and_who_tells(run):
    result = run(EXPERIMENT)
    data = result.dataset
    assert set(result.figures) == {"failures"}
    assert data.word.sel(library="jaxcalc").values.tolist() == ["status 1", "status 2", "", ""]
    assert data.finite.sel(library="jaxcalc").values.tolist() == [False, False, True, True]
    assert not data.told.sel(library="jax odeint").any()
    assert float(data.error.sel(library="jax odeint", case="trial steps NaN, solution not")) > 1
    assert (~data.applies | data.right).sel(case="trial steps NaN, solution not").sum("library") == 7
    assert data.word.sel(library="scipy\nodeint", case="step limit reached") == "warning"
    assert data.word.sel(library="diffrax", case="step limit reached") == "error"


def test_verdicts_follow_the_data(run):
    result = run(EXPERIMENT)
    data = result.dataset
    short = {BACKSOLVE: "not judged"}  # its gradients were not taken
    assert changed(result) == short
    ours, odeint = data.library == "jaxcalc", data.library == "jax odeint"
    assert changed(result, finite=data.finite | ours, told=data.told & ~ours) == short | {ALOUD: "refuted"}
    assert changed(result, right=data.right | ours) == short | {ALOUD: "confirmed"}
    assert changed(result, told=data.told | odeint) == short | {ODEINT: "refuted"}
    assert changed(result, told=data.told & (data.library != "scipy\nsolve_ivp")) == short | {READ: "refuted"}

"""A small run beside JAX's own solver, absent peers, and verdicts that follow the data."""

import numpy as np
import pytest

from jaxcalc import lab, style
from jaxcalc.lab import registry
from tests.verdicts import claims, survivors, verdicts

EXPERIMENT = "neural_ode_adjoints.peers"
RAN = ["jaxcalc, checkpointed", "jax odeint"]
AGREE, PLAIN, TUNED = "training-steps-agree", "training-step-near-plain-diffrax", "training-step-near-tuned-diffrax"
DEFAULTS, ODEINT, TORCH = (
    "training-step-faster-than-diffrax-defaults",
    "training-step-faster-than-odeint",
    "training-step-five-times-torchdiffeq",
)
ALL = {AGREE, PLAIN, TUNED, DEFAULTS, ODEINT, TORCH}


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    """Two routes and torchdiffeq's, which is as if it were not installed: it is an extra, and slow to import."""
    registry.load(EXPERIMENT)  # the repository's modules are back, whatever a test of the lab has put there
    routes = [*RAN, "torchdiffeq"]
    config = {
        "experiment": EXPERIMENT,
        "dtype": "float64",
        "params": {"problem": "perceptron", "routes": routes, "tolerance": 1e-4, "repeats": 2, "min_seconds": 0.0},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("experiments._contest.installed", lambda name: False)
        found = lab.run(config, out=tmp_path_factory.mktemp("runs"), progress=False)
    assert found.messages == []
    return found


def test_without_torch(run):
    data = run.dataset
    assert data.route.values[data.agrees.values].tolist() == RAN
    assert (data.seconds.sel(route=RAN) > 0).all() and np.isnan(data.seconds.sel(route="torchdiffeq")).all()
    assert float(data.gradient_error.sel(route=RAN).max()) < 1e-3
    # At least a step of six stages.
    assert (data.evaluations.sel(route=RAN) >= 7).all() and np.isnan(data.evaluations.sel(route="torchdiffeq"))
    assert set(run.figures) == {"steps"}
    with style.context():
        drawn = registry.load(EXPERIMENT).part.figures(data)["steps"]
    assert "Not installed: torchdiffeq." in drawn.get_label()
    assert survivors(EXPERIMENT, data) == []
    found = {claim.id: claim for claim in run.claims}
    assert found[AGREE].verdict == "confirmed" and found[TORCH].verdict == "not judged"
    assert {id for id, claim in found.items() if claim.verdict != "not judged"} == {AGREE}


@pytest.fixture
def steady(run):
    """As if all had run: ours in a millisecond, diffrax by its defaults in two, torchdiffeq in ten."""
    data = run.dataset
    one = data.sel(route="jax odeint")
    seconds = {"jaxcalc": 1e-3, "diffrax, all steps kept": 1e-3, "diffrax, forward mode": 1e-3}
    seconds |= {name: 1e-2 for name in map(str, data.route.values) if name.startswith("torchdiffeq")}
    values = np.array([seconds.get(str(name), 2e-3) for name in data.route.values])
    same = {name: data[name] * 0 + one[name] for name in ("loss_error", "gradient_error", "evaluations")}
    same = {name: data[name].fillna(0) * 0 + one[name] for name in same}
    flags = {name: data[name] | True for name in ("installed", "applies", "agrees")}
    data = data.assign_coords(problem="spiral")
    return data.assign(seconds=data.seconds.fillna(0) * 0 + data.route.copy(data=values), **same, **flags)


def test_verdicts_follow_the_data(run, steady):
    judged = lambda **changes: verdicts(run, steady.assign(changes))
    good = dict.fromkeys(ALL, "confirmed")
    assert judged() == good
    scaled = lambda route, factor: steady.seconds.where(steady.route != route, factor * steady.seconds)
    assert judged(seconds=scaled("jaxcalc", 1.1)) == good | {TUNED: "refuted"}
    assert judged(seconds=scaled("jaxcalc", 2.5)) == good | dict.fromkeys((TUNED, DEFAULTS, ODEINT, TORCH), "refuted")
    assert judged(seconds=scaled("jaxcalc, checkpointed", 1.06)) == good | {PLAIN: "refuted"}
    # The fastest of theirs counts.
    assert judged(seconds=scaled("torchdiffeq, adjoint, one thread", 0.4)) == good | {TORCH: "refuted"}
    assert judged(seconds=scaled("diffrax, forward mode", 0.9)) == good | {TUNED: "refuted"}
    wrong = steady.route == "diffrax, forward mode"
    told = judged(
        seconds=scaled("diffrax, forward mode", 0.9),
        gradient_error=steady.gradient_error.where(~wrong, 0.01),
        agrees=steady.agrees & ~wrong,
    )
    assert told == good | {AGREE: "refuted"}
    with style.context():
        steps, compiling = registry.load(EXPERIMENT).part.figures(steady)["steps"].axes
    written = [text.get_text() for text in steps.texts]
    assert [written.count(text) for text in ("1", "2", "10")] == [3, 3, 4]
    assert not {"1", "2", "10"} & {text.get_text() for text in compiling.texts}
    told = claims(EXPERIMENT, steady.assign(seconds=scaled("jaxcalc", 1.1)))
    assert "spiral 1.1 of diffrax, all steps kept" in told[TUNED].measured
    assert survivors(EXPERIMENT, steady) == []


def test_another_problem_says_nothing_of_the_spiral(run, steady):
    other = steady.assign_coords(problem="perceptron")
    assert verdicts(run, other)[TORCH] == "not judged"


def test_torch_has_the_same_loss_and_gradient(x64):
    """The extra's step beside JAX's odeint, and twice the same."""
    pytest.importorskip("torchdiffeq")
    import jax

    from experiments.neural_ode_adjoints import _training as training
    from experiments.neural_ode_adjoints.peers import _loss_and_gradient

    problem = training.build("perceptron", jax.random.key(0))
    problem = problem._replace(start=problem.start[:3], targets=problem.targets[:, :3])
    solve = training.by_odeint(training.in_jax(problem), 1e-8)
    loss, gradient = _loss_and_gradient(training.jax_step(problem, solve))
    for adjoint in (False, True):
        step = training.torch_step(problem, 1e-8, adjoint, 1)
        for _ in range(2):
            value, grad = _loss_and_gradient(step)
            np.testing.assert_allclose(value, loss, rtol=1e-6)
            np.testing.assert_allclose(grad, gradient, rtol=1e-5, atol=1e-6)

"""Small runs of the experiment on optimizers: verdicts are the ledger's, and follow broken data."""

import numpy as np
import pytest
import xarray

from experiments.optimizers import digits as digits_question
from jaxcalc import lab
from jaxcalc.lab import registry
from tests.verdicts import changed, mutated, survivors, verdicts

EXPERIMENT = "optimizers"
SMALL = {
    "worked": {},
    "conditioning": {"condition_numbers": [3.0, 1e4], "methods": ["gradient-descent", "adam"]},
    "estimates": {"batches": 500, "sizes": [8, 32, 128]},
}
SWEEP = {
    "grid": {"method": ["momentum", "adam"]},
    "vmap": {"unevenness": [0, 1], "rate": [0.05, 0.07, 0.14, 0.2], "seed": {"range": [0, 40]}},
}
CLAIMS = {
    "worked": [
        "momentum-one-step-trace",
        "momentum-100-steps-prints-zero",
        "adam-200-steps-prints-zero",
        "adam-bias-correction-first-step",
        "adam-second-moment-is-variance",
        "adam-default-hyperparameters",
        "adamw-default-for-transformers",
    ],
    "conditioning": ["adam-preconditions-ill-conditioning"],
    "estimates": ["minibatch-gradient-unbiased"],
}


@pytest.fixture(scope="module")
def digits(cache, tmp_path_factory):
    config = {"experiment": "optimizers.digits", "params": {"task": "linear"}, "sweep": SWEEP}
    found = lab.run(config, out=tmp_path_factory.mktemp("digits"), progress=False)
    assert found.messages == []
    return found


def drawn_of(part, dataset):
    figures = registry.load(f"optimizers.{part}").part.figures
    assert figures is not None
    return set(figures(dataset))


@pytest.mark.parametrize("part", SMALL)
def test_every_claim_has_the_ledgers_verdict(run, part):
    told = run(part).claims
    assert [claim.id for claim in told] == CLAIMS[part]
    assert [(claim.id, claim.measured) for claim in told if not claim.passed] == []
    assert len(run(part).figures) == 1


def test_textbook_numbers_follow_their_data(run):
    data = run("worked").dataset
    of = lambda name: data.run == name
    changes = {
        ("momentum-one-step-trace", "refuted"): {"velocity": 0.1 * data.velocity},
        ("momentum-100-steps-prints-zero", "confirmed"): {"x": data.x.where(~of("momentum 0.01"), 0.0)},
        ("adam-200-steps-prints-zero", "confirmed"): {"x": data.x.where(~of("adam 0.001"), 0.0)},
        ("adam-second-moment-is-variance", "confirmed"): {"accumulator": data.gradient_variance},
        ("adam-default-hyperparameters", "refuted"): {"default": data.default.where(data.library == 0, 0.5)},
    }
    for (claim, verdict), change in changes.items():
        assert changed(run("worked"), **change) == {claim: verdict}
    for name in ("change_over_rate", "first_moment", "second_moment"):
        assert changed(run("worked"), **{name: data[name] * (1 + 1e-6)}) == {
            "adam-bias-correction-first-step": "refuted"
        }


def test_textbook_runs_are_the_written_out_recursions(run):
    data = run("worked").dataset
    slope = lambda x: np.array([2.0, 6.0]) * x
    x, v = np.array([4.0, 2.0]), np.zeros(2)
    for step in range(1, 101):
        v = 0.9 * v + slope(x)
        x = x - 0.01 * v
        np.testing.assert_allclose(data.x.sel(run="momentum 0.01").isel(step=step), x, rtol=0, atol=1e-13)
    x, m, v = np.array([4.0, 2.0]), np.zeros(2), np.zeros(2)
    for step in range(1, 201):
        g = slope(x)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        x = x - 1e-3 * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
    np.testing.assert_allclose(data.x.sel(run="adam 0.001").isel(step=200), x, rtol=0, atol=1e-12)


def test_conditioning_follows_its_data(run):
    data, id = run("conditioning").dataset, "adam-preconditions-ill-conditioning"
    adam = data["method"] == "adam"
    turned = data.orientation != data.orientation[0]
    # Coordinates that did not matter: as many steps turned as along the axes.
    same = data.steps.where(~(adam & turned), data.steps.isel(orientation=0))
    assert changed(run("conditioning"), steps=same) == {id: "confirmed"}
    assert changed(run("conditioning"), steps=data.steps.where(~adam, 40_000)) == {id: "refuted"}
    # The theory's contraction is what gradient descent shows.
    steps = data.steps.sel({"method": "gradient-descent"})
    np.testing.assert_allclose(
        steps, np.broadcast_to(np.log(1e-4) / np.log(data.contraction[0]), (2, 2)), atol=1, rtol=0.02
    )
    for part in (data.isel(condition_number=[0]), data.isel({"method": [0]})):
        assert verdicts(run("conditioning"), part) == {id: "not judged"}


def test_estimates_follow_their_data(run):
    data, id = run("estimates").dataset, "minibatch-gradient-unbiased"
    assert changed(run("estimates"), variance=data.variance**0.5) == {id: "refuted"}
    assert changed(run("estimates"), bias=data.bias + 0.1) == {id: "refuted"}
    # A bias within the tolerance, and too large for chance all the same.
    error = (data.variance / data.batches) ** 0.5 / data.gradient_norm
    assert float(4 * error[-1]) < 0.07
    assert changed(run("estimates"), bias=data.bias.where(data["size"] < 128, 4 * error)) == {id: "refuted"}
    np.testing.assert_allclose(data.variance * data["size"], float(data.single_variance), rtol=0.15)


def test_which_generalises_better_depends_on_the_task(digits):
    id = "sgd-momentum-state-of-the-art-vision"
    assert [(claim.id, claim.verdict, claim.passed) for claim in digits.claims] == [(id, "qualified", True)]
    assert set(digits.figures) == {"training-linear", "generalisation"}
    data = digits.dataset
    even, uneven = (0 * data.held_out_loss + data.held_out_loss.isel(unevenness=i, drop=True) for i in (0, 1))
    assert changed(digits, held_out_loss=even) == {id: "confirmed"}
    assert changed(digits, held_out_loss=uneven) == {id: "refuted"}
    assert verdicts(digits, data.isel(unevenness=[0])) == {id: "not judged"}
    # What diverged is not picked; what is missing is not taken for it.
    lost = data.held_out_loss.where(data.rate < 0.2)
    assert changed(digits, held_out_loss=lost) == {id: "not judged"}
    assert changed(digits, held_out_loss=lost, diverged=data.diverged | (data.rate >= 0.2)) == {}
    # Two that cannot be told apart leave it open.
    same = data.held_out_loss.isel({"method": 0}, drop=True) + 0 * data.held_out_loss
    assert changed(digits, held_out_loss=same) == {id: "not judged"}
    one = data.isel({"method": 0, "unevenness": 0, "rate": 0, "seed": 0})
    assert (verdicts(digits, one), drawn_of("digits", one)) == ({id: "not judged"}, {"training-linear"})


@pytest.mark.parametrize("part", [*SMALL, "digits"])
def test_no_claim_survives_nan(run, digits, part):
    data = (digits if part == "digits" else run(part)).dataset
    for variable, word, before, after in mutated(f"optimizers.{part}", data):
        assert word != "not a number" or after.verdict == "not judged", (variable, before.id)


def test_how_sharp_minima_are_follows_the_data(cache, tmp_path):
    config = {
        "experiment": "optimizers.sharpness",
        "params": {"width": 4, "samples": 60, "num_steps": 40, "num_products": 8},
        "sweep": {"grid": {"batch": [4, 16]}, "vmap": {"seed": {"range": [0, 6]}}},
    }
    run = lab.run(config, out=tmp_path, progress=False)
    id = "small-batches-find-flatter-minima"
    assert run.messages == [] and set(run.figures) == {"sharpness"}
    # Made up: twice as sharp at the large batch, more or less, and as good or worse on the images held out.
    wobble = 1 + 0.1 * run.dataset.seed / 6
    sharp, loss = wobble * (1 + (run.dataset.batch > 4)) ** wobble, wobble + 0.01 * (run.dataset.batch > 4)
    found = lambda **changes: verdicts(run, run.dataset.assign({"sharpness": sharp, "held_out_loss": loss} | changes))
    assert found() == {id: "qualified"}
    assert found(held_out_loss=loss + (run.dataset.batch > 4)) == {id: "confirmed"}
    assert found(sharpness=1 / sharp) == {id: "refuted"}
    assert verdicts(run, run.dataset.isel(seed=[0, 1])) == {id: "not judged"}
    assert verdicts(run, run.dataset.isel(batch=[0])) == {id: "not judged"}
    assert survivors("optimizers.sharpness", run.dataset.assign(sharpness=sharp, held_out_loss=loss)) == []


def test_a_rate_is_picked_without_the_losses_that_it_is_judged_by():
    # Each half of the seeds has one rate that is best on it by chance alone: the other half picks the other one.
    loss = xarray.DataArray([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 0.0]], dims=("rate", "seed"))
    run = xarray.Dataset({"held_out_loss": loss, "diverged": loss > 2})
    np.testing.assert_array_equal(digits_question._crossed(run), 1.0)


def test_ways_down_the_valleys(cache, tmp_path):
    config = {
        "experiment": "optimizers.paths",
        "dtype": "float64",
        "params": {"num_steps": 60, "resolution": 11},
        "sweep": {
            "grid": {"problem": ["quadratic"], "method": ["adam", "trust-region"]},
            "vmap": {"rate": [0.01, 0.1, 0.3]},
        },
    }
    run = lab.run(config, out=tmp_path, progress=False)
    assert run.messages == []
    assert set(run.figures) == {"contours", "progress", "rates"}
    data = run.dataset.isel(problem=0)
    # Adam takes a value and a gradient at the start and at every step, whatever its rate.
    work = data.evaluations.sel({"method": "adam"})
    assert (work == 2 * (1 + data.step)).all()
    assert float(data.gap.sel({"method": "trust-region"}).isel(rate=0, step=-1)) < 1e-14
    assert drawn_of("paths", data.isel({"method": 0, "rate": 0})) == set()

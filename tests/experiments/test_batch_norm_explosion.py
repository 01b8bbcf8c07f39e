"""A small run of the batch-norm question: verdicts, figures, and what breaks them."""

import numpy as np
import pytest

from jaxcalc import lab
from tests.verdicts import survivors, verdicts

LIMIT, BATCHES, CURE = (
    "batch-norm-relu-growth-factor",
    "batch-norm-growth-by-batch-size",
    "skips-cure-batch-norm-explosion",
)


@pytest.fixture(scope="module")
def run(cache, tmp_path_factory):
    config = {"experiment": "batch_norm_explosion", "params": {"width": 256, "batches": [8, 128]}}
    return lab.run(config, out=tmp_path_factory.mktemp("runs"), progress=False)


def test_gradients_grow_as_theory_says(run):
    assert run.messages == [] and set(run.figures) == {"growth_by_depth", "growth_by_batch"}
    assert [(claim.id, claim.measured, claim.reason) for claim in run.claims if not claim.passed] == []
    assert survivors("batch_norm_explosion", run.dataset) == []
    # Normalised layers pass on what the activation makes of a standard normal, whatever the weights.
    last = run.dataset.moment.isel(layer=-1).mean("draw").sel(batch=128)
    np.testing.assert_allclose(last.sel(network=["ReLU", "tanh", "linear"]), [0.5, 0.394, 1.0], rtol=0.02)


def test_other_gradients_refute(run):
    broken = verdicts(run, run.dataset.assign(gradient=run.dataset.gradient**1.2))
    assert broken[LIMIT] == broken[BATCHES] == broken[CURE] == "refuted"


def test_large_and_small_batches_are_needed(run):
    small = verdicts(run, run.dataset.sel(batch=[8]))
    assert small[LIMIT] == small[CURE] == "not judged"
    assert verdicts(run, run.dataset.sel(batch=[128]))[LIMIT] == "not judged"

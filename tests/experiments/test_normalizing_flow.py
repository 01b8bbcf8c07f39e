"""Small runs of the normalizing flow's questions: verdicts, figures, and what breaks them."""

import pytest

from tests.verdicts import changed, verdicts

EXPERIMENT = "normalizing_flow"
SMALL = {
    "density": {"density": "ring", "train_steps": 120, "hidden": 16, "batch": 128, "num_steps": 4, "test_samples": 512},
    "traces": {"steps": [8, 400], "size": 16, "rank": 2, "products": [6], "draws": 256},
}
DENSITY, VARIANCE, RANK = (
    "continuous-normalizing-flow-density",
    "probes-have-the-variance-of-theory",
    "hutch-plus-plus-wins-by-rank",
)


def test_a_flow_comes_nearer_than_a_normal_distribution(run):
    ring = run("density")
    assert verdicts(ring, ring.dataset) == {"flow-learns-the-density": "confirmed"}
    assert set(ring.figures) == {"densities", "training"}
    data = ring.dataset
    assert float(data.mass) == pytest.approx(1.0, abs=0.01)
    wrong = {"divergence": data.divergence - 1.0}, {"divergence": data.normal_divergence}, {"mass": data.mass + 1}
    for broken in wrong:
        assert changed(ring, **broken) == {"flow-learns-the-density": "refuted"}


def test_the_trace_is_the_log_determinant_and_estimates_scatter_as_theory_says(run):
    traces = run("traces")
    data = traces.dataset
    assert verdicts(traces, data) == {DENSITY: "confirmed", VARIANCE: "confirmed", RANK: "qualified"}
    assert set(traces.figures) == {"traces"}
    assert changed(traces, residual=data.residual + 1e-8) == {DENSITY: "refuted"}
    assert changed(traces, variance_off=data.variance_off + 9.0)[VARIANCE] == "refuted"
    assert verdicts(traces, data.isel(step_count=[0]))[DENSITY] == "not judged"

"""Small runs of the questions on gradients of expectations: verdicts, figures, and what breaks them."""

import numpy as np
import pytest

from tests.verdicts import changed, verdicts

EXPERIMENT = "gradient_estimators"
SMALL = {"distance": {"num_samples": 256}, "dimension": {"dimensions": [1, 8, 32], "num_samples": 1024}}
GRIDS = {
    "distance": {"estimator": ["reparameterised", "score", "measure-valued"]},
    "dimension": {"estimator": ["reparameterised", "score", "score, constant"]},
}
LANES = {
    "distance": {"distance": [0.1, 1.0, 3.0], "seed": {"range": [0, 200]}},
    "dimension": {"seed": {"range": [0, 16]}},
}


def test_distance(run):
    found = run("distance")
    data = found.dataset
    assert set(found.figures) == {"distance"}
    told = verdicts(found, data)
    # So few draws know a variance to more than 3 %, and three distances where two curves cross.
    assert {name for name, verdict in told.items() if verdict not in ("confirmed", "qualified")} <= {
        "gradient-variance-is-as-theory",
        "measure-valued-beats-reparameterised-near",
    }
    variance = 256 * (data.standard_error**2).mean("seed")
    np.testing.assert_allclose(variance, data.theory.isel(seed=0), rtol=0.15)
    assert changed(found, gradient=data.gradient + 0.5)["gradient-estimators-are-unbiased"] == "refuted"
    assert changed(found, standard_error=2 * data.standard_error)["gradient-error-is-honest"] == "refuted"
    exact = (data.theory / 256) ** 0.5
    assert "gradient-variance-is-as-theory" not in changed(found, standard_error=exact)
    assert changed(found, standard_error=1.1 * exact)["gradient-variance-is-as-theory"] == "refuted"


def test_dimension(run):
    found = run("dimension")
    data = found.dataset
    assert set(found.figures) == {"dimension"}
    exact = data.assign(variance=data.theory)
    assert verdicts(found, exact) == {
        "gradient-variance-in-many-dimensions": "confirmed",
        "score-variance-grows-with-dimension": "qualified",
    }
    np.testing.assert_allclose(data.variance.mean("seed"), data.theory.isel(seed=0), rtol=0.15)
    grows = verdicts(found, data.assign(variance=data.theory * data.dimension))
    assert set(grows.values()) == {"refuted"}


def test_a_scale_is_above_zero():
    from experiments.gradient_estimators.distance import Config

    with pytest.raises(ValueError, match="greater than 0"):
        Config(scale=-1.0)

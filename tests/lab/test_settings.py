"""What a run's results were made with."""

import json

import numpy as np
import xarray

from jaxcalc import lab


def test_parameters_precision_and_the_first_point():
    values = xarray.DataArray(np.arange(24.0).reshape(2, 3, 4), dims=("rate", "seed", "step"))
    attrs = {"params": json.dumps({"size": 3}), "dtype": "float32"}
    data = xarray.Dataset({"value": values}, attrs=attrs)
    assert lab.params(data) == {"size": 3}
    assert lab.eps(data) == 2.0**-23
    np.testing.assert_array_equal(lab.first(data, "step").value, [0, 1, 2, 3])
    assert set(lab.first(data, "rate", "step").dims) == {"rate", "step"}

"""Rows of tables from labelled arrays."""

import numpy as np
import xarray

from jaxcalc import lab


def test_a_row_for_each_entry_with_numbers_in_few_digits():
    route = {"route": ["ours", "theirs"]}
    columns = {
        "ms": xarray.DataArray([1234.5678, np.nan], route),
        "products": xarray.DataArray([12345, -1], route),
        "words": xarray.DataArray(["done", "failed"], route),
    }
    assert lab.rows("route", columns) == [
        {"route": "ours", "ms": 1230.0, "products": 12345, "words": "done"},
        {"route": "theirs", "ms": "", "products": -1, "words": "failed"},
    ]
    assert lab.rows("route", columns, 5)[0]["ms"] == lab.digits(1234.5678, 5) == 1234.6

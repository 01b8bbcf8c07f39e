"""What a run's results were made with: parameters, precision; and one point of a sweep."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import xarray

__all__ = ["eps", "first", "params"]


def params(dataset: "xarray.Dataset") -> dict[str, Any]:
    """The base parameters of the run, by name; what a sweep changed is a coordinate."""
    return json.loads(dataset.attrs["params"])


def eps(dataset: "xarray.Dataset") -> float:
    """The rounding unit of the numbers that the run computed with."""
    return float(np.finfo(dataset.attrs["dtype"]).eps)


def first(dataset: "xarray.Dataset", *kept: str) -> "xarray.Dataset":
    """The first point along all dimensions but these."""
    return dataset.isel({dim: 0 for dim in dataset.dims if dim not in kept})

"""Trials to one labelled dataset: points join on their coordinates, and a mask tells what is missing."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcalc.lab.config import nested_model
from jaxcalc.lab.errors import TrialError
from jaxcalc.lab.experiment import Variable, descriptions
from jaxcalc.lab.sweep import SEED, Axis, Plan, Trial

if TYPE_CHECKING:
    import xarray

Arrays = dict[str, np.ndarray]
_FILL: dict[str, Any] = {"f": np.nan, "i": 0, "u": 0, "b": False, "U": ""}


def join(plan: Plan, trials: Sequence[tuple[Trial, Arrays | None]], shared: Arrays) -> "xarray.Dataset":
    """The dataset of a run.

    Each variable gets the dimensions (case, grid axes, vmap axes, its own). Where a point lacks an entry, because its
    own dimension is shorter or its trial did not finish, floats hold NaN, whole numbers 0, flags False, and ``valid``
    is False (``valid_DIM`` too, for each dimension, where several are ragged).

    Args:
      plan: the checked sweep.
      trials: every trial with its arrays (lanes first), ``None`` where it did not finish.
      shared: what all points have in common, with the variables' own dimensions.
    """
    import xarray

    variables = plan.experiment.variables
    done = [(trial, arrays) for trial, arrays in trials if arrays is not None]
    extents = _Extents(variables, [arrays for _, arrays in done], shared)
    outer = tuple(map(len, plan.outer))
    lanes = tuple(map(len, plan.lanes))
    names = tuple(axis.name for axis in plan.axes)
    dataset = xarray.Dataset(coords=_coordinates(plan))

    for name, variable in variables.items():
        if name in shared:
            data, dims = shared[name], variable.dims
        elif variable.dims == (name,):
            data, dims = extents.coordinates.get(name), variable.dims
        else:
            data, dims = _stack(name, variable, done, extents, outer, plan.num_lanes), (*names, *variable.dims)
            data = None if data is None else data.reshape((*outer, *lanes, *data.shape[len(outer) + 1 :]))
        if data is not None:
            dataset[name] = (dims, data, _attributes(plan, name, variable))
    masks = _masks(done, extents, outer, plan.num_lanes)
    for name, (mask, own) in masks.items():
        shaped = mask.reshape((*outer, *lanes, *mask.shape[len(outer) + 1 :]))
        dataset[name] = ((*names, *own), shaped, {"long_name": "whether the point has this entry"})
    return dataset


class _Extents:
    """The size of every own dimension over all trials, and where each trial's entries lie on it."""

    def __init__(self, variables: dict[str, Variable], trials: list[Arrays], shared: Arrays):
        self.variables, self.shared = variables, shared
        self.coordinates: Arrays = {}
        self.sizes: dict[str, int] = {}
        for dim in dict.fromkeys(dim for variable in variables.values() for dim in variable.dims):
            if dim in shared:
                self.sizes[dim] = len(shared[dim])
                continue
            columns = [arrays[dim][0] for arrays in trials if dim in arrays]
            if columns:
                self.coordinates[dim] = _union(columns)
                self.sizes[dim] = len(self.coordinates[dim])
            else:
                self.sizes[dim] = max((self.length(dim, arrays) or 0 for arrays in (*trials, None)), default=0)
        self._places = {dim: {v: i for i, v in enumerate(c.tolist())} for dim, c in self.coordinates.items()}

    def length(self, dim: str, arrays: Arrays | None) -> int | None:
        """The size of a dimension in one trial (in ``shared`` for ``None``), or ``None`` if nothing there has it."""
        source, lead = (self.shared, 0) if arrays is None else (arrays, 1)
        for name, array in source.items():
            dims = self.variables[name].dims
            if dim in dims:
                return array.shape[lead + dims.index(dim)]
        return None

    def places(self, dim: str, arrays: Arrays) -> np.ndarray:
        """The positions of one trial's entries on the joined dimension."""
        if dim in arrays:
            return np.array([self._places[dim][value] for value in arrays[dim][0].tolist()], int)
        length = self.length(dim, arrays)
        if dim in self.shared and length not in (None, self.sizes[dim]):
            raise TrialError(f"dimension {dim!r} has {self.sizes[dim]} entries in shared and {length} in run")
        return np.arange(self.sizes[dim] if length is None else length)


def _union(columns: list[np.ndarray]) -> np.ndarray:
    """All values of a coordinate: in the longest column's order if it holds every one, else sorted."""
    longest = max(columns, key=len)
    everything = np.unique(np.concatenate(columns))
    return longest if len(everything) == len(longest) else everything


def _stack(name: str, variable: Variable, done: list, extents: _Extents, outer: tuple, lanes: int) -> np.ndarray | None:
    found = [arrays[name] for _, arrays in done]
    if not found:
        return None
    dtype = np.result_type(*found)
    shape = (*outer, lanes, *(extents.sizes[dim] for dim in variable.dims))
    data = np.full(shape, _FILL[dtype.kind], dtype)
    for trial, arrays in done:
        places = [extents.places(dim, arrays) for dim in variable.dims]
        data[trial.index][np.ix_(np.arange(trial.start, trial.stop), *places)] = arrays[name]
    return data


def _masks(done: list, extents: _Extents, outer: tuple, lanes: int) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    points = np.zeros((*outer, lanes), bool)
    for trial, _ in done:
        points[trial.index][trial.start : trial.stop] = True
    ragged: dict[str, np.ndarray] = {}
    for dim, size in extents.sizes.items():
        mask = np.zeros((*outer, lanes, size), bool)
        for trial, arrays in done:
            mask[trial.index][np.ix_(np.arange(trial.start, trial.stop), extents.places(dim, arrays))] = True
        if not mask[points].all():
            ragged[dim] = mask
    if len(ragged) == 1:
        ((dim, mask),) = ragged.items()
        return {"valid": (mask, (dim,))}
    masks = {f"valid_{dim}": (mask, (dim,)) for dim, mask in ragged.items()}
    return masks if points.all() and not masks else {"valid": (points, ()), **masks}


def _attributes(plan: Plan, name: str, variable: Variable) -> dict[str, Any]:
    attributes: dict[str, Any] = {"units": variable.unit, "long_name": variable.description}
    if plan.experiment.measured(name):
        attributes["measured"] = 1
    return attributes


def _coordinates(plan: Plan) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for axis in plan.axes:
        found[axis.name] = ((axis.name,), _labels(axis.labels), {"units": "", "long_name": _describe(plan, axis)})
    for axis in plan.outer:
        if axis.kind == "cases":
            found |= _case_fields(plan, axis, set(found))
    return _constants(plan, set(found)) | found


def _constants(plan: Plan, swept: set[str]) -> dict[str, Any]:
    """The parameters that no axis varies, as scalar coordinates; a variable's name stays the variable's."""
    taken = swept | {name for key, v in plan.experiment.variables.items() for name in (key, *v.dims)}
    values = {"seed": plan.loaded.settings.seed} | {n: getattr(plan.base, n) for n in type(plan.base).model_fields}
    told = descriptions(type(plan.base))
    return {
        name: ((), value, {"units": "", "long_name": told.get(name, name).rstrip(".")})
        for name, value in values.items()
        if isinstance(value, (bool, int, float, str)) and name not in taken and _fits(value)
    }


def _fits(value: Any) -> bool:
    """Whether netCDF has a type for it: whole numbers of 64 bits."""
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def over(dataset: "xarray.Dataset", *names: str) -> "xarray.Dataset":
    """The dataset with an axis for each of these parameters, of length 1 where it was not swept.

    A parameter that the cases set becomes the axis in place of ``case`` where each case has its own value.

    Args:
      dataset: a run's results.
      names: parameters, such as ``"method"``, ``"seed"``.

    Raises:
      KeyError: the dataset has no such parameter, or not one value for each case.
    """
    for name in names:
        if name in dataset.dims:
            continue
        if name not in dataset.coords:
            raise KeyError(f"parameter {name!r}")
        own = dataset.coords[name]
        if not own.dims:
            dataset = dataset.expand_dims(name)
        elif own.ndim == 1 and len(set(own.values.tolist())) == own.size:
            dataset = dataset.swap_dims({str(own.dims[0]): name})
        else:
            raise KeyError(f"one value of {name!r} for each {', '.join(map(str, own.dims))}")
    return dataset


def _describe(plan: Plan, axis: Axis) -> str:
    if axis.kind == "cases":
        return "case"
    if axis.fields == (SEED,):
        return "random seed"
    *inner, last = axis.fields[0]
    holder = nested_model(plan.experiment.part.Config, tuple(inner))
    return descriptions(holder).get(str(last), axis.name).rstrip(".")


def _case_fields(plan: Plan, axis: Axis, taken: set[str]) -> dict[str, Any]:
    """What each case sets, as further coordinates along ``case``."""
    found = {}
    taken = taken | {name for key, v in plan.experiment.variables.items() for name in (key, *v.dims)}
    for column, path in enumerate(axis.fields):
        name = ".".join(map(str, path))
        base: Any = plan.base if path != SEED else plan.loaded.settings
        for step in path:
            base = getattr(base, str(step), None)
        values = [base if row[column] is ... else row[column] for row in axis.points]
        if name not in taken and all(isinstance(v, (bool, int, float, str)) for v in values):
            found[name] = ((axis.name,), _labels(tuple(values)), {"units": "", "long_name": name})
    return found


def _labels(labels: tuple[Any, ...]) -> np.ndarray:
    """Labels of one kind as numbers, of several as text."""
    kinds = {type(label) for label in labels}
    if kinds in ({bool}, {int}, {float}, {int, float}):
        return np.array(labels)
    return np.array([label if isinstance(label, str) else json.dumps(label) for label in labels])


def save(dataset: "xarray.Dataset", path: Any) -> None:
    """Write netCDF that plain ``xarray.open_dataset`` reads; the file appears whole or not at all."""
    import os

    encoding = {
        name: {"zlib": True, "complevel": 4}
        for name, array in dataset.variables.items()
        if array.dtype.kind in "fiu" and array.nbytes > 2**16
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    dataset.to_netcdf(partial, engine="h5netcdf", encoding=encoding)
    os.replace(partial, path)

"""Is the price of a program right before it runs?

``operations`` sets the operations that are read off a program against counts made by hand, ``memory`` the predicted
peak of every route to a derivative against the buffers that XLA allocates for it.
"""

from jaxcalc.lab import NotJudged


def flat(dataset, variables, present):
    """Every variable with the points of any sweep on its first axis; points without a result are left out."""
    found = {}
    for name, variable in variables.items():
        if variable.dims != (name,):
            values = dataset[name]
            outer = [dim for dim in values.dims if dim not in variable.dims]
            data = values.transpose(*outer, *variable.dims).values
            found[name] = data.reshape(-1, *data.shape[len(outer) :])
    there = found[present].astype(str) != ""
    return {name: values[there] for name, values in found.items()}


def complete(dataset, present):
    """What a point without a result would have said is not known."""
    if missing := int((dataset[present].astype(str) == "").sum()):
        raise NotJudged(f"{missing} of {dataset[present].size} points without a result")

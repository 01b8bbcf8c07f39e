"""Is the price of a program right before it runs?

``operations`` sets the operations that are read off a program against counts made by hand, ``memory`` the predicted
peak of every route to a derivative against the buffers that XLA allocates for it.
"""

from jaxcalc.lab import NotJudged


def complete(dataset, present):
    """What a point without a result would have said is not known."""
    if missing := int((dataset[present].astype(str) == "").sum()):
        raise NotJudged(f"{missing} of {dataset[present].size} points without a result")

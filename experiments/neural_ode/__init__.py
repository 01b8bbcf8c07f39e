"""Fields learned from time series: lynx and hare forecast (``pelts``), a spiral seen at uneven times (``spiral``)."""

"""Vector fields learned from time series: forecasts of lynx and hare (``pelts``), a spiral at uneven times (``spiral``)."""

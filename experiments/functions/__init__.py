"""Functions of one variable: their graphs and slopes, their limits, and encodings of positions."""

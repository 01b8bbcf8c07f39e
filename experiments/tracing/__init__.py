"""How does one look inside a traced program?

Prints, how often they run, in what order, at what price (``debug``), and what finds a NaN (``nans``).
"""

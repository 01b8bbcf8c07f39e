"""``criticality``: what depth does to a network's gradients, told from its program before a step is trained.

Its predictions beside measurements over many architectures (``predictions``), and what its remedy does to networks of
Flax beside another library's (``remedies``).
"""

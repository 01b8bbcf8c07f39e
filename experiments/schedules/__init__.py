"""What do learning-rate schedules look like, and what do they do for descent with noisy gradients?

Every schedule against its closed form (``curves``); the loss that noise leaves under each, against the exact mean
(``noise``).
"""

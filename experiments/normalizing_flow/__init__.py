"""Densities by the flow of a learned field: how near they come to the true one, and what their traces cost.

``density`` learns densities of the plane that are known exactly, ``traces`` holds the integral of the trace against the
log-determinant, and its estimates against the products that they take.
"""

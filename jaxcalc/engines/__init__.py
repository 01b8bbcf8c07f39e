"""engines: the same derivatives without JAX's own differentiation."""

"""transforms: function to function, by composing JAX transforms."""

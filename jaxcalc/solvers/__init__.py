"""solvers: function to optimum, one protocol and one loop."""

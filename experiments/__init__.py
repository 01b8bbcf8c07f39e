"""The gallery: one question a file, in subjects; what the claims say and expect is in ledger.yaml."""

dtype = "float64"  # of a question that names none

CHAPTERS = {
    "foundations": (
        "functions",
        "chain_rule",
        "finite_differences",
        "critical_points",
        "taylor",
        "quadrature",
    ),
    "derivatives": (
        "mode_cost",
        "mode_cost_gradient",
        "ad_engines",
        "backpropagation",
        "curvature",
        "tracing",
    ),
    "optimisation": (
        "gradient_descent",
        "descent_examples",
        "convergence_map",
        "schedules",
        "optimizers",
        "weight_decay",
        "newton",
        "quasi_newton",
        "trust_region",
        "basins",
        "convexity",
        "least_squares",
    ),
    "networks": (
        "activations",
        "losses",
        "softmax_cross_entropy",
        "vanishing_gradients",
        "order_chaos",
        "dynamical_isometry",
        "residual_growth",
    ),
    "flows": (
        "neural_ode",
        "neural_ode_adjoints",
    ),
    "probability": ("monte_carlo",),
    "benchmarks": (
        "derivative_routes",
        "derivative_prices",
        "sparse_derivatives",
        "sparsity_detection",
        "laplacian_cost",
        "solver_cost",
        "cutest",
        "quadrature_peers",
        "sweep_cost",
    ),
}

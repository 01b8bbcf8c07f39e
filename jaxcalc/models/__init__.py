"""models: ``init(key) -> params`` and ``apply(params, x)``."""

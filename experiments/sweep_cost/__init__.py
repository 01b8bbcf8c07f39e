"""What does a sweep cost? One training job (``training``), and the ways to do it at many points (``whole_job``)."""

"""programs: a function read as a program, never evaluated."""

"""The order of a run's tasks: which may start, when, and how many at once."""

"""Where tasks run: in this process, or on a cluster."""

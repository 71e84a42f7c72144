"""The report room: one self-contained HTML page of a run."""

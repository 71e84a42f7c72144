"""The grammar room."""

"""The editor server: diagnostics, completion, hover, definitions and fixes over the Language Server Protocol."""

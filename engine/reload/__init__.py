"""Watches bundle folders and swaps in a new Catalog generation when they change."""

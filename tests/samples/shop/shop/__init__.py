"""Prices, stock and receipts of a small shop."""

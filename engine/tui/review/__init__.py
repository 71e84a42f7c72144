"""The review of a run, full-screen: what it offers, why, and what becomes of it."""

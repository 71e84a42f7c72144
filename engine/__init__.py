"""Agents as data: load folders ("bundles") and run each as an agent over code."""

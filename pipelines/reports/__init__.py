"""Plots, fed with plain data."""

"""Metrics of a trained network."""

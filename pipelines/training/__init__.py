"""Recipes, optimizers, strategies and the loop."""

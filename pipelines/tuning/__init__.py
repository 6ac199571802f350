"""The search space and the search."""

"""The steps of a run: artifacts and parameters in, artifacts out."""

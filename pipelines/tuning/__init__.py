"""The search: KerasTuner's oracles, what limits them, several workers, the front."""

"""A run: its folder, what it was asked to do, and what it ran on."""

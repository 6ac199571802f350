"""Exported models: signatures and formats."""

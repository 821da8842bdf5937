"""Adjoints: how gradients go back through training."""

"""Figures of the defences' sources, measured on the nearest data we have: `python -m benchmarks.defences.NAME`."""

"""Evaluation: what an attack does to victims, with intervals and controls."""

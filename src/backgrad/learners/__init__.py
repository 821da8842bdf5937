"""Learners: models as functions of parameters and rows."""

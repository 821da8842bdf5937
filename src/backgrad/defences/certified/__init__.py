"""Classifiers whose predictions provably withstand a number of poisoned rows.

A certificate is a statement about the *defended* classifier, the one of this package. It says nothing about the
pipeline that it stands in for.

| class | what the attacker may do | models | certificate |
|---|---|---|---|
| `DeepPartitionAggregation` | insert and delete rows | any classifier | per row, exact for the vote |
| `SmoothedLabelsClassifier` | change labels | ridge | per row, an analytical bound |
"""

from .labels import SmoothedLabelsClassifier
from .partition import DeepPartitionAggregation

__all__ = ["DeepPartitionAggregation", "SmoothedLabelsClassifier"]

"""The threat model: goals, knowledge, feasible sets."""

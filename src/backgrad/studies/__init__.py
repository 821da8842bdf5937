"""Studies: a plan of runs, a store of their outcomes, and a runner that continues where it was stopped."""

"""Benchmarks: backgrad against plain training, PyTorch and the authors' algorithm, all in one run."""

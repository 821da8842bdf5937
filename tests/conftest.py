"""Settings of all tests: float64, and jaxtyping's shapes checked at run time."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_ENABLE_X64", "1")

import jaxtyping

jaxtyping.install_import_hook("backgrad", "beartype.beartype")

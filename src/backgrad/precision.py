"""Double precision for the length of a block, whatever the process computes in."""

from contextlib import AbstractContextManager


def float64() -> AbstractContextManager[None]:
    """Return a context in which JAX computes in float64; it ends with the block and holds for this thread alone."""
    import jax

    enable = getattr(jax, "enable_x64", None)
    if enable is None:  # JAX before 0.8
        from jax.experimental import enable_x64 as enable  # pyright: ignore[reportAttributeAccessIssue]
    return enable(True)

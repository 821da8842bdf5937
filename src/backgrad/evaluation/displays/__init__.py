"""Pictures of results, in the style of scikit-learn's Display classes.

A display holds data, checked on construction. `plot` draws them and leaves the matplotlib objects behind, in attributes
that end in `_`. matplotlib is imported by `plot` only.
"""

from .gallery import PoisonGalleryDisplay
from .security_curve import SecurityCurveDisplay
from .transfer import TransferMatrixDisplay

__all__ = ["PoisonGalleryDisplay", "SecurityCurveDisplay", "TransferMatrixDisplay"]

"""Pictures of results, in the style of scikit-learn's Display classes.

A display holds data, checked on construction. `plot` draws them and leaves the matplotlib objects behind, in attributes
that end in `_`. matplotlib is imported by `plot` only.
"""

from .certificate import CertificateDisplay
from .defence_table import DefenceTableDisplay
from .gallery import PoisonGalleryDisplay
from .security_curve import SecurityCurveDisplay
from .transfer import TransferMatrixDisplay

__all__ = [
    "CertificateDisplay",
    "DefenceTableDisplay",
    "PoisonGalleryDisplay",
    "SecurityCurveDisplay",
    "TransferMatrixDisplay",
]

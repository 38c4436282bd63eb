"""The papers' losses as functions of embeddings, float32 throughout; each names its paper and equation.

loss = samclr.losses.nt_xent(embeddings, temperature=0.5)      # [b 2 d], any scale -> a scalar
"""

from samclr.methods.losses import (
    centered_shares,
    cross_correlation,
    negative_cosine,
    nt_xent,
    region_contrast,
    self_distillation,
    sinkhorn_shares,
    variance_invariance_covariance,
)
from samclr.methods.losses import queue_contrast as info_nce

__all__ = [
    "centered_shares",
    "cross_correlation",
    "info_nce",
    "negative_cosine",
    "nt_xent",
    "region_contrast",
    "self_distillation",
    "sinkhorn_shares",
    "variance_invariance_covariance",
]

"""The papers' losses as functions of embeddings, float32 throughout; each names its paper and equation.

loss = samclr.losses.nt_xent(embeddings, temperature=0.5)      # [b 2 d], any scale -> a scalar
"""

from samclr.methods.losses import centered_shares, nt_xent, self_distillation, sinkhorn_shares
from samclr.methods.losses import queue_contrast as info_nce

__all__ = ["centered_shares", "info_nce", "nt_xent", "self_distillation", "sinkhorn_shares"]

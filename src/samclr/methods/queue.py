"""The queue: embeddings of past steps, kept as negatives (He et al., MoCo, 2020)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

NO_IMAGE = -1


class Queue(nn.Module):
    """The last keys on the unit sphere with the images they came from; before it is full, random directions.

    Attributes:
        keys: [q d].
        image_index: [q], -1 for what is no key yet.
    """

    keys: Float[Tensor, "q d"]
    image_index: Int[Tensor, "q"]
    next_row: Int[Tensor, ""]

    def __init__(self, size: int, width: int):
        super().__init__()
        self.register_buffer("keys", F.normalize(torch.randn(size, width), dim=-1))
        self.register_buffer("image_index", torch.full((size,), NO_IMAGE))
        self.register_buffer("next_row", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def enqueue(self, keys: Float[Tensor, "n d"], image_index: Int[Tensor, "n"]) -> None:
        """Put keys in place of the oldest. Of more keys than the queue holds, the last stay."""
        size = len(self.keys)
        keys, image_index = keys[-size:], image_index[-size:]
        rows = (self.next_row + torch.arange(len(keys), device=keys.device)) % size
        self.keys[rows] = F.normalize(keys, dim=-1).to(self.keys.dtype)
        self.image_index[rows] = image_index
        self.next_row.copy_((self.next_row + len(keys)) % size)

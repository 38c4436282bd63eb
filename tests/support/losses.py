"""Each loss with arguments of any size."""

import torch

from samclr.methods.losses import nt_xent, queue_contrast, region_contrast, self_distillation


def cases(b, dtype=torch.float32):
    """(loss, the embeddings it has a gradient for, its other arguments, how many logits it has)."""
    torch.manual_seed(0)
    image, queue, left_out = torch.arange(b) // 2, torch.randn(16 * b, 24, dtype=dtype), torch.rand(b, 16 * b) < 0.1
    embeddings = torch.randn(b, 2, 24, dtype=dtype)
    scores, teacher = torch.randn(b, 5, 8 * b, dtype=dtype), torch.randn(b, 2, 8 * b, dtype=dtype).softmax(-1)
    unit = torch.nn.functional.normalize(queue, dim=-1)
    regions, keys = torch.randn(b, 2, 3, 24, dtype=dtype), torch.randn(b, 2, 3, 24, dtype=dtype)
    shown, region = torch.rand(b, 2, 3) < 0.8, torch.arange(3 * b).view(b, 3)
    return [
        (nt_xent, embeddings, (0.2,), (2 * b) ** 2),
        (nt_xent, embeddings, (0.2, image), (2 * b) ** 2),
        (queue_contrast, embeddings[:, 0], (embeddings[:, 1], unit, 0.2), 16 * b**2),
        (queue_contrast, embeddings[:, 0], (embeddings[:, 1], unit, 0.2, left_out), 16 * b**2),
        (self_distillation, scores, (teacher, 0.1), 40 * b**2),
        (region_contrast, regions, (keys, shown, region, 0.2), (6 * b) ** 2),
        (region_contrast, regions, (keys, shown, region, 0.2, image), (6 * b) ** 2),
    ]

"""Linear probe on cached features: a softmax layer trained by SGD, the protocol of the paper's code without crops."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from samclr.config import ProbeConfig


def linear_probe(
    train: Float[Tensor, "n d"],
    train_labels: Int[Tensor, "n"],
    test: Float[Tensor, "m d"],
    test_labels: Int[Tensor, "m"],
    num_classes: int,
    config: ProbeConfig,
) -> list[float]:
    """Train the probe and return its test top-1 after each epoch; the last is the result, the best stands beside it.

    Features are standardised by the training split. SGD with momentum 0.9, no weight decay, cosine to zero.
    """
    mean, std = train.mean(0), train.std(0).clamp_min(1e-6)
    train, test = (train - mean) / std, (test - mean) / std
    generator = torch.Generator().manual_seed(config.probe_seed)
    layer = nn.utils.skip_init(nn.Linear, train.shape[1], num_classes)  # draws nothing from torch's own generator
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0, momentum=0.9)
    batches = math.ceil(len(train) / config.probe_batch_size)
    rate = config.probe_lr * config.probe_batch_size / 256
    curve = []
    for epoch in range(config.probe_epochs):
        for number, rows in enumerate(torch.randperm(len(train), generator=generator).split(config.probe_batch_size)):
            progress = (epoch + number / batches) / config.probe_epochs
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * progress))
            optimizer.zero_grad()
            F.cross_entropy(layer(train[rows]), train_labels[rows]).backward()
            optimizer.step()
        with torch.no_grad():
            curve.append(float((layer(test).argmax(1) == test_labels).float().mean()))
    return curve

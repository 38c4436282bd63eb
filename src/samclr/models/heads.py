"""Heads that turn features into embeddings."""

from torch import nn


def projector(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """SimCLR's projector with batch norm after both layers, as in lightly's ImageNette benchmark."""
    return nn.Sequential(
        nn.Linear(width_in, hidden, bias=False),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, width_out, bias=False),
        nn.BatchNorm1d(width_out),
    )

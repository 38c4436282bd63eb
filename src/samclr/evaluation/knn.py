"""Weighted nearest neighbours on frozen features (Wu et al., "Unsupervised feature learning via non-parametric
instance discrimination", CVPR 2018)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

QUERIES_AT_ONCE = 1024


def knn_predict(
    queries: Float[Tensor, "n d"],
    bank: Float[Tensor, "m d"],
    bank_labels: Int[Tensor, "m"],
    num_classes: int,
    k: int,
    temperature: float,
) -> Int[Tensor, "n"]:
    """Class of the highest vote among the k most similar bank features, each weighted exp(cosine / temperature)."""
    unit_bank = F.normalize(bank, dim=1)
    k = min(k, len(bank))
    predicted = []
    for chunk in F.normalize(queries, dim=1).split(QUERIES_AT_ONCE):
        similarity, neighbours = (chunk @ unit_bank.T).topk(k, dim=1)
        # Less the largest, so that a small temperature cannot overflow.
        weights = ((similarity - similarity[:, :1]) / temperature).exp()
        votes = torch.zeros(len(chunk), num_classes).scatter_add_(1, bank_labels[neighbours], weights)
        predicted.append(votes.argmax(1))
    return torch.cat(predicted)


def top1(predicted: Int[Tensor, "n"], labels: Int[Tensor, "n"]) -> float:
    """Share of right answers."""
    return float((predicted == labels).double().mean())

"""Patches clustered the way of Leopart: standardised, reduced to some principal components, and split by k-means with
faiss's rules (Johnson et al., "Billion-scale similarity search with GPUs", 2019)."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

import samclr.draws as draws

ROWS_AT_ONCE = 16_384
DISTANCES_AT_ONCE = 64_000_000  # rows x centres
SPLIT = 1 / 1024  # how far the two halves of a split cluster are moved apart, as faiss does


@dataclass(frozen=True, kw_only=True)
class KmeansSetting:
    """How k-means is run.

    Attributes:
        k: clusters.
        iterations: at most, of each start.
        starts: of which the one of the smallest sum of squared distances is taken.
        per_cluster: a seeded random sample of so many rows a cluster is clustered; all rows are assigned.
        seed: of the sample and the starts.
    """

    k: int
    iterations: int = 100
    starts: int = 5
    per_cluster: int = 256
    seed: int = 0


def principal_components(features: Float[Tensor, "n d"], num: int, device: torch.device) -> Float[Tensor, "n q"]:
    """The `num` first principal components of standardised features, at most d; on the CPU, in float32.

    Mean, deviation and covariance are summed block by block: features may be mapped, only what is returned is kept.
    """
    precision = torch.float32 if device.type == "mps" else torch.float64  # which that has not
    blocks = features.split(ROWS_AT_ONCE)
    total = torch.zeros(features.shape[1], dtype=precision, device=device)
    for block in blocks:
        total += block.to(device=device, dtype=precision).sum(0)
    mean = total / len(features)
    products = torch.zeros(features.shape[1], features.shape[1], dtype=precision, device=device)
    for block in blocks:
        centred = block.to(device=device, dtype=precision) - mean
        products += centred.T @ centred
    variance = (products.diagonal() / len(features)).clamp_min(0)
    std = torch.where(variance > 0, variance.sqrt(), 1.0)
    correlation = products / len(features) / std / std[:, None]
    axes = torch.linalg.eigh(correlation.double().cpu())[1].flip(1)[:, :num]  # eigenvalues rise
    turn = (axes / std.double().cpu()[:, None]).to(device=device, dtype=precision)
    return torch.cat([((block.to(device=device, dtype=precision) - mean) @ turn).float().cpu() for block in blocks])


def kmeans(rows: Float[Tensor, "n q"], setting: KmeansSetting, device: torch.device) -> Int[Tensor, "n"]:
    """The cluster of each row. n is at least k."""
    num, k = len(rows), setting.k
    order = draws.epoch_order(setting.seed, 0, num)
    sample = rows[np.sort(order[: setting.per_cluster * k])].to(device)
    best: tuple[float, Tensor] | None = None
    for start in range(setting.starts):
        first = draws.epoch_order(setting.seed, 1 + start, len(sample))[:k]
        centres, inertia = lloyd(
            sample, sample[torch.from_numpy(first.astype(np.int64)).to(device)], setting.iterations
        )
        if best is None or inertia < best[0]:
            best = inertia, centres
    assert best is not None
    return torch.cat([nearest_centre(block.to(device), best[1])[0].cpu() for block in _blocks(rows, best[1])])


def lloyd(
    rows: Float[Tensor, "n q"], centres: Float[Tensor, "k q"], iterations: int
) -> tuple[Float[Tensor, "k q"], float]:
    """Centres after at most `iterations` of Lloyd's algorithm, and the sum of squared distances to those before the
    last step; ends where no row changes its cluster."""
    assigned, inertia = torch.full((len(rows),), -1, device=rows.device), float("inf")
    for _ in range(iterations):
        parts = [nearest_centre(block, centres) for block in _blocks(rows, centres)]
        before, assigned = assigned, torch.cat([cluster for cluster, _ in parts])
        inertia = sum(float(distances.sum()) for _, distances in parts)
        if torch.equal(before, assigned):
            break
        sizes = torch.bincount(assigned, minlength=len(centres)).to(rows.dtype)
        sums = torch.zeros_like(centres).index_add_(0, assigned, rows)
        centres = sums / sizes.clamp(min=1)[:, None]
        _split_largest(centres, sizes)
    return centres, inertia


def nearest_centre(
    rows: Float[Tensor, "n q"], centres: Float[Tensor, "k q"]
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The nearest centre of each row, the first of equals, and the squared distance to it."""
    least, cluster = torch.addmm((centres**2).sum(1), rows, centres.T, alpha=-2).min(1)
    return cluster, (least + (rows**2).sum(1)).clamp_min(0)


def _blocks(rows: Float[Tensor, "n q"], centres: Float[Tensor, "k q"]) -> tuple[Tensor, ...]:
    return rows.split(min(ROWS_AT_ONCE, max(DISTANCES_AT_ONCE // len(centres), 1)))


def _split_largest(centres: Float[Tensor, "k q"], sizes: Float[Tensor, "k"]) -> None:
    """An empty cluster gets half of the largest."""
    for empty in torch.nonzero(sizes == 0).flatten().tolist():
        largest = int(sizes.argmax())
        sign = 1 + SPLIT * (1 - 2 * (torch.arange(centres.shape[1], device=centres.device) % 2))
        centres[empty] = centres[largest] * sign
        centres[largest] = centres[largest] * (2 - sign)
        sizes[empty] = sizes[largest] / 2
        sizes[largest] = sizes[largest] / 2

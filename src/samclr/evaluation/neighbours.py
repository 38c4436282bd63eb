"""Weighted nearest neighbours on frozen features (Wu et al., "Unsupervised feature learning via non-parametric
instance discrimination", CVPR 2018), chunk by chunk over queries and bank: memory does not grow with either."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from samclr.evaluation.states import Keeper, load_state

QUERIES_AT_ONCE = 1024
BANK_AT_ONCE = 16_384
VOTES_AT_ONCE = 4_000_000  # numbers: queries x classes
NUM_RANKED = 5
NO_CLASS = -1


@dataclass(frozen=True, kw_only=True)
class KnnSetting:
    """k neighbours vote, each with exp(cosine similarity / temperature)."""

    k: int
    temperature: float

    @property
    def name(self) -> str:
        """As results call the variant."""
        return f"k{self.k}_t{self.temperature:g}"


USUAL_SETTINGS = (KnnSetting(k=20, temperature=0.07), KnnSetting(k=200, temperature=0.1))  # ours, the paper's code


def knn_ranked(
    queries: Float[Tensor, "n d"],
    bank: Float[Tensor, "m d"],
    bank_labels: Int[Tensor, "m"],
    num_classes: int,
    settings: Sequence[KnnSetting],
    device: torch.device | None = None,
    state_file: Path | None = None,
) -> list[Int[Tensor, "n r"]]:
    """For each setting the (at most five) classes of most votes, best first; all settings share one search.

    A class that no neighbour votes for is no answer: its place holds NO_CLASS. Equal votes go to the lower class.
    state_file: where what was found is kept now and then, if the search takes long; None keeps nothing.
    """
    largest = max(setting.k for setting in settings)
    state = (None if state_file is None else load_state(state_file)) or {"ranked": [[] for _ in settings]}
    ranked: list[list[Tensor]] = state["ranked"]
    keeper, done = Keeper(state_file), sum(map(len, ranked[0]))
    for chunk in queries[done:].split(QUERIES_AT_ONCE) if done < len(queries) else ():
        similarity, neighbours = nearest(chunk, bank, largest, device)
        for place, setting in zip(ranked, settings, strict=True):
            near, labels = similarity[:, : setting.k], bank_labels[neighbours[:, : setting.k]]
            # Less the largest, so that a small temperature cannot overflow.
            weights = ((near - near[:, :1]) / setting.temperature).exp()
            at_once = max(VOTES_AT_ONCE // num_classes, 1)
            for weight, label in zip(weights.split(at_once), labels.split(at_once), strict=True):
                votes = torch.zeros(len(label), num_classes).scatter_add_(1, label, weight)
                place.append(rank(votes, torch.zeros_like(votes).scatter_(1, label, 1.0) > 0))
        keeper.keep(lambda: state)
    return [torch.cat(place) for place in ranked]


def knn_predict(
    queries: Float[Tensor, "n d"],
    bank: Float[Tensor, "m d"],
    bank_labels: Int[Tensor, "m"],
    num_classes: int,
    k: int,
    temperature: float,
) -> Int[Tensor, "n"]:
    """The class of most votes alone."""
    setting = KnnSetting(k=k, temperature=temperature)
    return knn_ranked(queries, bank, bank_labels, num_classes, [setting])[0][:, 0]


def nearest(
    queries: Float[Tensor, "n d"], bank: Float[Tensor, "m d"], k: int, device: torch.device | None = None
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """Cosine similarity and row of the k most similar features of the bank, best first; all rows if it has fewer.

    The bank may be of lower precision, mapped or on the device: it is taken block by block in that of the queries.
    """
    queries = F.normalize(queries.to(device=device), dim=1)
    similarity = queries.new_empty(len(queries), 0)
    rows = torch.empty(len(queries), 0, dtype=torch.int64, device=queries.device)
    for first in range(0, len(bank), BANK_AT_ONCE):
        part = F.normalize(bank[first : first + BANK_AT_ONCE].to(device=device, dtype=queries.dtype), dim=1)
        near, places = (queries @ part.T).topk(min(k, len(part)), dim=1)
        similarity, rows = torch.cat([similarity, near], 1), torch.cat([rows, places + first], 1)
        if first:
            similarity, order = similarity.topk(min(k, similarity.shape[1]), dim=1)
            rows = rows.gather(1, order)
    return similarity.cpu(), rows.cpu()


def nearest_shares(
    queries: Float[Tensor, "n d"],
    bank: Float[Tensor, "m d"],
    shares: Float[Tensor, "m c"],
    k: int,
    temperature: float,
    device: torch.device | None = None,
) -> Float[Tensor, "n c"]:
    """Class shares of the k nearest of the bank, weighted by a softmax of cosine similarity / temperature."""
    found = []
    for chunk in queries.split(QUERIES_AT_ONCE):
        similarity, neighbours = nearest(chunk, bank, k, device)
        weights = (similarity / temperature).softmax(1)
        found.append(torch.einsum("nk,nkc->nc", weights, shares[neighbours].to(weights.dtype)))
    return torch.cat(found)


def rank(scores: Float[Tensor, "n c"], answered: Tensor | None = None) -> Int[Tensor, "n r"]:
    """The (at most five) classes of highest score, best first, the lower class first where equal."""
    if answered is not None:
        scores = scores.masked_fill(~answered, -torch.inf)
    values, classes = scores.sort(dim=1, descending=True, stable=True)
    return classes.masked_fill(values == -torch.inf, NO_CLASS)[:, :NUM_RANKED]


def hits(ranked: Int[Tensor, "n r"], labels: Int[Tensor, "n"], num: int) -> Float[Tensor, "n"]:
    """1 where the label is among the first `num` answers, else 0."""
    return (ranked[:, :num] == labels[:, None]).any(1).double()


def top1(predicted: Int[Tensor, "n"], labels: Int[Tensor, "n"]) -> float:
    """Share of right answers."""
    return float((predicted == labels).double().mean())

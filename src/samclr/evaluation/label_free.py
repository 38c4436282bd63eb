"""What can be said of a backbone on scenes without labels: whether its patches know the regions, how many directions
its features use, and how far they have gone from others."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, normalize

from samclr.config.normalisation import normalisation_of
from samclr.errors import EvaluationError
from samclr.evaluation.features import images_at_once
from samclr.evaluation.mapped import NOT_FINITE
from samclr.models.freeze import modes_kept
from samclr.models.maps import features_and_map

MOST_ROWS = 4096  # patches whose singular values are taken
IMAGES_AT_ONCE = 32
NO_REGION = -1


@dataclass(frozen=True, kw_only=True)
class SceneFeatures:
    """Features of n images and of their p patches each, float32 on the CPU."""

    images: Float[Tensor, "n d"]
    patches: Float[Tensor, "n p k"]


@torch.inference_mode()
def scene_features(backbone: nn.Module, pixels: Any, device: torch.device) -> SceneFeatures:
    """Features of uint8 pixels [n 3 s s], in evaluation mode; the mode is put back afterwards.

    Raises:
        EvaluationError: a feature is not finite.
    """
    images, patches, normalisation = [], [], normalisation_of(backbone)
    with modes_kept(backbone):
        backbone.eval().to(device)
        at_once = images_at_once(pixels.shape, IMAGES_AT_ONCE)
        for part in torch.as_tensor(pixels).split(at_once):
            features, maps = features_and_map(backbone, normalisation(part.to(device).float().div_(255.0)))
            images.append(features.float().cpu())
            patches.append(maps.float().flatten(2).transpose(1, 2).cpu())
    if not all(bool(part.isfinite().all()) for part in (*images, *patches)):
        raise EvaluationError(NOT_FINITE)
    return SceneFeatures(images=torch.cat(images), patches=torch.cat(patches))


def regions_of_cells(shares: Float[np.ndarray, "r g g"], area_px: Int[np.ndarray, "r"]) -> Int[np.ndarray, "p"]:
    """For each of an image's g*g cells the smallest region that covers more than half of it; NO_REGION without one.

    shares: how much of each cell a region covers. area_px: of the regions; of equal ones the first is taken.
    """
    found = np.full(shares.shape[1] * shares.shape[2], NO_REGION, np.int64)
    for region in np.argsort(area_px, kind="stable")[::-1]:
        covered = shares[region].ravel() > 0.5
        found[covered] = region
    return found


def region_agreement(
    patches: Float[Tensor, "n p k"], regions: Int[Tensor, "n p"]
) -> tuple[float, Float[np.ndarray, "n 2"]]:
    """Of a patch's nearest patches in its image, the share that lies in its region, as a mean over patches.

    A patch of a region of m patches has m - 1 nearest patches, by cosine similarity, among those of its image that lie
    in some region: that is R-precision (Manning et al., Introduction to information retrieval, 2008, 8.4), 1 where
    regions are told apart and about the regions' share of the image where they are not. Patches without a region, and
    those that are alone in theirs, do not count.

    Returns the mean (0 where no patch counts), and for each image the sum of the shares and the patches that count.
    """
    sums = np.zeros((len(patches), 2))
    for image, (rows, labels) in enumerate(zip(patches, regions, strict=True)):
        within = labels != NO_REGION
        unit, own = normalize(rows[within].double(), dim=1), labels[within]
        if len(own) < 2:
            continue
        similarity = (unit @ unit.T).fill_diagonal_(-torch.inf)
        order = torch.argsort(similarity, dim=1, descending=True, stable=True)
        same = own[order] == own[:, None]
        others = (own[:, None] == own).sum(1) - 1
        counted = others > 0
        hits = same.cumsum(1).gather(1, (others - 1).clamp(min=0)[:, None])[:, 0]
        shares = hits[counted].double() / others[counted]
        sums[image] = float(shares.sum()), int(counted.sum())
    total = sums.sum(0)
    return float(total[0] / max(total[1], 1)), sums


def rank_me(features: Float[Tensor, "n d"]) -> float:
    """Effective rank: exp of the entropy of the singular values' shares (Garrido et al., RankMe, ICML 2023, eq. 1).

    At most min(n, d); 1 where all features are multiples of one. Of more than MOST_ROWS rows, that many evenly spaced
    ones count, so that figures of equal rows compare.
    """
    if len(features) > MOST_ROWS:
        features = features[torch.linspace(0, len(features) - 1, MOST_ROWS).long()]
    singular = torch.linalg.svdvals(features.double())
    shares = singular[singular > 0] / singular.sum()
    return float(torch.exp(-(shares * shares.log()).sum()))


def drift(before: Float[Tensor, "*n d"], after: Float[Tensor, "*n d"]) -> float:
    """Mean of 1 - cosine similarity of what were the same image's, or patch's, features: 0 unmoved, 2 opposite."""
    return float((1 - cosine_similarity(before.double(), after.double(), dim=-1)).mean())

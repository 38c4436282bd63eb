"""Label-free figures against loops that follow their definitions."""

import math

import numpy as np
import pytest
import torch

from samclr.config.pretrain import ModelConfig
from samclr.errors import EvaluationError
from samclr.evaluation.label_free import (
    NO_REGION,
    drift,
    rank_me,
    region_agreement,
    regions_of_cells,
    scene_features,
)
from samclr.models.backbone import create_backbone


def naive_agreement(patches, regions):
    """Patch by patch, neighbour by neighbour."""
    shares = []
    for rows, labels in zip(patches.double().tolist(), regions.tolist(), strict=True):
        known = [number for number, label in enumerate(labels) if label != NO_REGION]
        for one in known:
            mates = [other for other in known if other != one and labels[other] == labels[one]]
            if not mates:
                continue

            def cosine(other, one=one, rows=rows):
                dot = sum(a * b for a, b in zip(rows[one], rows[other], strict=True))
                return dot / math.hypot(*rows[one]) / math.hypot(*rows[other])

            nearest = sorted((other for other in known if other != one), key=cosine, reverse=True)[: len(mates)]
            shares.append(sum(labels[other] == labels[one] for other in nearest) / len(mates))
    return sum(shares) / len(shares)


def test_agreement_of_patch_neighbours_is_the_naive_one():
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(3, 20, 5, generator=generator)
    regions = torch.randint(NO_REGION, 4, (3, 20), generator=generator)
    regions[2] = NO_REGION
    regions[1, 0] = 9  # alone in its region: does not count
    value, sums = region_agreement(patches, regions)
    assert value == pytest.approx(naive_agreement(patches, regions), abs=1e-12)
    assert sums[:, 0].sum() / sums[:, 1].sum() == pytest.approx(value)
    assert sums[2].tolist() == [0, 0]


def test_agreement_is_one_where_regions_are_told_apart():
    regions = torch.arange(12).reshape(1, 12) // 4
    apart = torch.nn.functional.one_hot(regions, 3).float() + 0.01 * torch.rand(1, 12, 3)
    assert region_agreement(apart, regions)[0] == 1
    assert region_agreement(apart, torch.full((1, 12), NO_REGION))[0] == 0


def test_rank_me_is_the_formula():
    rows = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    eigenvalues = np.linalg.eigvalsh((rows.double().T @ rows.double()).numpy())
    shares = np.sqrt(eigenvalues) / np.sqrt(eigenvalues).sum()
    assert rank_me(rows) == pytest.approx(math.exp(-sum(p * math.log(p) for p in shares)), rel=1e-9)
    assert rank_me(torch.eye(7)) == pytest.approx(7)
    assert rank_me(rows[:1].expand(9, 6)) == pytest.approx(1, abs=1e-6)
    assert rank_me(torch.eye(3).repeat(3000, 1)) == pytest.approx(3, abs=1e-3)  # of more rows than are taken


def test_drift_is_one_less_the_mean_cosine():
    before, after = torch.randn(2, 4, 5, 3, generator=torch.Generator().manual_seed(2))
    pairs = zip(before.flatten(0, 1).tolist(), after.flatten(0, 1).tolist(), strict=True)
    cosines = [
        sum(a * b for a, b in zip(one, two, strict=True)) / math.hypot(*one) / math.hypot(*two) for one, two in pairs
    ]
    assert drift(before, after) == pytest.approx(1 - sum(cosines) / len(cosines), abs=1e-6)
    assert drift(before, 3 * before) == pytest.approx(0, abs=1e-12)
    assert drift(before, -before) == pytest.approx(2)


def test_a_cell_belongs_to_the_smallest_region_that_covers_most_of_it():
    shares = np.zeros((3, 2, 2), np.float32)
    shares[0] = 1  # the whole image
    shares[1, 0, 0], shares[1, 0, 1] = 0.6, 0.5  # half is not most
    shares[2, 1, 1] = 0.9
    cells = regions_of_cells(shares, np.array([400, 60, 90]))
    assert cells.tolist() == [1, 0, 0, 2]
    assert regions_of_cells(shares[1:], np.array([60, 90])).tolist() == [0, NO_REGION, NO_REGION, 1]


def test_features_that_are_not_finite_are_refused():
    backbone = create_backbone(ModelConfig(backbone="small-cnn"), 24)
    torch.nn.init.constant_(backbone.layers[0].weight, torch.nan)
    with pytest.raises(EvaluationError, match="features are not finite: its weights are damaged, or training failed"):
        scene_features(backbone, np.zeros((2, 3, 24, 24), np.uint8), torch.device("cpu"))

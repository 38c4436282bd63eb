"""Our regrouped decoder against transformers' own (HQ: against the HQ authors' own), on random weights."""

import numpy as np
import pytest
import torch
from sam_models import KINDS, ReferenceModel, tiny_sam

from samclr.regions.sam.model import SamModels

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NUM_POINTS = 20


@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_logits_of_every_mask(kind):
    net = tiny_sam(kind)
    model = SamModels(net, MEAN, STD, squash=kind not in ("sam", "sam_hq"))
    random = np.random.default_rng(0)
    images = [random.integers(0, 255, shape).astype(np.uint8) for shape in ((40, 64, 3), (64, 50, 3))]
    points = torch.from_numpy(random.uniform(0, model.image_px, (2, NUM_POINTS, 2))).float()
    with torch.inference_mode():
        encoded = model.encode([model.prepare(image) for image in images])
        prompted = model.decoder.prompt(encoded, model.embed_points(points))
        scores = prompted.scores.flatten(0, 1)
        if model.decoder.masks_per_point == 1:
            scores, best = scores.max(1, keepdim=True)
            pair, mask = torch.arange(2 * NUM_POINTS), best[:, 0]
        else:
            pair = torch.arange(2 * NUM_POINTS).repeat_interleave(3)
            mask = torch.arange(3).repeat(2 * NUM_POINTS)
        logits = model.decoder.masks(prompted, pair, mask).unflatten(0, scores.shape)
        for number, image in enumerate(images):
            expected_logits, expected_scores = _reference(net, model.prepare(image), points[number])
            part = slice(number * NUM_POINTS, (number + 1) * NUM_POINTS)
            torch.testing.assert_close(scores[part], expected_scores, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(logits[part], expected_logits, atol=3e-3, rtol=1e-3)
            assert expected_scores.std() > 0.05
            assert expected_logits.std() > 0.5


def test_masks_asked_for_out_of_many_are_those_of_all():
    net = tiny_sam("sam")
    model = SamModels(net, MEAN, STD, squash=False)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    with torch.inference_mode():
        encoded = model.encode([model.prepare(image)])
        prompted = model.decoder.prompt(encoded, model.embed_points(torch.rand(1, 6, 2) * 64))
        everything = model.decoder.masks(prompted, torch.arange(6).repeat_interleave(3), torch.arange(3).repeat(6))
        some = model.decoder.masks(prompted, torch.tensor([0, 2, 2, 5]), torch.tensor([1, 0, 2, 2]))
    torch.testing.assert_close(some, everything[[1, 6, 8, 17]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_leaves_places_tokens_and_scores_whole(kind):
    net = tiny_sam(kind)
    model = SamModels(net, MEAN, STD, squash=kind not in ("sam", "sam_hq"))
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    points = torch.rand(1, 6, 2) * 64
    with torch.inference_mode():
        encoded, tokens = model.encode([model.prepare(image)]), model.embed_points(points)
        whole = model.decoder.prompt(encoded, tokens)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(model.embed_points(points), tokens)
            half = model.decoder.prompt(encoded, tokens)
    for name in ("scores", "mask_tokens", "positions"):
        assert getattr(half, name).dtype == torch.float32, name
    assert not torch.equal(half.scores, whole.scores)  # the products over image positions did run in half precision
    torch.testing.assert_close(half.scores, whole.scores, atol=0.05, rtol=0.05)


def _reference(net, prepared, points):
    reference = ReferenceModel(net, MEAN, STD)
    features, early = reference.image_encoder(reference.preprocess(prepared.float())[None])
    labels = torch.ones(len(points), 1, dtype=torch.int32)
    tokens = reference.prompt_encoder((points[:, None], labels), None, None)[0]
    return reference.mask_decoder(features, reference.prompt_encoder.get_dense_pe(), tokens, interm_embeddings=early)

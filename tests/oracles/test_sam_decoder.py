"""Our regrouped decoder and our encoder's input against the authors' own classes, with the same weights."""

import numpy as np
import pytest
import torch
from support.original_sams import original_generator, original_masks
from support.sam_models import KINDS, MEAN, STD, as_loaded, digits_sam, tiny_sam

NUM_POINTS = 20


# Smaller than the model's square, as large in one side, larger, one pixel high
@pytest.mark.parametrize("shape", [(40, 64), (96, 50), (200, 130), (1, 30)])
@pytest.mark.parametrize("weights", [tiny_sam, digits_sam])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_and_logits_of_every_mask(kind, weights, shape):
    net = weights(kind)
    model, original = as_loaded(net), original_generator(net, MEAN, STD)
    random = np.random.default_rng(0)
    image = random.integers(0, 255, (*shape, 3)).astype(np.uint8)
    points = torch.from_numpy(random.uniform(0, model.image_px, (NUM_POINTS, 2))).float()
    with torch.inference_mode():
        scores, logits = _ours(model, image, points)
        expected_logits, expected_scores = original_masks(original, image, points)
    if model.squash:
        logits = logits.clamp(-32, 32)  # as SAM 2's predictor gives low-resolution masks
    torch.testing.assert_close(scores, expected_scores, atol=3e-6, rtol=0)
    torch.testing.assert_close(logits, expected_logits, atol=1e-4 * float(expected_logits.std()), rtol=0)
    assert expected_scores.std() > 0.02
    assert expected_logits.std() > 0.5


@pytest.mark.parametrize("kind", ["sam", "sam_hq"])
def test_the_epsilon_shows_on_these_weights(kind):
    """That the tests above are no comparison of a network with itself: transformers' epsilon fails them."""
    net = digits_sam(kind)
    original = original_generator(net, MEAN, STD)
    net.config.samclr_two_way_eps = 1e-6
    image = np.random.default_rng(0).integers(0, 255, (40, 64, 3)).astype(np.uint8)
    points = torch.rand(NUM_POINTS, 2, generator=torch.Generator().manual_seed(0)) * 96
    with torch.inference_mode():
        scores, _ = _ours(as_loaded(net), image, points)
        _, expected = original_masks(original, image, points)
    assert (scores - expected).abs().max() > 1e-5


def test_masks_asked_for_out_of_many_are_those_of_all():
    net = tiny_sam("sam")
    model = as_loaded(net)
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
    model = as_loaded(net)
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


def _ours(model, image, points):
    """Scores and low-resolution logits of all masks of the points [p 2]; of HQ-SAM's the best scored of each."""
    encoded = model.encode([model.prepare(image)])
    prompted = model.decoder.prompt(encoded, model.embed_points(points[None]))
    scores, numbers = prompted.scores[0], torch.arange(len(points))
    if model.decoder.masks_per_point == 1:
        scores, best = scores.max(1, keepdim=True)
        pair, mask = numbers, best[:, 0]
    else:
        pair, mask = numbers.repeat_interleave(3), torch.arange(3).repeat(len(points))
    return scores, model.decoder.masks(prompted, pair, mask).unflatten(0, scores.shape)

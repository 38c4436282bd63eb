"""Train sam-digits, the small SAM that ships with samclr: `python scripts/train_sam_digits.py --out DIR`.

A SamModel of 0.6 M parameters (96 px images) that segments handwritten digits and plain shapes on smooth clutter.
It exists so that the whole SAM path runs for real without a download: in the demo, in the tests, in the benchmarks.
It is of no use on photographs. The model card in its folder holds the figures this script prints.
"""

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from torch import Tensor
from transformers import SamConfig, SamImageProcessor, SamModel

from samclr.demo.data import DATA_SEED, NUM_IN_SCENES
from samclr.demo.scenes import SceneStyle, clutter, compose_scene, digit_ink
from samclr.draws import epoch_order

IMAGE_PX, WIDTH, LAYERS, DECODER_WIDTH = 96, 96, 4, 64


@dataclass(frozen=True)
class Phase:
    """Patches of 6 px learn fast what an object is, patches of 4 px then where exactly it ends (a mask pixel an image
    pixel). Each phase has its own warm-up and cosine, and begins with the last one's weights, resampled."""

    patch_px: int
    steps: int
    schedule_steps: int  # of the cosine, which `steps` may leave early
    images: int
    points: int
    mask_weight: float  # of mask pixels in the BCE: first mind the thin strokes, then their edges


PHASES = (Phase(6, 3500, 3500, 16, 6, 3.0), Phase(4, 1000, 2200, 8, 4, 1.5), Phase(4, 700, 700, 8, 4, 1.5))
BACKGROUND_POINTS = 1  # of the points of an image: on clutter, where every mask is to be scored 0
LOGIT_SCALE = 4  # the loss sees logits / 4, so that edges come out steep: stability is measured at -1 and +1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def make_model(patch_px: int) -> SamModel:
    """The untrained model. `scale` 1.0: with transformers' own start (width / 2) points are not learned at all."""
    config = SamConfig(
        vision_config={
            "hidden_size": WIDTH, "output_channels": DECODER_WIDTH, "num_hidden_layers": LAYERS,
            "num_attention_heads": 4, "image_size": IMAGE_PX, "patch_size": patch_px, "window_size": 0,
            "global_attn_indexes": list(range(LAYERS)), "mlp_dim": 3 * WIDTH, "num_pos_feats": DECODER_WIDTH // 2,
            "scale": 1.0,
        },
        prompt_encoder_config={
            "hidden_size": DECODER_WIDTH, "image_size": IMAGE_PX, "patch_size": patch_px, "mask_input_channels": 16,
        },
        mask_decoder_config={
            "hidden_size": DECODER_WIDTH, "mlp_dim": 2 * DECODER_WIDTH, "num_attention_heads": 4,
            "iou_head_hidden_dim": DECODER_WIDTH,
        },
    )  # fmt: skip
    return SamModel(config)


# ---- scenes ----


def shape_ink(side_px: int, random: np.random.Generator) -> np.ndarray:
    """An ellipse, rectangle, triangle, ring or cross that fills its square, as ink from 0 to 1."""
    large = Image.new("L", (4 * side_px, 4 * side_px))
    draw, last = ImageDraw.Draw(large), 4 * side_px - 1
    kind = int(random.integers(5))
    cut = int(random.uniform(0, 0.35) * last)
    if kind == 0:
        draw.ellipse((0, cut, last, last), fill=255)
    elif kind == 1:
        draw.rectangle((cut, 0, last, last), fill=255)
    elif kind == 2:
        draw.polygon(
            [(int(random.uniform(0, last)), 0), (0, last), (last, int(random.uniform(last / 2, last)))], fill=255
        )
    elif kind == 3:
        draw.ellipse((0, 0, last, last), outline=255, width=max(4 * side_px // 5, 8))
    else:
        middle = last * 2 // 5, last * 3 // 5
        draw.rectangle((middle[0], 0, middle[1], last), fill=255)
        draw.rectangle((0, middle[0], last, middle[1]), fill=255)
    return np.asarray(large.resize((side_px, side_px), Image.Resampling.BOX)).astype(np.float64) / 255


def training_scene(
    strokes: Sequence[np.ndarray], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int, int]]]:
    """A scene [h w 3], its label map and the squares (top, left, side) of its objects, of varied sizes and number."""
    long_px, short_frac = int(random.integers(64, 176)), random.choice([1.0, random.uniform(0.6, 1.0)])
    height, width = long_px, int(long_px * short_frac)
    if random.random() < 0.5:
        height, width = width, height
    canvas = clutter(long_px, random)[:height, :width].copy()
    labels = np.zeros((height, width), np.uint8)
    squares: list[tuple[int, int, int]] = []
    wanted = int(random.integers(1, 15))
    smallest = max(12, round(0.14 * long_px))  # thirteen of the 96 pixels that the model sees
    for _ in range(40):
        side = int(random.integers(smallest, max(smallest + 1, round(0.34 * long_px))))
        if wanted > 6:
            side = min(side, max(smallest, round(0.22 * long_px)))
        if side > min(height, width):
            continue
        top, left = int(random.integers(0, height - side + 1)), int(random.integers(0, width - side + 1))
        if any(top < t + s and t < top + side and left < x + s and x < left + side for t, x, s in squares):
            continue
        is_digit = random.random() < 0.75
        ink = digit_ink(strokes[int(random.integers(len(strokes)))], side) if is_digit else shape_ink(side, random)
        tone = (
            random.uniform(0.75, 1.0) * np.ones(3)
            if is_digit
            else random.choice([0.0, 0.85]) + random.uniform(0, 0.15, 3)
        )
        window = canvas[top : top + side, left : left + side]
        window[:] = (1 - ink[..., None]) * window + ink[..., None] * tone
        squares.append((top, left, side))
        labels[top : top + side, left : left + side][ink > 0.5] = len(squares)
        if len(squares) == wanted:
            break
    return np.round(np.clip(canvas, 0, 1) * 255).astype(np.uint8), labels, squares


def training_batch(
    strokes: Sequence[np.ndarray], phase: Phase, seed: int, step: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pixels [b 3 96 96], points [b p 2] in model pixels, target masks [b p 96 96], and which points have one [b p]."""
    random = np.random.Generator(np.random.PCG64([seed, step]))
    pixels = np.zeros((phase.images, IMAGE_PX, IMAGE_PX, 3), np.float32)
    points = np.zeros((phase.images, phase.points, 2), np.float32)
    targets = np.zeros((phase.images, phase.points, IMAGE_PX, IMAGE_PX), np.float32)
    on_object = np.zeros((phase.images, phase.points), bool)
    for image in range(phase.images):
        scene, labels, squares = training_scene(strokes, random)
        height, width = scene.shape[:2]
        scale = IMAGE_PX / max(height, width)
        size = (int(width * scale + 0.5), int(height * scale + 0.5))
        small = np.asarray(Image.fromarray(scene).resize(size, Image.Resampling.BILINEAR))
        pixels[image, : size[1], : size[0]] = (small / 255.0 - MEAN) / STD
        for point in range(phase.points):
            if point < BACKGROUND_POINTS:
                clear = np.ones(labels.shape, bool)
                for top, left, side in squares:  # beside its strokes an object's square is neither clutter nor ink
                    clear[max(top - 1, 0) : top + side + 1, max(left - 1, 0) : left + side + 1] = False
                free = np.argwhere(clear)
                y, x = free[random.integers(len(free))]
                points[image, point] = (x + 0.5) * scale, (y + 0.5) * scale
                continue
            number = int(random.integers(len(squares)))
            top, left, side = squares[number]
            ink = np.argwhere(labels == number + 1)
            y, x = ink[random.integers(len(ink))]
            if random.random() < 0.5:  # beside the strokes, within the object's square
                y, x = top + random.uniform(0.1, 0.9) * side, left + random.uniform(0.1, 0.9) * side
            points[image, point] = (x + 0.5) * scale, (y + 0.5) * scale
            mask = Image.fromarray((labels == number + 1).astype(np.float32))
            targets[image, point, : size[1], : size[0]] = np.asarray(mask.resize(size, Image.Resampling.BILINEAR)) > 0.5
            on_object[image, point] = True
    return (
        torch.from_numpy(pixels).permute(0, 3, 1, 2),
        torch.from_numpy(points),
        torch.from_numpy(targets),
        torch.from_numpy(on_object),
    )


# ---- training ----


def loss_of(
    logits: Tensor, scores: Tensor, targets: Tensor, on_object: Tensor, mask_weight: float
) -> tuple[Tensor, Tensor]:
    """2 x weighted BCE + dice of the best of three masks, + squared error of the predicted IoU; and the best IoU.

    logits [b p 3 h w] are enlarged first; scores [b p 3], targets [b p 96 96], on_object [b p].
    """
    logits = F.interpolate(logits.flatten(0, 1), (IMAGE_PX, IMAGE_PX), mode="bilinear").unflatten(0, logits.shape[:2])
    logits = logits / LOGIT_SCALE
    wanted = targets[:, :, None].expand_as(logits)
    weight = 1 + (mask_weight - 1) * wanted
    bce = (F.binary_cross_entropy_with_logits(logits, wanted, reduction="none") * weight).mean((-1, -2))
    chance = logits.sigmoid()
    dice = 1 - (2 * (chance * wanted).sum((-1, -2)) + 1) / (chance.sum((-1, -2)) + wanted.sum((-1, -2)) + 1)
    each = 2 * bce + dice
    best = each.argmin(-1, keepdim=True)
    mask_loss = (each.gather(-1, best).squeeze(-1) * on_object).sum() / on_object.sum()
    found = logits > 0
    iou = (found & (wanted > 0.5)).sum((-1, -2)) / (found | (wanted > 0.5)).sum((-1, -2)).clamp(min=1)
    iou_loss = (scores - iou).square().mean()
    best_iou = (iou.amax(-1) * on_object).sum() / on_object.sum()
    return mask_loss + iou_loss, best_iou


def train(out: Path, first_phase: int, seed: int) -> None:
    """Train through the phases; a first_phase over 0 goes on from the weights in `out`."""
    torch.manual_seed(seed)
    model = make_model(PHASES[0].patch_px) if first_phase == 0 else SamModel.from_pretrained(out)
    digits = load_digits()
    # Only digits that the demo draws into scenes: those of its labelled set stay unseen.
    strokes = [digits.images[number] / 16.0 for number in epoch_order(DATA_SEED, 0, len(digits.images))[:NUM_IN_SCENES]]
    start_step = sum(phase.steps for phase in PHASES[:first_phase])
    for phase in PHASES[first_phase:]:
        model = with_patch(model, phase.patch_px)
        train_phase(model, phase, strokes, out, seed, start_step)
        start_step += phase.steps
    calibrate(model, strokes, seed)
    save(model, out)
    num = sum(parameter.numel() for parameter in model.parameters())
    print(f"{num:,} parameters, {(out / 'model.safetensors').stat().st_size:,} bytes")


def calibrate(model: SamModel, strokes: Sequence[np.ndarray], seed: int, num_scenes: int = 200) -> None:
    """Fit the predicted IoU to the true one on scenes of the demo's kind, in the score head's last layer.

    Trained on harder scenes too, the head says less than is true on easy ones, and the generator's threshold of 0.88
    would drop good masks. Points lie on ink or beside it; the fit is a line over the masks of all three tokens.
    """
    predicted, true = [], []
    for number in range(num_scenes):
        random = np.random.Generator(np.random.PCG64([seed, 3, number]))
        scene, labels = compose_scene(strokes, random)
        pixels = torch.from_numpy((np.asarray(scene) / 255.0 - MEAN) / STD).permute(2, 0, 1).float()
        where = [np.argwhere(labels == digit) for digit in range(1, 6)]
        points = np.array([ink[random.integers(len(ink))][::-1] for ink in where], np.float32)
        with torch.no_grad():
            answer = model(pixel_values=pixels[None], input_points=torch.from_numpy(points)[None, :, None])
        masks = F.interpolate(answer.pred_masks[0], scene.shape[:2], mode="bilinear").numpy() > 0
        for digit in range(5):
            ink = labels == digit + 1
            true += [(ink & mask).sum() / (ink | mask).sum() for mask in masks[digit]]
            predicted += answer.iou_scores[0, digit].tolist()
    slope, shift = np.polyfit(predicted, true, 1)
    print(f"calibrated: true IoU = {slope:.3f} x predicted + {shift:.3f} over {len(true)} masks")
    with torch.no_grad():
        last = model.mask_decoder.iou_prediction_head.proj_out
        last.weight.mul_(slope)
        last.bias.mul_(slope).add_(shift)


# ---- figures ----


def measure(out: Path, num_scenes: int = 200) -> None:
    """Best IoU a digit, by the generator at its default thresholds with 8x8 points; digits and scenes are unseen."""
    from concurrent.futures import ThreadPoolExecutor

    from pycocotools import mask as coco_mask

    from samclr.config.sam import MaskConfig
    from samclr.regions.sam.generator import MaskGenerator
    from samclr.regions.sam.model import load_sam

    digits = load_digits()
    order = epoch_order(DATA_SEED, 0, len(digits.images))
    strokes = [digits.images[number] / 16.0 for number in order[NUM_IN_SCENES:]]
    model = load_sam(str(out), torch.device("cpu"))
    print("scene px  digits  points  thresholds   mean best IoU  over 0.5  masks/scene  s/scene")
    for side, number, points, loose in (
        (96, 5, 8, False), (96, 10, 8, False), (136, 10, 8, False), (136, 10, 12, False), (136, 10, 12, True),
    ):  # fmt: skip
        style = SceneStyle(scene_px=side, num_digits=number)
        thresholds = {"pred_iou_thresh": 0.8, "stability_score_thresh": 0.85} if loose else {}
        made = [compose_scene(strokes, np.random.default_rng([9, 9, k]), style) for k in range(num_scenes)]
        with ThreadPoolExecutor(2) as pool, torch.inference_mode():
            generator = MaskGenerator(model, MaskConfig(points_per_side=points, **thresholds), pool, 10**8)
            generator.generate([scene for scene, _ in made[:2]])
            start = time.perf_counter()
            found = generator.generate([scene for scene, _ in made])
            wall_s = time.perf_counter() - start
        best = []
        for masks, (_, labels) in zip(found, made, strict=True):
            rles = [{"size": list(labels.shape), "counts": mask.rle} for mask in masks]
            for digit in range(1, number + 1):
                ink = coco_mask.encode(np.asfortranarray(labels == digit, dtype=np.uint8))
                best.append(np.max(coco_mask.iou(rles, [ink], [0])) if rles else 0.0)
        limits = "0.80 / 0.85" if loose else "0.88 / 0.95"
        over_half, count = np.mean(np.array(best) > 0.5), np.mean([len(masks) for masks in found])
        print(f"{side:8}  {number:6}  {points:2}x{points:<3}  {limits}  {np.mean(best):13.3f}", end="  ")
        print(f"{over_half:8.1%}  {count:11.1f}  {wall_s / num_scenes:7.3f}", flush=True)


def with_patch(model: SamModel, patch_px: int) -> SamModel:
    """The same network for patches of another size: patch kernel and positions are interpolated."""
    if model.config.vision_config.patch_size == patch_px:
        return model
    finer = make_model(patch_px)
    weights = finer.state_dict()
    for name, old in model.state_dict().items():
        new = weights[name].shape
        if "patch_embed.projection.weight" in name:
            old = F.interpolate(old, new[2:], mode="bilinear") * (old.shape[2] / new[2]) ** 2
        elif "pos_embed" in name:
            old = F.interpolate(old.permute(0, 3, 1, 2), new[1:3], mode="bilinear").permute(0, 2, 3, 1)
        elif "rel_pos" in name:
            old = F.interpolate(old.T[None], new[0], mode="linear")[0].T
        weights[name] = old
    finer.load_state_dict(weights)
    return finer


def train_phase(
    model: SamModel, phase: Phase, strokes: Sequence[np.ndarray], out: Path, seed: int, start_step: int
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    rate = lambda step: min((step + 1) / 100, 0.5 * (1 + math.cos(math.pi * step / phase.schedule_steps)) + 0.01)  # noqa: E731
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    start, recent = time.monotonic(), []
    for step in range(phase.steps):
        pixels, points, targets, on_object = training_batch(strokes, phase, seed, start_step + step)
        answer = model(pixel_values=pixels, input_points=points[:, :, None] - 0.5, multimask_output=True)
        loss, best_iou = loss_of(answer.pred_masks, answer.iou_scores, targets, on_object, phase.mask_weight)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        recent.append((loss.item(), best_iou.item()))
        if (step + 1) % 100 == 0:
            mean = np.mean(recent[-100:], 0)
            print(f"step {start_step + step + 1}: loss {mean[0]:.3f}, best IoU {mean[1]:.3f}", end=", ")
            print(f"{time.monotonic() - start:.0f} s", flush=True)
        if (step + 1) % 500 == 0 or step + 1 == phase.steps:
            save(model, out)


def save(model: SamModel, out: Path) -> None:
    low = 4 * IMAGE_PX // model.config.vision_config.patch_size
    # transformers trains with this epsilon, while load_sam takes the published networks' unless it is stated
    model.config.samclr_two_way_eps = model.config.mask_decoder_config.layer_norm_eps
    model.save_pretrained(out)
    SamImageProcessor(
        size={"longest_edge": IMAGE_PX}, pad_size={"height": IMAGE_PX, "width": IMAGE_PX},
        mask_size={"longest_edge": low}, mask_pad_size={"height": low, "width": low},
        image_mean=MEAN, image_std=STD,
    ).save_pretrained(out)  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first-phase", type=int, default=0, help="goes on from the weights in --out")
    parser.add_argument("--measure-only", action="store_true", help="print the figures of the weights in --out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if not arguments.measure_only:
        train(arguments.out, arguments.first_phase, arguments.seed)
    measure(arguments.out)

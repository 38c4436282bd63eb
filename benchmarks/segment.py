"""Mask generation: ours, segment_anything_hq and transformers' pipeline on the same weights and the same images.

    python benchmarks/segment.py --data DIR [--model sam-digits|hq-vit-b|vit-b] [--device cpu|cuda]

DIR holds camvid/ and bsds500/ (images/test/*.jpg). Each tool runs in a process of its own, so that its peak memory
is its own. The predicted-IoU threshold is set so that 25, 50 and 75 % of the candidates survive it; masks an image and
agreement with the reference are printed beside the speed, since parity on nothing is no parity.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
warnings.filterwarnings("ignore")

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SHARES = (0.25, 0.50, 0.75)
TOOLS = ("ours", "reference", "pipeline")


@dataclass(frozen=True)
class Case:
    """A model, how many images and points it gets, and thresholds at which 20 to 200 masks an image are left."""

    images_per_set: int
    points_per_side: int
    stability_score_thresh: float
    box_nms_thresh: float
    warm_up: bool = True


CASES = {
    "sam-digits": Case(2, 32, 0.8, 0.7),
    # random masks are alike: at a threshold of 1 NMS keeps all. Minutes an image need no warming up
    "hq-vit-b": Case(1, 20, 0.6, 1.0, warm_up=False),
    "vit-b": Case(2, 32, 0.6, 0.97),
}


def make_model(name: str) -> Any:
    """sam-digits as shipped; else a model of ViT-B size with random, roughened weights (seed 0)."""
    import transformers
    from support.sam_models import roughen

    from samclr.regions.sam.model import load_sam

    if name == "sam-digits":
        return load_sam(name, torch.device("cpu")).net
    torch.manual_seed(0)
    kind = "SamHQ" if name.startswith("hq") else "Sam"
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")())
    # transformers draws the encoder's weights at 1e-10: products of such numbers are denormal and ten times as slow
    with torch.no_grad():
        for weight in model.vision_encoder.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.7 / weight[0].numel() ** 0.5)
    return roughen(model).eval()


def as_samclr_loads_it(net: Any) -> Any:
    """A model of transformers with the mean and deviation of its kind, as `load_sam` gives it."""
    from samclr.regions.sam.model import SamModels
    from samclr.regions.sam.published import published_network

    return SamModels(net, MEAN, STD, published_network(net.config.to_dict(), "this model"))


def find_images(data: Path, number: int) -> list[np.ndarray]:
    files = [f for s in ("camvid", "bsds500") for f in sorted((data / s / "images" / "test").glob("*.jpg"))[:number]]
    if len(files) < 2 * number:
        raise SystemExit(f"no {number} images each in {data}/camvid/images/test and {data}/bsds500/images/test")
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def candidate_scores(net: Any, images: list[np.ndarray], points_per_side: int, device: torch.device) -> np.ndarray:
    """Predicted IoU of every candidate that the reference would filter."""
    from samclr.regions.sam.grids import point_grid

    model, found = as_samclr_loads_it(net.to(device)), []
    with torch.inference_mode():
        for image in images:
            encoded = model.encode([model.prepare(image)])
            used = model.used_px(*image.shape[:2])
            points = torch.from_numpy(point_grid(points_per_side) * (used[1], used[0])).float().to(device)
            for part in points.split(64):
                scores = model.decoder.prompt(encoded, model.embed_points(part[None])).scores[0]
                found.append((scores.amax(1) if model.decoder.is_hq else scores.flatten()).float().cpu().numpy())
    return np.concatenate(found)


# ---- the three tools: each returns a function from an image to COCO run lengths ----


def run_tool(tool: str, name: str, data: Path, device: str, threshold: float, precision: str) -> dict[str, Any]:
    """Time one tool over the images, after one image of warming up where the case has that."""
    case, net = CASES[name], make_model(name).to(device)
    images = find_images(data, case.images_per_set)
    settings = {
        "pred_iou_thresh": threshold, "stability_score_thresh": case.stability_score_thresh,
        "box_nms_thresh": case.box_nms_thresh,
    }  # fmt: skip
    stages: dict[str, float] = {}
    with torch.inference_mode(), torch.autocast(device, torch.float16, enabled=precision == "float16"):
        if tool == "ours":
            from dataclasses import asdict

            from samclr.config.sam import MaskConfig
            from samclr.regions.sam.generator import MaskGenerator, StageTimes

            config = MaskConfig(points_per_side=case.points_per_side, **settings)
            with ThreadPoolExecutor(max(2, torch.get_num_threads())) as pool:
                generator = MaskGenerator(as_samclr_loads_it(net), config, pool, 1_000_000_000)
                generator.generate(images[: int(case.warm_up)])
                generator.times = StageTimes()
                start = time.perf_counter()
                found = [[(m.rle, size) for m in masks] for masks, size in _pairs(generator.generate(images), images)]
                wall_s = time.perf_counter() - start
                stages = asdict(generator.times)
        elif tool == "reference":
            from support.original_sams import original_generator

            generate = original_generator(net, MEAN, STD, points_per_side=case.points_per_side, **settings).generate
            for image in images[: int(case.warm_up)]:
                generate(image)
            start = time.perf_counter()
            found = [[(m["segmentation"]["counts"].encode(), i.shape[:2]) for m in generate(i)] for i in images]
            wall_s = time.perf_counter() - start
        else:
            found, wall_s = _run_pipeline(net, images, case, settings, device)
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated() / 1e6
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {
        "images_per_s": len(images) / wall_s,
        "masks_per_image": float(np.mean([len(masks) for masks in found])),
        "peak_mb": peak,
        "stages": stages,
        "masks": [[{"size": list(size), "counts": rle.decode()} for rle, size in masks] for masks in found],
    }


def _pairs(answers: list[Any], images: list[np.ndarray]) -> list[tuple[Any, tuple[int, int]]]:
    return [(masks, image.shape[:2]) for masks, image in zip(answers, images, strict=True)]


def _run_pipeline(
    net: Any, images: list[np.ndarray], case: Case, settings: dict[str, float], device: str
) -> tuple[list[Any], float]:
    import transformers

    side = net.prompt_encoder.input_image_size
    low = 4 * net.prompt_encoder.image_embedding_size[0]
    processor = transformers.SamImageProcessor(
        size={"longest_edge": side}, pad_size={"height": side, "width": side}, image_mean=MEAN, image_std=STD,
        mask_size={"longest_edge": low}, mask_pad_size={"height": low, "width": low},
    )  # fmt: skip
    generate = transformers.pipeline("mask-generation", model=net, image_processor=processor, device=device)
    options = {
        "points_per_batch": 64, "points_per_crop": case.points_per_side,
        "pred_iou_thresh": settings["pred_iou_thresh"], "crops_nms_thresh": settings["box_nms_thresh"],
        "stability_score_thresh": settings["stability_score_thresh"],
    }  # fmt: skip
    pictures = [Image.fromarray(image) for image in images]
    for picture in pictures[: int(case.warm_up)]:
        generate(picture, **options)
    start = time.perf_counter()
    answers = [generate(picture, **options)["masks"] for picture in pictures]
    wall_s = time.perf_counter() - start
    return [
        [(coco_mask.encode(np.asfortranarray(np.asarray(m), dtype=np.uint8))["counts"], i.shape[:2]) for m in masks]
        for masks, i in zip(answers, images, strict=True)
    ], wall_s


def agreement(mine: list[Any], theirs: list[Any], least_iou: float = 0.99) -> float:
    """Share of the reference's masks that have one of that IoU here, over all images."""
    hits = total = 0
    for a, b in zip(mine, theirs, strict=True):
        total += len(b)
        if a and b:
            hits += int((np.asarray(coco_mask.iou(a, b, [0] * len(b))).max(0) >= least_iou).sum())
    return hits / max(total, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", choices=list(CASES), nargs="+", default=["sam-digits", "hq-vit-b"])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--share", type=float, nargs="+", default=SHARES, help="of candidates that survive")
    parser.add_argument("--out", type=Path, help="JSON file for the table")
    parser.add_argument("--float16", action="store_true", help="also ours in float16 on the CPU; always done on CUDA")
    parser.add_argument("--one", nargs=4, metavar=("TOOL", "THRESHOLD", "PRECISION", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        tool, threshold, precision, file = arguments.one
        result = run_tool(tool, arguments.model[0], arguments.data, arguments.device, float(threshold), precision)
        Path(file).write_text(json.dumps(result))
        return
    rows = []
    print("model       survive  tool       precision  images/s  masks/image  peak MB  agreement  ours/tool")
    for name in arguments.model:
        images = find_images(arguments.data, CASES[name].images_per_set)
        net = make_model(name)
        scores = candidate_scores(net, images, CASES[name].points_per_side, torch.device(arguments.device))
        del net
        for share in arguments.share:
            threshold = float(np.quantile(scores, 1 - share))
            runs = [("reference", "float32"), ("ours", "float32"), ("pipeline", "float32")]
            if arguments.device == "cuda" or arguments.float16:
                runs.append(("ours", "float16"))
            found: dict[tuple[str, str], dict[str, Any]] = {}
            for tool, precision in runs:
                with tempfile.NamedTemporaryFile(suffix=".json") as file:
                    command = [sys.executable, __file__, "--data", str(arguments.data), "--model", name]
                    command += ["--device", arguments.device, "--one", tool, str(threshold), precision, file.name]
                    done = subprocess.run(command, capture_output=True, text=True)
                    if done.returncode:
                        last = done.stderr.strip().splitlines()[-1]
                        print(f"{name:11} {share:6.0%}  {tool:10} {precision:9} failed: {last}", flush=True)
                        continue
                    found[tool, precision] = json.loads(Path(file.name).read_text())
            reference, ours = found.get(("reference", "float32")), found[("ours", "float32")]
            half = found[("ours", "float16")]["masks"] if ("ours", "float16") in found else None
            for (tool, precision), result in found.items():
                masks = result.pop("masks") if tool != "reference" else result["masks"]
                row = {"model": name, "survive": share, "tool": tool, "precision": precision, **result}
                row["agreement"] = agreement(masks, reference["masks"]) if reference else None
                row["ours_by_tool"] = ours["images_per_s"] / result["images_per_s"]
                rows.append({key: value for key, value in row.items() if key != "masks"})
                print(
                    f"{name:11} {share:6.0%}  {tool:10} {precision:9} {result['images_per_s']:9.3f} "
                    f"{result['masks_per_image']:12.1f} {result['peak_mb']:8.0f} {row['agreement']:10.1%} "
                    f"{row['ours_by_tool']:10.2f}",
                    flush=True,
                )
            if half is not None and reference:
                print(
                    f"            float16: recall at IoU 0.9 {agreement(half, reference['masks'], 0.9):.1%}", flush=True
                )
            total = sum(ours["stages"].values())
            print(
                "            ours: " + ", ".join(f"{k} {v / total:.0%}" for k, v in ours["stages"].items()), flush=True
            )
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

"""Every figure that needs a GPU, in one short run: training, views, losses, masks. Without one, the CPU parts alone.

    python benchmarks/gpu_check.py [--data DIR] [--out docs/gpu.md]

Bars: ResNet-18 at 128 px, batch 256, bf16, reaches 95 % of the same step fed from memory and 13,000 views/s on an
H200-class card (ten times lightly's own published run); ViT-S/16 at 224 px 2,000 samples of two views a second; losses
take at most three times their logits' bytes and wait for the host nowhere. DIR holds camvid/ and bsds500/, for the
recall of float16 masks. Crops and augmentation are checked against the CPU's before they are timed; kornia is a peer
where it is installed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from training import config_for, measure, packed
from views import planner_for

from samclr.bank.bank import SceneBank
from samclr.config.normalisation import IMAGENET
from samclr.methods.losses import nt_xent, queue_contrast, self_distillation
from samclr.views.augment import augment, augment_batched
from samclr.views.crop import ViewCropper
from samclr.views.placement import open_cropper
from samclr.views.plan import AugmentDraws

PAPER_STEPS, PAPER_BATCH = 17_600, 256  # Cityscapes: 1600 epochs
CASES = (("resnet18", 128, 256), ("vit_small_patch16_224", 224, 128))
CPU_CASES = (("resnet18", 64, 32),)
VIEW_IMAGES = 256
COPIES = 16  # of 16 scenes: a step of 256 images is then one epoch, whose order is drawn once, and not 16


def training_rows(bank: SceneBank, device: str) -> list[str]:
    """A line of the table for each backbone, strategy and place of the bank."""
    workers, rows = os.cpu_count() or 1, []
    precision, cases, steps = ("bfloat16", CASES, 60) if device == "cuda" else ("float32", CPU_CASES, 4)
    places = ("device", "pinned", "map") if device == "cuda" else ("map",)
    for backbone, px, batch in cases:
        for strategy, place in [("image", places[0]), *(("region", place) for place in places)]:
            config = config_for(px, batch, backbone, precision, device, strategy, place)
            found = measure(bank, config, workers, steps)
            minutes = PAPER_STEPS * PAPER_BATCH * 2 / found["views_per_s"] / 60
            rows.append(
                f"| {backbone}, {px} px, batch {batch}, {precision}, {strategy}, {place} | "
                f"{found['views_per_s']:,.0f} | {found['limit']:,.0f} | {found['of_limit']:.1%} | "
                f"{found['waiting']:.1%} | {minutes:,.0f} |"
            )
            print(rows[-1], flush=True)
    return rows


def view_rows(bank: SceneBank, device: torch.device) -> list[str]:
    """Crops and augmentation alone, without training, for 256 images of two views of 128 px: ours and the peers'."""
    plan = planner_for(bank, 128, "region").plan(0)
    repeats = VIEW_IMAGES // len(plan.image_index)
    (group,) = plan.groups
    images, boxes = np.tile(plan.image_index, repeats), np.tile(group.boxes_xyxy, (repeats, 1, 1))
    fields = {name: np.tile(value, (repeats, 1)) for name, value in vars(group.augment).items()}
    drawn, rows = AugmentDraws(**fields), []
    num_threads = os.cpu_count() or 1
    on_cpu = ViewCropper(bank, num_threads)
    host = torch.from_numpy(on_cpu.crop(images, boxes, 128))
    pixels = host.to(device)

    def add(name: str, work: Callable[[], object]) -> None:
        rows.append(f"| {name} | {host.shape[0] * host.shape[1] / seconds(work, device):,.0f} |")
        print(rows[-1], flush=True)

    if device.type == "cuda":
        for place in ("device", "pinned"):
            cropper, _ = open_cropper(bank, device, place, 1)
            add(f"crop, bank {place}", lambda cropper=cropper: cropper.crop(images, boxes, 128))
            difference = (cropper.crop(images, boxes, 128).cpu().int() - host.int()).abs()
            if difference.max() > 1:
                raise SystemExit(f"GPU crops differ from the CPU's by {int(difference.max())}; at most 1 is rounding")
        difference = (augment(pixels, drawn).cpu() - augment(host, drawn)).abs().max()
        if difference > 1e-3:
            raise SystemExit(
                f"GPU augmentation differs from the CPU's by {float(difference):.2g}; at most 1e-3 is rounding"
            )
    add(f"crop by {num_threads} CPU threads", lambda: on_cpu.crop(images, boxes, 128))
    add("augment, samclr", lambda: augment(pixels, drawn))
    add("augment, batched torch transforms", lambda: augment_batched(pixels, drawn))
    try:
        from kornia import augmentation as ka
    except ImportError:
        rows.append("| augment, kornia | not installed |")
        print(rows[-1])
        return rows
    theirs = torch.nn.Sequential(
        ka.RandomHorizontalFlip(),
        ka.ColorJitter(0.4, 0.4, 0.4, 0.1, p=0.8),
        ka.RandomGrayscale(p=0.2),
        ka.RandomGaussianBlur((13, 13), (0.1, 2.0), p=0.5),
        ka.Normalize(torch.tensor(IMAGENET.mean), torch.tensor(IMAGENET.std)),
    )
    add("augment, kornia", lambda: theirs(pixels.flatten(0, 1).float() / 255))
    return rows


def seconds(work: Callable[[], object], device: torch.device, num: int = 10) -> float:
    """Of one call, the mean of `num` after two."""
    for number in range(num + 2):
        if number == 2:
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
        work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / num


def loss_rows() -> list[str]:
    """Peak memory over the bytes of the logits, with every wait for the host an error."""
    b, rows = 2048, []
    embeddings, queue = torch.randn(b, 2, 128, device="cuda"), torch.randn(65_536, 128, device="cuda")
    scores, teacher = torch.randn(64, 10, 65_536, device="cuda"), torch.randn(64, 2, 65_536, device="cuda").softmax(-1)
    unit = torch.nn.functional.normalize(queue, dim=-1)
    cases = [
        ("NT-Xent", nt_xent, embeddings, (0.1,), (2 * b) ** 2),
        ("queue", queue_contrast, embeddings[:, 0].clone(), (embeddings[:, 1], unit, 0.1), b * 65_536),
        ("DINO", self_distillation, scores, (teacher, 0.1), scores.numel()),
    ]
    for name, loss, leaf, rest, num_logits in cases:
        leaf.requires_grad_()
        for _ in range(2):
            leaf.grad = None
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            torch.cuda.set_sync_debug_mode("error")
            loss(leaf, *rest).backward()
            torch.cuda.set_sync_debug_mode("default")
            torch.cuda.synchronize()
        rows.append(f"| {name} | {(torch.cuda.max_memory_allocated() - before) / (4 * num_logits):.2f} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, help="Markdown file for the tables")
    arguments = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU here: CPU parts alone"
    lines = [f"# {name}, torch {torch.__version__}", "", "`python benchmarks/gpu_check.py`", ""]
    lines += ["| training | views/s | fed from memory | of it | waiting | minutes of the paper's Cityscapes schedule |"]
    lines += ["|---|---|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    with tempfile.TemporaryDirectory() as folder:
        copies = COPIES if device == "cuda" else 1
        bank = packed(Path(folder), os.cpu_count() or 1, copies)
        lines += training_rows(bank, device)
        header = ["", "| views of 128 px alone | views/s |", "|---|---|"]
        print("\n".join(header), flush=True)
        lines += header + view_rows(bank, torch.device(device))
    if device == "cuda":
        lines += ["", "| loss | peak over its logits' bytes |", "|---|---|", *loss_rows()]
    if device == "cuda" and arguments.data is not None:
        command = [sys.executable, str(Path(__file__).with_name("half_recall.py")), "--device", "cuda"]
        done = subprocess.run([*command, "--data", str(arguments.data)], capture_output=True, text=True, check=False)
        lines += ["", "Masks in half precision (benchmarks/half_recall.py):", "", "```"]
        lines += [*(done.stdout or done.stderr).splitlines(), "```"]
        print(done.stdout or done.stderr)
    if arguments.out:
        arguments.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()

"""Every figure that needs a GPU, in one short run: training, losses, masks. Without one, the CPU parts alone.

    python benchmarks/gpu_check.py [--data DIR] [--out docs/gpu.md]

Bars: ResNet-18 at 128 px, batch 256, bf16, reaches 95 % of the same step fed from memory and 13,000 views/s on an
H200-class card (ten times lightly's own published run); ViT-S/16 at 224 px 2,000 samples of two views a second; losses
take at most three times their logits' bytes and wait for the host nowhere. DIR holds camvid/ and bsds500/, for the
recall of float16 masks.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from training import config_for, measure, packed

from samclr.methods.losses import nt_xent, queue_contrast, self_distillation

PAPER_STEPS, PAPER_BATCH = 17_600, 256  # Cityscapes: 1600 epochs
CASES = (("resnet18", 128, 256), ("vit_small_patch16_224", 224, 128))
CPU_CASES = (("resnet18", 64, 32),)


def training_rows(device: str) -> list[str]:
    """A line of the table for each backbone and strategy."""
    workers, rows = os.cpu_count() or 1, []
    precision, cases, steps = ("bf16-mixed", CASES, 100) if device == "cuda" else ("32-true", CPU_CASES, 4)
    with tempfile.TemporaryDirectory() as name:
        bank = packed(Path(name), workers)
        for backbone, px, batch in cases:
            for strategy in ("image", "region"):
                config = config_for(px, batch, backbone, precision, device, strategy)
                found = measure(bank, config, workers, steps)
                minutes = PAPER_STEPS * PAPER_BATCH * 2 / found["views_per_s"] / 60
                rows.append(
                    f"| {backbone}, {px} px, batch {batch}, {precision}, {strategy} | {found['views_per_s']:,.0f} | "
                    f"{found['limit']:,.0f} | {found['of_limit']:.1%} | {found['waiting']:.1%} | {minutes:,.0f} |"
                )
                print(rows[-1], flush=True)
    return rows


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
    lines += training_rows(device)
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

"""What samclr makes of every family of timm: its smallest member at 64 and 128 px, on the CPU, with random weights.

    python benchmarks/timm_families.py --results families.jsonl [--family beit --family vgg] [--at-most-m 150]

Each family runs in a process of its own. Rows are kept in --results: an interrupted run goes on where it stopped. A
size counts as "works" when the backbone trains a step (finite loss and gradients), gives features [n d] of the width
that samclr says, and is built again from its configuration; of members over --at-most-m only their shapes are tried.
Prints a Markdown table, which docs/backbones.md holds.
"""

import argparse
import json
import logging
import multiprocessing
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import timm
import torch

from samclr.config import DenseConfig
from samclr.config.pretrain import DataConfig, ModelConfig, PretrainConfig, ViewGroup
from samclr.errors import SamclrError
from samclr.evaluation.sizes import check_dense
from samclr.models.backbone import create_backbone, feature_width
from samclr.models.sizes import choose_sizes, fit_views

SIZES_PX = (64, 128)
LOOKED_AT = 6  # members of a family whose parameters are counted
LIMIT_S = 300


def smallest(family: str) -> tuple[str, int, int]:
    """The member with the fewest parameters of some spread over the family, their number, and `num_features`."""
    names = timm.list_models(module=family)
    sizes = []
    for name in names[:: max(len(names) // LOOKED_AT, 1)]:
        with torch.device("meta"):
            model = timm.create_model(name, num_classes=0)
        sizes.append((sum(p.numel() for p in model.parameters()), name, int(model.num_features)))
    count, name, num_features = min(sizes)
    return name, count, num_features


def trial(name: str, px: int, run: bool) -> dict[str, Any]:
    """Train a step, measure, build again; without `run` only what pretrain asks before any work."""
    config = PretrainConfig(
        model=ModelConfig(backbone=name), group=ViewGroup(size_px=px), data=DataConfig(scenes=(Path("scenes"),))
    )
    try:
        config = fit_views(config, tell=False)
    except SamclrError as error:
        return {"says": str(error)}
    side = config.group.size_px
    if not run:
        width = choose_sizes(name, side, config.model.input_px)[0].width
        return {"px": side, "built_px": config.model.input_px, "width": width, "shapes_alone": True}
    torch.manual_seed(0)
    backbone = create_backbone(config.model, side).train()
    pixels = torch.randn(4, 3, side, side)
    loss = backbone(pixels).float().square().mean()
    loss.backward()
    gradients = [p.grad for p in backbone.parameters() if p.grad is not None]
    assert gradients, "no gradients"
    assert all(torch.isfinite(tensor).all() for tensor in (loss, *gradients)), "not finite"
    again = create_backbone(config.model, side).eval()
    again.load_state_dict(backbone.state_dict())
    with torch.no_grad():
        features, same = backbone.eval()(pixels[:2]), again(pixels[:2])
    assert tuple(features.shape) == (2, feature_width(backbone)), f"{features.shape}, not {feature_width(backbone)}"
    assert torch.allclose(features, same, atol=1e-5, equal_nan=False), "another network when built again"
    try:
        check_dense(backbone, DenseConfig(dense_px=px))
        dense = "yes"
    except SamclrError as error:
        dense = str(error)
    return {"px": side, "built_px": config.model.input_px, "width": feature_width(backbone), "dense": dense}


def measure(family: str, most: int, pipe: Connection) -> None:
    """Send the row of a family."""
    name, count, num_features = smallest(family)
    row: dict[str, Any] = {"family": family, "model": name, "parameters": count, "num_features": num_features}
    for px in SIZES_PX:
        try:
            row[str(px)] = trial(name, px, run=count <= most)
        except Exception as error:  # what this script looks for
            row[str(px)] = {"fault": f"{type(error).__name__}: {str(error)[:300]}"}
    pipe.send(row)


def isolated(family: str, most: int) -> dict[str, Any]:
    """The row of a family, made in a child; a child that dies or hangs is a row as well."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=measure, args=(family, most, theirs))
    child.start()
    theirs.close()
    fault = f"no answer in {LIMIT_S} s"
    try:
        if ours.poll(LIMIT_S):
            return ours.recv()
    except EOFError:
        child.join()
        fault = f"died with status {child.exitcode}"
    finally:
        child.kill()
        child.join()
    return {"family": family, "model": "?", "parameters": 0, "num_features": 0} | {
        str(px): {"fault": fault} for px in SIZES_PX
    }


def cell(found: dict[str, Any], px: int) -> str:
    """One entry of the table."""
    if "fault" in found:
        return f"**FAULT** {found['fault']}"
    if "says" in found:
        return found["says"].split("; ")[0].replace("|", "/")
    text = "works" if found["px"] == px else f"rounded to {found['px']}"
    text += ", built for it" if found["built_px"] else ""
    return text + (" (shapes alone)" if found.get("shapes_alone") else "")


def main() -> None:
    """Measure what is missing in --results and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--family", action="append", default=[])
    parser.add_argument("--at-most-m", type=float, default=150, help="millions of parameters of a member that is run")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    lines = options.results.read_text().splitlines() if options.results.exists() else []
    rows = {row["family"]: row for row in map(json.loads, lines)}
    families = options.family or sorted(timm.list_modules())
    for family in families:
        if family not in rows:
            rows[family] = isolated(family, int(options.at_most_m * 1e6))
            with open(options.results, "a") as file:
                file.write(json.dumps(rows[family]) + "\n")
    print(f"timm {timm.__version__}, torch {torch.__version__}\n")
    print("| family | smallest member | parameters | width (`num_features`) | 64 px | 128 px | dense |")
    print("|---|---|---|---|---|---|---|")
    for family in families:
        row = rows[family]
        tried = [row[str(px)] for px in SIZES_PX]
        widths = sorted({found["width"] for found in tried if "width" in found})
        width = ", ".join(map(str, widths)) + (f" ({row['num_features']})" if widths != [row["num_features"]] else "")
        dense = {"yes" if found["dense"] == "yes" else "no" for found in tried if "dense" in found}
        cells = [cell(found, px) for found, px in zip(tried, SIZES_PX, strict=True)]
        count = f"{row['parameters'] / 1e6:.1f} M"
        print("| " + " | ".join([family, row["model"], count, width, *cells, " ".join(sorted(dense))]) + " |")
    faults = sum("fault" in rows[family][str(px)] for family in families for px in SIZES_PX)
    print(f"\n{len(families)} families, {faults} faults")


if __name__ == "__main__":
    main()

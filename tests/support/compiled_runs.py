"""Runs of two steps of a small ViT with and without torch.compile: python tests/support/compiled_runs.py FOLDER

FOLDER holds scenes/, store/ and labelled/. Prints as JSON for each case the largest relative difference of its losses
and the graphs that were compiled. The compiler's last stage, which takes minutes, is left out: what is traced is the
same. A frame that is compiled so often that torch would give up, and say so in its own log alone, is an error.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch._dynamo as dynamo
from torch._dynamo.utils import counters

from samclr.config import AnchorConfig, ModelConfig, PretrainConfig
from samclr.runs.directory import read_metrics
from samclr.training.pretrain import pretrain
from support.runs import patches_config, small_config

LAGGED = AnchorConfig(anchor="both", anchor_of="lagged", anchor_refresh_steps=1)


def cases(folder: Path) -> dict[str, PretrainConfig]:
    """Local views of another size, carried regions, masks of patches, anchors and LoRA, and what is beside them."""
    scenes, store = folder / "scenes", folder / "store"
    local = replace(patches_config(scenes, store, steps=2), anchor=AnchorConfig())
    views = replace(local.views, carried_regions=0)
    local = replace(local, views=views, method=replace(local.method, region_weight=0.0, masked_patch_weight=0.0))
    patches = patches_config(scenes, store, steps=2)
    vit = ModelConfig(backbone="test_vit", lora_rank=2, drop_path=0.2)
    detcon = small_config(scenes, store, "samdetcon", steps=2)
    return {
        "local": local,
        "local, measured": replace(local, runtime=replace(local.runtime, knn_on=folder / "labelled", knn_every=1)),
        "local, regions, masks and an anchor": patches,
        "all, LoRA, micro-batches and head warm-up": replace(
            patches,
            model=vit,
            anchor=LAGGED,
            optim=replace(patches.optim, head_warmup_steps=1),
            runtime=replace(patches.runtime, micro_batch_size=3),
        ),
        "detcon, an anchor and LoRA": replace(
            detcon, model=vit, group=patches.group, anchor=LAGGED, method=replace(detcon.method, form="momentum")
        ),
    }


def main(folder: Path) -> None:
    torch.compile = partial(torch.compile, backend="aot_eager")  # type: ignore[assignment]
    dynamo.config.fail_on_recompile_limit_hit = True
    found = {}
    for number, (name, config) in enumerate(cases(folder).items()):
        losses = []
        for compiles in (False, True):
            torch.compiler.reset()
            counters.clear()
            run = folder / f"run-{number}-{compiles}"
            pretrain(replace(config, runtime=replace(config.runtime, compile=compiles)), run)
            rows = read_metrics(run)
            losses.append([row[key] for row in rows for key in sorted(row) if key.endswith("loss") or "anchor" in key])
        plain, compiled = (torch.tensor(one, dtype=torch.float64) for one in losses)
        gap = float(((plain - compiled).abs() / plain.abs().clamp(min=1e-6)).max())
        found[name] = {"gap": gap, "graphs": counters["stats"]["unique_graphs"]}
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

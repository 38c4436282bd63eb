"""One step after another of a method on one rank or on several (gloo, float64), for the tests that compare them.

torchrun ... tests/support/many_ranks.py OUT MICRO METHOD...
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from samclr.config.anchors import AnchorConfig
from samclr.config.methods import MethodConfig, ProjectorConfig
from samclr.config.pretrain import LocalViews, ModelConfig, OptimConfig, PretrainConfig, RuntimeConfig, ViewsConfig
from samclr.methods.barlow_spec import BarlowConfig
from samclr.methods.base import Method
from samclr.methods.byol_spec import ByolConfig
from samclr.methods.create import create_method, follow_weights
from samclr.methods.detcon_spec import DetconConfig
from samclr.methods.dino_spec import DinoConfig
from samclr.methods.moco_spec import MocoConfig
from samclr.methods.simclr_spec import SimclrConfig
from samclr.methods.simsiam_spec import SimsiamConfig
from samclr.methods.swav_spec import SwavConfig
from samclr.methods.vicreg_spec import VicregConfig
from samclr.models import backbone
from samclr.training.devices import create_fabric, set_up
from samclr.training.head_warmup import head_alone
from samclr.training.micro_batches import backward
from samclr.training.optim import create_optimizer, set_rates
from samclr.views.batch import ViewBatch, ViewGroupBatch
from support.batches import with_regions

ROWS, STEPS = 8, 3
PROJECTOR = ProjectorConfig(projector_hidden=10, projector_out=6, projector_norm=False)
METHODS: dict[str, MethodConfig] = {
    "simclr": SimclrConfig(),
    "simclr-ignore": SimclrConfig(same_image_negatives="ignore"),
    "moco": MocoConfig(queue_size=24, same_image_negatives="ignore"),
    "dino": DinoConfig(num_prototypes=16),
    "dino-sinkhorn": DinoConfig(num_prototypes=16, centering="sinkhorn"),
    "byol": ByolConfig(predictor_hidden=7),
    "simsiam": SimsiamConfig(predictor_hidden=7),
    "barlow": BarlowConfig(),
    "vicreg": VicregConfig(),
    "swav": SwavConfig(num_prototypes=16),
    "gentle": SimclrConfig(),
    "detcon": DetconConfig(),
    "detcon-ignore": DetconConfig(same_image_negatives="ignore"),
    "detcon-momentum": DetconConfig(form="momentum", predictor_hidden=7),
    "dino-terms": DinoConfig(num_prototypes=16, region_weight=0.7, masked_patch_weight=1.3, masked_view_frac=0.6),
    "dino-terms-shared": DinoConfig(
        num_prototypes=16, centering="sinkhorn",
        region_weight=0.7, region_head="shared", masked_patch_weight=1.3, masked_patch_head="shared",
    ),
    "moco-anchor": MocoConfig(queue_size=24),
    "dino-terms-anchor": DinoConfig(num_prototypes=16, region_weight=0.7),
}  # fmt: skip
ANCHORS = {
    "moco-anchor": AnchorConfig(anchor="both", anchor_gram_weight=3, anchor_warmup_steps=2),
    "dino-terms-anchor": AnchorConfig(anchor="gram", anchor_of="lagged", anchor_refresh_steps=1),
}
GENTLE = {"layer_decay": 0.5, "head_warmup_steps": 1, "ema_decay": 0.9}


class Plain(nn.Module):
    """A backbone without batch norm, with dropout where asked for, and a norm between its map and its features."""

    num_features = 12
    feature_info = ({"num_chs": 12, "reduction": 4},)

    def __init__(self, dropout: float):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.GELU(), nn.Dropout(dropout), nn.Conv2d(8, 12, 3, 2), nn.GELU()
        )
        self.norm = nn.LayerNorm(12)

    def forward(self, pixels):
        return self.forward_head(self.layers(pixels))

    def forward_head(self, maps):
        return self.norm(maps.mean((2, 3)))

    def forward_intermediates(self, pixels, indices, output_fmt):
        maps = self.layers(pixels)
        return maps, [maps]

    def group_matcher(self, coarse):
        return lambda name: int(name.split(".")[1]) // 3 if name.startswith("layers.") else float("inf")


def is_of_vit(name: str) -> bool:
    """Whether the backbone is `vit`, for what looks at patches."""
    return name in ANCHORS or "terms" in name


def vit(dropout: float) -> nn.Module:
    """A backbone of patches of 4 px."""
    return VisionTransformer(
        img_size=16, patch_size=4, embed_dim=12, depth=1, num_heads=2, num_classes=0, dynamic_img_size=True,
        proj_drop_rate=dropout,
    )  # fmt: skip


def batch_of(step: int, name: str) -> ViewBatch:
    random = torch.Generator().manual_seed(100 + step)
    groups = tuple(
        ViewGroupBatch(
            role=role,
            pixels=torch.randn(ROWS, views, 3, side, side, generator=random, dtype=torch.float64),
            boxes_xyxy=torch.zeros(ROWS, views, 4, dtype=torch.long),
        )
        for role, views, side in (("global", 2, 16), ("local", 3, 12))[: 2 if METHODS[name].has_local_views else 1]
    )
    batch = ViewBatch(
        step=step, groups=groups, image_index=torch.arange(ROWS) // 2 + step, region_index=torch.arange(ROWS)
    )
    if not METHODS[name].wants_regions:
        return batch
    batch = with_regions(batch, 3, (4, 3) if is_of_vit(name) else (3, 2), random)
    if is_of_vit(name):  # the first of four ranks has no region to teach
        batch.groups[0].region_shown[: ROWS // 4] = False
    return batch


def config_of(name: str, micro: int | None) -> PretrainConfig:
    method = METHODS[name]
    sharper = {"temperature": 0.2} if hasattr(method, "temperature") else {}
    return PretrainConfig(
        method=replace(method, projector=PROJECTOR, **sharper),
        model=ModelConfig(backbone="small-cnn"),
        views=ViewsConfig(carried_regions=3 if method.wants_regions else 0),
        anchor=ANCHORS.get(name, AnchorConfig()),
        local=LocalViews(num_local_views=3 if method.has_local_views else 0),
        optim=OptimConfig(global_batch_size=ROWS, lr=0.1, weight_decay=1e-3, **GENTLE if name == "gentle" else {}),
        runtime=RuntimeConfig(device="cpu", precision="float64", num_threads=1, micro_batch_size=micro),
    )


def plain_method(config: PretrainConfig, dropout: float, of_vit: bool = False) -> Method:
    made = backbone.SmallCnn
    backbone.SmallCnn = lambda: vit(dropout) if of_vit else Plain(dropout)  # type: ignore[assignment, misc, return-value]
    try:
        return create_method(config, STEPS)
    finally:
        backbone.SmallCnn = made  # type: ignore[misc]


def train(name: str, micro: int | None) -> dict[str, torch.Tensor]:
    """Three steps; returns gradients of the first and the whole state after the last."""
    torch.set_default_dtype(torch.float64)
    config = config_of(name, micro)
    devices = int(os.environ.get("WORLD_SIZE", "1"))
    fabric = create_fabric(replace(config, runtime=replace(config.runtime, num_devices=devices)))
    method = plain_method(config, 0.0, is_of_vit(name))
    method, optimizer = set_up(fabric, method, create_optimizer(method, config.optim), config.runtime)
    found: dict[str, torch.Tensor] = {}
    for step in range(STEPS):
        torch.manual_seed(step)
        whole = batch_of(step, name)
        share = ROWS // fabric.world_size
        optimizer.zero_grad()
        set_rates(optimizer, step, STEPS, config.optim)
        batch = whole.rows(fabric.global_rank * share, (fabric.global_rank + 1) * share)
        with head_alone(method.module, step, config.optim):
            output = backward(fabric, method, batch, micro)
            if step == 0:
                found = {
                    f"gradient {key}": parameter.grad.clone()
                    for key, parameter in method.module.named_parameters()
                    if parameter.grad is not None
                }
        optimizer.step()
        method.module.after_step(step, output.pending)
        follow_weights(method.module, config.optim)
    found |= {f"state of rank 0 {key}": value.clone() for key, value in method.module.state_dict().items()}
    mine = torch.cat([value.double().flatten() for value in method.module.state_dict().values()])
    found["spread over ranks"] = (fabric.all_gather(mine) - mine).abs().max()
    return found


if __name__ == "__main__":
    out, micro, names = Path(sys.argv[1]), int(sys.argv[2]) or None, sys.argv[3:]
    result = {name: train(name, micro) for name in names}
    if int(os.environ["RANK"]) == 0:
        torch.save(result, out)

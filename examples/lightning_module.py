"""A LightningModule on region views: the Trainer owns devices, precision and ranks, RegionViews gives each its slice.

python examples/lightning_module.py [STEPS]
"""

import pytorch_lightning as pl
import timm
import torch
from generated import SMALL, num_steps, scenes_and_regions
from torch import Tensor, nn
from torch.utils.data import DataLoader

import samclr
from samclr.losses import nt_xent


class SimCLRModule(pl.LightningModule):
    """SimCLR; the batch is a samclr.ViewBatch, which Lightning moves to the device by its `to`."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet10t", num_classes=0)
        self.projector = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))

    def training_step(self, batch: samclr.ViewBatch, batch_idx: int) -> Tensor:
        pixels = batch.pixels[0]  # [b 2 3 h w]
        embeddings = self.projector(self.backbone(pixels.flatten(0, 1)))
        return nt_xent(embeddings.unflatten(0, pixels.shape[:2]), temperature=0.2)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


if __name__ == "__main__":
    scenes, regions = scenes_and_regions()
    steps = num_steps(20)
    trainer = pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        use_distributed_sampler=False,  # RegionViews gives each rank its slice
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    views = samclr.RegionViews(
        scenes,
        regions,
        batch_size=32,
        steps=steps,
        size_px=32,
        filter=SMALL,
        rank=trainer.global_rank,
        world_size=trainer.world_size,
    )
    trainer.fit(SimCLRModule(), DataLoader(views, batch_size=None))
    print(f"{trainer.global_step} steps")

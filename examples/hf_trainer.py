"""Hugging Face's Trainer on region views; it needs accelerate (pip install accelerate).

python examples/hf_trainer.py [STEPS]
"""

import timm
from generated import SMALL, num_steps, scenes_and_regions
from torch import Tensor, nn
from transformers import Trainer, TrainingArguments

import samclr
from samclr.losses import nt_xent


class SimCLRModel(nn.Module):
    """What the Trainer asks for: a forward that returns the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = timm.create_model("resnet10t", num_classes=0)
        self.projector = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """pixels: [b 2 3 h w]."""
        embeddings = self.projector(self.backbone(pixels.flatten(0, 1)))
        return {"loss": nt_xent(embeddings.unflatten(0, pixels.shape[:2]), temperature=0.2)}


def collate(batches: list[samclr.ViewBatch]) -> dict[str, Tensor]:
    """A step's batch is ready made: the Trainer's own batches hold one."""
    (batch,) = batches
    return {"pixels": batch.pixels[0]}


if __name__ == "__main__":
    scenes, regions = scenes_and_regions()
    steps = num_steps(20)
    trainer = Trainer(
        model=SimCLRModel(),
        args=TrainingArguments(
            output_dir="runs/examples/hf-trainer",
            max_steps=steps,
            per_device_train_batch_size=1,
            remove_unused_columns=False,
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
        ),
        train_dataset=samclr.RegionViews(scenes, regions, batch_size=32, steps=steps, size_px=32, filter=SMALL),
        data_collator=collate,
    )
    print(f"loss {trainer.train().training_loss:.3f}")

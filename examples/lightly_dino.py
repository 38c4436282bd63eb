"""lightly's DINO on regions: its heads, loss and momentum update, with two global and four local views of a region.

python examples/lightly_dino.py [STEPS]
"""

import copy
import itertools
from collections.abc import Iterable

import timm
import torch
from generated import SMALL, num_steps, scenes_and_regions
from lightly.loss import DINOLoss
from lightly.models.modules import DINOProjectionHead
from lightly.models.utils import update_momentum
from lightly.transforms import DINOTransform
from torch import Tensor, nn
from torch.utils.data import DataLoader

import samclr
from samclr.config import LocalViews

NUM_LOCAL = 4


def train(batches: Iterable[tuple[list[Tensor], list[Tensor]]]) -> float:
    """lightly's loop over (global views, local views), each [b 3 h w]; returns the last loss."""
    backbone = timm.create_model("resnet10t", num_classes=0)
    student = nn.Sequential(backbone, DINOProjectionHead(512, 256, 64, 256, freeze_last_layer=1))
    teacher = nn.Sequential(copy.deepcopy(backbone), DINOProjectionHead(512, 256, 64, 256))
    teacher.requires_grad_(False)
    criterion = DINOLoss(output_dim=256, warmup_teacher_temp_epochs=5)
    optimizer = torch.optim.AdamW(student.parameters(), lr=5e-4)
    for step, (large, small) in enumerate(batches):
        update_momentum(student, teacher, m=0.99)
        with torch.no_grad():
            targets = [teacher(view) for view in large]
        loss = criterion(targets, [student(view) for view in (*large, *small)], epoch=step)
        optimizer.zero_grad()
        loss.backward()
        student[1].cancel_last_layer_gradients(current_epoch=step)
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    scenes, regions = scenes_and_regions()
    steps = num_steps(10)

    # 1. RegionViews: DINO's asymmetric augmentation, and local views as a second group.
    views = samclr.RegionViews(
        scenes,
        regions,
        batch_size=16,
        steps=steps,
        size_px=32,
        crop_scale=(0.4, 1.0),
        local=LocalViews(num_local_views=NUM_LOCAL, local_size_px=16),
        augment=samclr.AugmentConfig(asymmetric=True, jitter_saturation=0.4),
        filter=SMALL,
    )
    batches = ([list(group.unbind(1)) for group in batch.pixels] for batch in DataLoader(views, batch_size=None))
    print(f"RegionViews: {train(batches):.3f}")

    # 2. RegionDataset: PIL crops of regions through lightly's DINOTransform.
    transform = DINOTransform(global_crop_size=32, local_crop_size=16, n_local_views=NUM_LOCAL)
    dataset = samclr.RegionDataset(scenes, regions, transform=transform, filter=SMALL)
    loader = DataLoader(dataset, batch_size=16, shuffle=True, drop_last=True)
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    print(f"RegionDataset: {train((items[:2], items[2:]) for items in itertools.islice(endless, steps)):.3f}")

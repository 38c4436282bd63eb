"""lightly's SimCLR on regions: its head and loss, fed by RegionViews, then by RegionDataset with its own transform.

python examples/lightly_simclr.py [STEPS]
"""

import itertools
from collections.abc import Iterable

import timm
import torch
from generated import SMALL, num_steps, scenes_and_regions
from lightly.loss import NTXentLoss
from lightly.models.modules import SimCLRProjectionHead
from lightly.transforms import SimCLRTransform
from torch import Tensor, nn
from torch.utils.data import DataLoader

import samclr


def train(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    """lightly's loop, as its documentation has it; returns the last loss."""
    model = nn.Sequential(timm.create_model("resnet10t", num_classes=0), SimCLRProjectionHead(512, 512, 128))
    criterion = NTXentLoss(temperature=0.2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    for first, second in pairs:
        loss = criterion(model(first), model(second))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    scenes, regions = scenes_and_regions()
    steps = num_steps(20)

    # 1. RegionViews: the augmentation is samclr's compiled one, with lightly's numbers.
    views = samclr.RegionViews(scenes, regions, batch_size=32, steps=steps, size_px=32, filter=SMALL)
    print(f"RegionViews: {train(batch.pixels[0].unbind(1) for batch in DataLoader(views, batch_size=None)):.3f}")

    # 2. RegionDataset: PIL crops of regions through lightly's transform, in its workers.
    dataset = samclr.RegionDataset(scenes, regions, transform=SimCLRTransform(input_size=32), filter=SMALL)
    loader = DataLoader(dataset, batch_size=32, shuffle=True, drop_last=True, num_workers=1)
    endless = itertools.chain.from_iterable(itertools.repeat(loader))
    print(f"RegionDataset: {train(itertools.islice(endless, steps)):.3f}")

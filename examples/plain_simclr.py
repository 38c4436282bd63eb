"""SimCLR on region views in plain PyTorch: your loop, your backbone, our views.

python examples/plain_simclr.py [STEPS]
"""

import timm
import torch
from generated import SMALL, num_steps, scenes_and_regions
from torch import nn
from torch.utils.data import DataLoader

import samclr
from samclr.losses import nt_xent

if __name__ == "__main__":
    scenes, regions = scenes_and_regions()
    views = samclr.RegionViews(scenes, regions, batch_size=32, steps=num_steps(40), size_px=32, filter=SMALL)
    backbone = timm.create_model("resnet10t", num_classes=0)
    model = nn.Sequential(backbone, nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 128))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9, weight_decay=5e-4)
    for batch in DataLoader(views, batch_size=None):
        pixels = batch.pixels[0]  # [b 2 3 32 32]: two views of one region each, augmented and normalised
        embeddings = model(pixels.flatten(0, 1)).unflatten(0, pixels.shape[:2])
        loss = nt_xent(embeddings, temperature=0.2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if batch.step % 10 == 0:
            print(f"step {batch.step}: loss {loss.item():.3f}")
    torch.save(backbone.state_dict(), "runs/examples/backbone.pt")

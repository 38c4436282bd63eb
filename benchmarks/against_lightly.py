"""Train each method beside one made of lightly's modules: same draws, same initial weights, losses side by side.

    python benchmarks/against_lightly.py --data CIFAR10_TRAIN.parquet [--steps 100] [--float64] [--out FILE.json]

ResNet-18 with the conv3x3-stride1 stem at 32 px, image views. lightly's side uses its losses, heads, queue and
momentum update; both get the same augmented views. MoCo runs one-sided: lightly's queue takes keys between two sides.
"""

import argparse
import copy
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from lightly.loss import DINOLoss, NTXentLoss
from lightly.models.modules import DINOProjectionHead, MoCoProjectionHead
from lightly.models.utils import update_momentum
from torch import Tensor, nn

from samclr.config.pretrain import DataConfig, OptimConfig, PretrainConfig, RuntimeConfig
from samclr.config.recipes import RECIPES
from samclr.methods.base import Method
from samclr.methods.create import create_method
from samclr.methods.moco_spec import MocoConfig
from samclr.training.data import prepare_data
from samclr.training.optim import create_optimizer, set_rates
from samclr.training.pretrain import make_batch
from samclr.views.batch import ViewBatch
from samclr.views.crop import ViewCropper
from samclr.views.loader import ViewLoader

warnings.filterwarnings("ignore")
Side = tuple[nn.Module, Callable[[ViewBatch], Tensor], Callable[[], None]]


def configuration(name: str, data: Path, batch: int, steps: int, bank: Path) -> PretrainConfig:
    """The recipe in CIFAR-10's size."""
    recipe = RECIPES[name].config
    return replace(
        recipe,
        method=MocoConfig(queue_size=1024, symmetric=False) if name == "moco" else recipe.method,
        data=DataConfig(scenes=(data,), bank=bank),
        group=replace(recipe.group, size_px=32),
        local=replace(recipe.local, local_size_px=16),
        model=replace(recipe.model, backbone="resnet18", stem="conv3x3-stride1"),
        optim=OptimConfig(global_batch_size=batch, steps=steps, lr=0.03),
        runtime=RuntimeConfig(device="cpu"),
    )


def lightly_side(name: str, ours: Method, config: PretrainConfig) -> Side:
    """Trained module, loss of a batch, and what follows a step; weights as those of `ours`."""
    online = copy.deepcopy(ours.online_encoder)
    if name == "simclr":
        criterion = NTXentLoss(temperature=config.method.temperature)

        def simclr_loss(batch: ViewBatch) -> Tensor:
            embeddings = online.views(batch.pixels[0])
            return criterion(embeddings[:, 0], embeddings[:, 1])

        return online, simclr_loss, lambda: None
    width, hidden, out = 512, config.method.projector.projector_hidden or 512, config.method.projector.projector_out
    if name == "moco":
        head: nn.Module = MoCoProjectionHead(width, hidden, out)
        head.layers.load_state_dict(online.head.state_dict())
        online.head = head
        momentum = copy.deepcopy(online).requires_grad_(False)
        contrast = NTXentLoss(temperature=config.method.temperature, memory_bank_size=(1024, out))
        dummy = torch.randn(2, out, dtype=torch.float32)
        contrast(dummy.requires_grad_(), dummy.detach())  # makes their bank
        bank = contrast.memory_bank.bank = contrast.memory_bank.bank.to(torch.get_default_dtype())
        keys = ours.queue.keys  # type: ignore[union-attr]
        bank.copy_(keys if bank.shape == keys.shape else keys.T)
        contrast.memory_bank.bank_ptr.zero_()

        def moco_loss(batch: ViewBatch) -> Tensor:
            with torch.no_grad():
                key = momentum.views(batch.pixels[0][:, 1:])[:, 0]
            return contrast(online.views(batch.pixels[0])[:, 0], key)

        return online, moco_loss, lambda: update_momentum(online, momentum, m=0.99)
    prototypes = config.method.num_prototypes  # type: ignore[union-attr]
    own = online.head.state_dict()

    def dino_head() -> nn.Module:
        head = DINOProjectionHead(width, hidden, out, prototypes, batch_norm=True)
        head.layers.load_state_dict({k.removeprefix("layers."): v for k, v in own.items() if k.startswith("layers.")})
        head.last_layer.weight_v.data.copy_(own["prototypes"])
        return head

    teacher = copy.deepcopy(online)
    online.head, teacher.head = dino_head(), dino_head()
    teacher.requires_grad_(False)
    distil = DINOLoss(prototypes, teacher_temp=0.04, student_temp=config.method.temperature)

    def dino_loss(batch: ViewBatch) -> Tensor:
        with torch.no_grad():
            scores = teacher.views(batch.pixels[0])
        student = torch.cat([online.views(group) for group in batch.pixels], 1)
        return distil(list(scores.unbind(1)), list(student.unbind(1)))

    return online, dino_loss, lambda: update_momentum(online, teacher, m=0.99)


def compare(name: str, config: PretrainConfig, steps: int) -> list[tuple[float, float]]:
    """(ours, lightly's) losses of each step; both train on the same batches."""
    data = prepare_data(config)
    ours = create_method(config, steps).to(torch.get_default_dtype())
    theirs, their_loss, follow = lightly_side(name, ours, config)
    optimizers = [create_optimizer(module, config.optim) for module in (ours, theirs)]
    losses = []
    for plan, crops in ViewLoader(data.planner, ViewCropper(data.bank, 2), range(steps)):
        batch = make_batch(plan, crops, torch.device("cpu"))
        for optimizer in optimizers:
            set_rates(optimizer, plan.step, steps, config.optim)
            optimizer.zero_grad()
        batch = replace(
            batch, groups=tuple(replace(g, pixels=g.pixels.to(torch.get_default_dtype())) for g in batch.groups)
        )
        output, their = ours.loss(batch), their_loss(batch)
        output.loss.backward()
        their.backward()
        for optimizer in optimizers:
            optimizer.step()
        ours.after_step(plan.step, output.pending)
        follow()
        losses.append((output.loss.item(), their.item()))
    return losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bank", type=Path, default=Path("runs/against-lightly-bank"))
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--methods", nargs="+", default=["simclr", "moco", "dino"])
    parser.add_argument("--float64", action="store_true", help="tells rounding that grows from a real difference")
    parser.add_argument("--out", type=Path, help="JSON file with all losses")
    arguments = parser.parse_args()
    if arguments.float64:
        torch.set_default_dtype(torch.float64)
    found = {}
    print("method  step      ours   lightly  difference")
    for name in arguments.methods:
        start = time.monotonic()
        config = configuration(name, arguments.data.absolute(), arguments.batch, arguments.steps, arguments.bank)
        losses = found[name] = compare(name, config, arguments.steps)
        for step in sorted({0, 1, 9, 49, arguments.steps - 1} & set(range(arguments.steps))):
            ours, theirs = losses[step]
            print(f"{name:7} {step:4} {ours:9.5f} {theirs:9.5f}  {ours - theirs:+.1e}", flush=True)
        largest = max(abs(a - b) for a, b in losses)
        print(f"{name:7} largest difference {largest:.1e}, {time.monotonic() - start:.0f} s", flush=True)
    if arguments.out:
        arguments.out.write_text(json.dumps(found))


if __name__ == "__main__":
    main()

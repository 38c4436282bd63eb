"""A method of your own: alignment and uniformity (Wang and Isola, ICML 2020), trained by samclr's loop.

In a package, the settings and SPEC stand in a torch-free module of their own, an entry point of the group
`samclr.methods` names SPEC, and every command knows the method: `samclr pretrain align ...`. Here one file does both.

python examples/plugin.py [STEPS]
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from generated import FOLDER, SMALL, num_steps, scenes_and_regions
from torch import nn

import samclr
from samclr.config import DataConfig, MethodConfig, ModelConfig, OptimConfig, ViewGroup, ViewsConfig
from samclr.config.methods import MethodSpec
from samclr.config.recipes import Recipe
from samclr.config.serialise import Temperature
from samclr.methods import Method, StepOutput
from samclr.methods.base import Encoder
from samclr.models.backbone import feature_width
from samclr.models.heads import simclr_head


@dataclass(frozen=True, kw_only=True)
class AlignConfig(MethodConfig):
    """Settings of the method.

    Attributes:
        uniformity: weight of the second term.
    """

    name: ClassVar[str] = "align"

    uniformity: Temperature = 1.0


class Align(Method):
    """Views of one region lie close together, all embeddings lie spread over the sphere."""

    def __init__(self, backbone: nn.Module, projector: nn.Module, config: AlignConfig):
        super().__init__()
        self.online_encoder, self.config = Encoder(backbone, projector), config

    def contrast(self, embeddings, targets, batch) -> StepOutput:
        """Equations 1 and 2 of the paper, with its alpha and t of 2."""
        unit = F.normalize(embeddings[0], dim=-1)  # [b v d]
        alignment = (unit[:, 0] - unit[:, 1]).square().sum(-1).mean()
        uniformity = torch.pdist(unit.flatten(0, 1)).square().mul(-2).exp().mean().log()
        loss = alignment + self.config.uniformity * uniformity
        return StepOutput(loss=loss, metrics={"alignment": alignment.detach(), "uniformity": uniformity.detach()})


def build(backbone: nn.Module, config: AlignConfig, seed: int, num_steps: int) -> Align:
    """What SPEC names."""
    return Align(backbone, simclr_head(feature_width(backbone), config.projector), config)


def recipe(name: str, strategy: str) -> Recipe:
    """The method with views of whole images, or of regions."""
    return Recipe(
        config=samclr.PretrainConfig(recipe=name, method=AlignConfig(), views=ViewsConfig(strategy=strategy)),
        summary=f"Alignment and uniformity, {strategy} views",
        paper="Wang and Isola, ICML 2020 (arXiv 2005.10242)",
        overrides="none",
        cost="as simclr",
        expected="not measured",
        command=f"samclr pretrain {name} --scenes SCENES --out RUN",
    )


SPEC = MethodSpec(
    title="Align",
    region_title="SAM-Align",
    config=AlignConfig,
    build=f"{__name__}:build",
    recipes=(recipe("align", "image"), recipe("samalign", "region")),
    demo_config=AlignConfig(),
    demo_lr=2e-3,
)

if __name__ == "__main__":
    samclr.register_method(SPEC)
    scenes, regions = scenes_and_regions()
    steps = num_steps(20)
    config = replace(
        SPEC.recipes[1].config,
        data=DataConfig(scenes=(scenes,), regions=regions),
        filter=SMALL,
        group=ViewGroup(size_px=32),
        model=ModelConfig(backbone="small-cnn"),
        optim=OptimConfig(global_batch_size=32, steps=steps),
    )
    run = samclr.pretrain(config, FOLDER / f"align-{steps}")
    print(f"{run.step} steps, loss {run.metrics()[-1]['loss']:.3f}")

"""Alignment and uniformity (Wang and Isola, ICML 2020): settings and recipes."""

from dataclasses import dataclass, replace
from typing import ClassVar

from samclr.config.methods import MethodConfig, MethodSpec
from samclr.config.pretrain import PretrainConfig
from samclr.config.recipes import Recipe
from samclr.config.serialise import Positive
from samclr.config.views import ViewsConfig


@dataclass(frozen=True, kw_only=True)
class AlignConfig(MethodConfig):
    """Settings of alignment and uniformity.

    Attributes:
        uniformity: weight of the uniformity beside the alignment.
    """

    name: ClassVar[str] = "align"

    uniformity: Positive = 1.0


ALIGN = PretrainConfig(recipe="align", method=AlignConfig(), views=ViewsConfig(strategy="image"))


def _recipe(config: PretrainConfig, summary: str, scenes: str) -> Recipe:
    return Recipe(
        config=config,
        summary=summary,
        paper="Wang and Isola, ICML 2020 (arXiv 2005.10242)",
        overrides="none",
        cost="as simclr",
        expected="not measured",
        command=f"samclr pretrain {config.recipe} --scenes SCENES{scenes} --out RUN",
    )


SPEC = MethodSpec(
    title="Align",
    region_title="SAM-Align",
    config=AlignConfig,
    build="samclr_example.align:build",
    recipes=(
        _recipe(ALIGN, "Alignment and uniformity of whole images", ""),
        _recipe(
            replace(ALIGN, recipe="samalign", views=ViewsConfig(strategy="region")),
            "Alignment and uniformity of one region's views",
            " --regions STORE",
        ),
    ),
    demo_config=AlignConfig(),
    demo_lr=2e-3,
)

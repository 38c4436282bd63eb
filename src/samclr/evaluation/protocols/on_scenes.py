"""What the protocols on scenes have in common: which scenes they take, and squares of them for the backbone."""

from dataclasses import dataclass

from torch import nn

from samclr.datasets.labelled_scenes import LabelledScenes
from samclr.evaluation.dense_features import chosen_scenes
from samclr.evaluation.inputs import DenseSet
from samclr.evaluation.patches import patch_px, stage_number
from samclr.evaluation.sizes import check_maps, say_fewer
from samclr.evaluation.square_scenes import whole_patches
from samclr.log import tell


@dataclass(frozen=True, kw_only=True)
class Squares:
    """Squares of as many whole patches as the side asked for has, and the stage whose maps are read."""

    side_px: int
    stage: int
    patch_px: int

    @classmethod
    def of(cls, backbone: nn.Module, asked_px: int, stage: int | None, setting: str) -> "Squares":
        """setting: the name of the one that asks for this stage. Raises EvaluationError where there is no such."""
        number = stage_number(backbone, stage, setting)  # refuses a backbone without maps
        patch = patch_px(backbone)
        return cls(side_px=whole_patches(asked_px, patch), stage=number, patch_px=patch)

    def check(self, backbone: nn.Module, what: str) -> None:
        """Raise EvaluationError where the backbone has no maps of such squares."""
        check_maps(backbone, self.side_px, self.stage, what, square=True)

    def tell_rounded(self, what: str, asked_px: int) -> None:
        """Say so where the side is not the one asked for."""
        if self.side_px != asked_px:
            tell(f"{what}: squares of {self.side_px} px, whole patches of {self.patch_px} px")


def chosen_parts(one: DenseSet, num_train: int | None, num_test: int | None, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of the training and test scenes that a protocol takes. Says where there are fewer than asked for."""
    return chosen_part(one, "training", num_train, seed), chosen_part(one, "test", num_test, seed)


def chosen_part(one: DenseSet, part: str, num: int | None, seed: int) -> list[int]:
    """Of one part, `training` or `test`."""
    scenes: LabelledScenes = {"training": one.train, "test": one.test}[part]
    say_fewer(one.name, f"{part} images", num, len(scenes))
    return chosen_scenes(scenes, num, seed)

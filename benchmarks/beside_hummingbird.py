"""Run open-hummingbird's own code beside ours, on the same generated shapes; needs a clone of it, of which nothing is
copied here:

    python benchmarks/beside_hummingbird.py CLONE small-cnn 64 1400

Its index (ScaNN, or faiss on a GPU) is replaced by an exact search; its memory is given our crops and our uniform
numbers, as its own come from another generator; blue is normalised by ImageNet's 0.225 (it has 0.255).
"""

import sys
import tempfile
import types
from itertools import chain, count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import torch
import torch.nn.functional as F
from PIL import Image
from support.scenes import write_shapes

import samclr.draws as draws
from samclr.config import EvaluationConfig, InContextConfig
from samclr.config.normalisation import IMAGENET, normalisation_of
from samclr.config.pretrain import ModelConfig
from samclr.evaluation.context_memory import cutter
from samclr.evaluation.inputs import open_dense_set
from samclr.evaluation.patches import feature_map, num_stages
from samclr.evaluation.protocols.base import DenseTask
from samclr.evaluation.protocols.in_context import InContext
from samclr.models.backbone import create_backbone
from samclr.scenes.decode import load_scene

CPU = torch.device("cpu")


class Exact:
    """In place of its index."""

    def __init__(self, memory, k):
        self.memory, self.k = memory, k

    def find_nearest_neighbors(self, queries):
        """Rows and cosine similarities."""
        near, rows = (F.normalize(queries, dim=1) @ self.memory.T).topk(self.k, 1)
        return rows.numpy(), near.numpy()


class Patches(torch.nn.Module):
    """In place of its feature extractor."""

    def __init__(self, backbone, side_px):
        super().__init__()
        self.backbone, self.stage = backbone, num_stages(backbone) - 1
        maps = feature_map(backbone, torch.zeros(1, 3, side_px, side_px), self.stage)
        self.d_model, self.eval_spatial_resolution = maps.shape[1:3]

    def forward_features(self, pixels):
        """Patches [n p d]."""
        with torch.no_grad():
            return feature_map(self.backbone, pixels, self.stage).flatten(2).transpose(1, 2).contiguous(), None


def main(clone: str, name: str, side_px: int, size: int) -> None:
    sys.modules["pytorch_lightning"] = types.SimpleNamespace(LightningDataModule=object)  # its data sets are not used
    sys.path.insert(0, clone)
    from hbird import hbird_eval
    from hbird.utils.image_transformations import CombTransforms
    from hbird.utils.transforms import get_hbird_val_transforms

    torch.manual_seed(0)
    backbone = create_backbone(ModelConfig(backbone=name)).eval()
    normalisation, config = (
        normalisation_of(backbone),
        InContextConfig(in_context=True, in_context_px=side_px, in_context_memory=(size,)),
    )
    with tempfile.TemporaryDirectory() as folder:
        shapes = open_dense_set(write_shapes(Path(folder, "shapes"), num_train=12, num_test=8))
        task = DenseTask(
            backbone=backbone, config=EvaluationConfig(), device=CPU, cache=Path(folder, "cache"), scenes=shapes
        )
        (ours,) = InContext(config).measure(task)
        num, patches = len(shapes.train), Patches(backbone, side_px)
        numbers = range(num)
        passes = count()

        class Crops:
            """One pass over the training images."""

            def __iter__(self):
                cut = cutter(shapes.train, numbers, config, side_px, next(passes))
                for number in numbers:
                    shown, labels = load_scene(shapes.train.refs[number]).pixels, shapes.train.label_map(number)
                    pixels, own = cut(number, shown, labels)
                    batch = normalisation(torch.from_numpy(pixels)[None].float() / 255)
                    yield batch, torch.from_numpy(own)[None, None].float() / 255

        lots = chain.from_iterable(
            (draws.uniforms(0, draws.STREAM_SELECT, epoch, number, patches.eval_spatial_resolution**2)[0]
             for number in numbers)
            for epoch in range(config.in_context_epochs)
        )  # fmt: skip
        hbird_eval.HbirdEvaluation._create_nn = lambda self, k, **given: setattr(
            self, "NN_algorithm", Exact(self.feature_memory, k)
        )
        real, torch.rand = torch.rand, lambda num: torch.from_numpy(next(lots)).float()
        theirs = hbird_eval.HbirdEvaluation(
            patches, Crops(), num_classes=len(shapes.train.classes), n_neighbours=config.in_context_k,
            augmentation_epoch=config.in_context_epochs, memory_size=size, dataset_size=num,
        )  # fmt: skip
        torch.rand = real
        parts = get_hbird_val_transforms(side_px, img_std=list(IMAGENET.std))
        both = CombTransforms(img_transform=parts["img"], img_tgt_transform=parts["shared"])
        pairs = (
            both(Image.fromarray(load_scene(ref).pixels), Image.fromarray(shapes.test.label_map(number)))
            for number, ref in enumerate(shapes.test.refs)
        )
        loader = [(pixels[None], labels[None]) for pixels, labels in pairs]
        found = theirs.evaluate(loader, eval_spatial_resolution=patches.eval_spatial_resolution, ignore_index=255)
    value = ours.scores["miou"].value
    print(f"{name}, {side_px} px, memory of {ours.counts['num_patches']} and {len(theirs.feature_memory)} patches")
    print(f"mIoU {100 * value:.3f}, open-hummingbird's {100 * found:.3f}: {100 * abs(found - value):.3f} points apart")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))

"""Ready studies that measure by every protocol in which pre-training on scenes is compared."""

from samclr.config.evaluation import EvaluationConfig
from samclr.config.pretrain import AugmentConfig, FilterConfig, OptimConfig
from samclr.config.protocols import EvaluationData, KnnConfig, ProtocolConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.evaluation.protocols.crop_probe_spec import CropProbeConfig
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.evaluation.protocols.detection_spec import DetectionConfig
from samclr.evaluation.protocols.few_shot_spec import FewShotConfig
from samclr.evaluation.protocols.fine_tune_spec import FineTuneConfig
from samclr.evaluation.protocols.in_context_spec import InContextConfig
from samclr.evaluation.protocols.multilabel_spec import MultilabelConfig
from samclr.evaluation.protocols.objects_spec import ObjectsConfig
from samclr.evaluation.protocols.overcluster_spec import OverclusterConfig
from samclr.evaluation.protocols.segment_linear_spec import SegmentLinearConfig
from samclr.study.plan import GENERATED
from samclr.study.recipe import ANY, Evaluation, Grid, Reference, Study

OBJECTS, METHODS = "sam-hq-vit-h", ("simclr", "moco", "dino", "detcon")
AP = ("detection_box_ap", "detection_mask_ap")
NEAREST = ("in_context_102400_miou", "in_context_1024000_miou")
OWN = "read in its README"
UNSTATED = f"{OWN}; memory not stated"  # by DINO's row it counts for ten points
# Title, set, and per cent by metric.
PUBLISHED: tuple[tuple[str, str, dict[str, float]], ...] = (
    (f"SlotCon, ResNet-50, 800 epochs of COCO ({OWN})", "coco", dict(zip(AP, (41.0, 37.0), strict=True))),
    (f"CrIBo, ViT-S/16 on COCO ({UNSTATED})", "ade20k", {"in_context_miou": 23.4}),
    (f"CrIBo, ViT-S/16 on COCO ({UNSTATED})", "voc2012", {"in_context_miou": 58.1}),
    (
        f"CrOC, ViT-S/16 on COCO ({OWN}; 54.5 in its first version, before training had ended)",
        "voc2012",
        {"segment_linear_miou": 54.9},
    ),
    (
        "DINO, ViT-S/16 on ImageNet (read in open-hummingbird's README; 46.6 with a memory of 10,240,000)",
        "voc2012",
        dict(zip(NEAREST, (37.2, 43.1), strict=True)),
    ),
)


def _references() -> tuple[Reference, ...]:
    return tuple(
        Reference(
            arm=f"coco.{title.split(',')[0].lower()}", set=name, key=key, value=round(value / 100, 4), title=title
        )
        for title, name, values in PUBLISHED
        for key, value in values.items()
    )


SCENES = Study(
    name="scenes",
    summary="Methods with views of whole images and of regions, in the protocols of papers that learn from scenes.",
    grids=(
        Grid(scenes=("coco",), methods=METHODS, strategies=("image",), segmenters=(OBJECTS,)),
        Grid(scenes=("coco",), methods=METHODS[:3], strategies=("region",), segmenters=(OBJECTS,)),
    ),
    optim=OptimConfig(global_batch_size=512, steps=46_000, lr=0.12, warmup_steps=2_300),  # 200 epochs of train2017
    backbone="resnet50",
    size_px=224,
    local_size_px=96,
    evaluations=(
        Evaluation(set="imagenet"),
        *(Evaluation(set=name, kind="dense") for name in ("voc2012", "ade20k", "coco-stuff27")),
        Evaluation(set="voc2007", kind="multilabel"),
        Evaluation(set="voc2012", kind="objects"),
        Evaluation(set="coco", kind="detection"),
        *(Evaluation(set=ANY, kind=kind) for kind in ("dense", "multilabel", "objects", "detection")),
    ),
    measuring=EvaluationConfig(
        data=EvaluationData(image_px=224),
        protocols=(
            InContextConfig(in_context=True),
            SegmentLinearConfig(segment_linear=True),
            OverclusterConfig(overcluster=(100, 300, 500)),
            MultilabelConfig(multilabel_shots=(1, 2, 4, 8, 16, 32, 64, 96)),
        ),
    ),
    references=_references(),
    quoted="published figures; backbones, epochs and details differ, so they are a frame and not a comparison",
)

# As small as it may be while every protocol gives a number: settings of the protocols are a few images' and steps'.
SMOKE_PROTOCOLS: tuple[ProtocolConfig, ...] = (
    KnnConfig(),
    FewShotConfig(few_shot=(0.1,)),
    CropProbeConfig(crop_probe=True, crop_epochs=3, crop_px=64),
    FineTuneConfig(fine_tune=True, tune_epochs=3, tune_px=64),
    DenseConfig(dense_px=192, dense_steps=300),
    InContextConfig(in_context=True, in_context_px=192, in_context_memory=(4000,), in_context_epochs=1),
    SegmentLinearConfig(segment_linear=True, segment_px=192, segment_mask_px=48, segment_batch_size=16, segment_lr=0.1),
    OverclusterConfig(overcluster=(11, 50), overcluster_px=192, overcluster_mask_px=48, overcluster_starts=1),
    MultilabelConfig(multilabel_px=192, multilabel_costs=(0.01, 0.1, 1.0), multilabel_shots=(8,), multilabel_samples=2),
    ObjectsConfig(objects_px=192, objects_min_area_px=20),
    DetectionConfig(
        detect_px=96,
        detect_steps=80,
        detect_batch_size=4,
        detect_optimizer="adamw",
        detect_lr=4e-3,
        detect_boxes=32,
        detect_num_val=40,
    ),
)

DENSE_SMOKE = Study(
    name="dense-smoke",
    summary="Every protocol in minutes on a CPU, on generated scenes of handwritten digits. It shows that everything "
    "works; digits are not photographs.",
    grids=(
        Grid(strategies=("image",), temperatures=(0.2,)),
        Grid(strategies=("region",), segmenters=("labels",), temperatures=(0.2,)),
        Grid(methods=("detcon",), strategies=("image",), segmenters=("labels",), temperatures=(0.2,)),
    ),
    seeds=(0,),
    optim=OptimConfig(global_batch_size=64, steps=300, optimizer="adamw", lr=2e-3, warmup_steps=20),
    evaluations=tuple(
        Evaluation(set=GENERATED, kind=kind) for kind in ("labelled", "dense", "multilabel", "objects", "detection")
    ),
    measuring=EvaluationConfig(data=EvaluationData(image_px=64), protocols=SMOKE_PROTOCOLS),
    segmenters=(("labels", SegmenterConfig(segmenter="labels", ignore_label=(0,))),),
    filter=FilterConfig(min_area_px=20, max_area_frac=0.1, padding=1.5),
    augment=AugmentConfig(flip_prob=0.0, jitter_strength=1.0, grey_prob=0.5, blur_prob=0.2, blur_sigma=(0.1, 1.0)),
    backbone="small-cnn",
    projector_hidden=None,
    size_px=64,
    crop_scale=(0.3, 1.0),
    headline="*.region.*",
    generated=400,
    device="cpu",
)

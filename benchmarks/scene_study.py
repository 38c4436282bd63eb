"""Every method with views of whole images and of regions, on 567 photographs: which of them serves dense tasks?

    samclr study run benchmarks/scene_study.py --out OUT \
        --scenes photos=DATA/camvid/images/train photos=DATA/bsds500/images/train \
        --on cifar10=DATA/cifar10 --dense-on camvid=DATA/camvid --objects-on bsds500=DATA/bsds500

Scenes: the train splits of CamVid and BSDS500, with Felzenszwalb's regions. Measured: CamVid by the linear probe,
nearest patches, in-context and linear segmentation and clusters; segments of BSDS500 that find their like; kNN and
linear probe on CIFAR-10. Three seeds of every arm, 18 arms: minutes each on a GPU.
"""

from samclr.config.evaluation import EvaluationConfig
from samclr.config.pretrain import OptimConfig
from samclr.config.protocols import EvaluationData
from samclr.config.registry import METHODS
from samclr.config.segmenters import SegmenterConfig
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.evaluation.protocols.in_context_spec import InContextConfig
from samclr.evaluation.protocols.overcluster_spec import OverclusterConfig
from samclr.evaluation.protocols.segment_linear_spec import SegmentLinearConfig
from samclr.study import Study
from samclr.study.recipe import ANY, Evaluation, Grid

STUDY = Study(
    name="scene-study",
    summary="Which method serves dense tasks, and do region views help it?",
    grids=(Grid(methods=tuple(METHODS), strategies=("image", "region")),),
    optim=OptimConfig(global_batch_size=128, steps=1000, optimizer="adamw", lr=1e-3, warmup_steps=50),
    evaluations=tuple(Evaluation(set=ANY, kind=kind) for kind in ("labelled", "dense", "objects")),
    measuring=EvaluationConfig(
        data=EvaluationData(image_px=64, num_train=10_000, num_test=5_000),
        protocols=(
            DenseConfig(dense_px=256, dense_steps=1000),
            InContextConfig(in_context=True, in_context_px=256, in_context_memory=(20_480,)),
            SegmentLinearConfig(segment_linear=True, segment_px=256, segment_lr=0.1),
            OverclusterConfig(overcluster=(100,), overcluster_px=256),
        ),
    ),
    segmenters=(("felzenszwalb", SegmenterConfig(scale=500.0, sigma=0.8, min_size=400)),),
    size_px=96,
    local_size_px=48,
)

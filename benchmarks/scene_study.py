"""Every method with views of whole images and of regions, on 567 photographs: which of them serves dense tasks?

    samclr study run benchmarks/scene_study.py --out OUT \
        --scenes photos=camvid:train@DATA/camvid photos=bsds500:train@DATA/bsds500 \
        --on cifar10=DATA/cifar10 --dense-on camvid=DATA/camvid --objects-on bsds500=DATA/bsds500

Scenes: the train splits of CamVid and BSDS500, with Felzenszwalb's regions. The budget was fixed before the first run
and is every arm's: 100 steps of 64 images at 64 px. Measured: CamVid by the linear probe, nearest patches, in context
and by clusters; segments of BSDS500 that find their like; kNN and linear probe on CIFAR-10. Three seeds of every arm,
57 runs of about seven minutes of one core.
"""

from samclr.config.evaluation import EvaluationConfig
from samclr.config.pretrain import OptimConfig
from samclr.config.protocols import EvaluationData
from samclr.config.registry import METHODS
from samclr.config.segmenters import SegmenterConfig
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.evaluation.protocols.in_context_spec import InContextConfig
from samclr.evaluation.protocols.overcluster_spec import OverclusterConfig
from samclr.study import Study
from samclr.study.recipe import ANY, Evaluation, Grid

STUDY = Study(
    name="scene-study",
    summary="Which method serves dense tasks, and do region views help it?",
    grids=(Grid(methods=tuple(METHODS), strategies=("image", "region")),),
    optim=OptimConfig(global_batch_size=64, steps=100, optimizer="adamw", lr=1e-3, warmup_steps=10),
    evaluations=tuple(Evaluation(set=ANY, kind=kind) for kind in ("labelled", "dense", "objects")),
    measuring=EvaluationConfig(
        data=EvaluationData(image_px=48, num_train=5_000, num_test=2_500),
        protocols=(
            DenseConfig(dense_px=192, dense_steps=1000, dense_num_train=200),
            InContextConfig(
                in_context=True,
                in_context_px=192,
                in_context_memory=(10_240,),
                in_context_epochs=1,
                in_context_num_train=200,
            ),
            OverclusterConfig(overcluster=(100,), overcluster_px=192),
        ),
    ),
    segmenters=(("felzenszwalb", SegmenterConfig(scale=500.0, sigma=0.8, min_size=400)),),
    size_px=64,
    local_size_px=32,
)

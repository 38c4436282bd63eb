"""The study behind docs/results.md: `controls` and `temperature` on CamVid's and BSDS500's train splits.

    samclr study run benchmarks/evidence.py --out runs/evidence \
        --scenes photos=camvid:train@DIR photos=bsds500:train@DIR \
        --on cifar10=DIR/cifar10 --dense-on camvid=DIR/camvid

The budget was fixed before the first run: 260 steps of 128 images at 64 px, three paired seeds, for every arm. About
three hours on two cores. The SAM arm needs sam-hq-vit-h; where its weights cannot be had it stands as missing.
"""

from samclr.config import EvaluationConfig, EvaluationData, OptimConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.study import Study
from samclr.study.studies import CONTROLS, TEMPERATURE

STUDY = Study(
    name="evidence",
    summary="Is it the object, the smaller crop, the mask's quality, or the temperature?",
    grids=(*CONTROLS.grids, *TEMPERATURE.grids),
    seeds=(0, 1, 2),
    optim=OptimConfig(global_batch_size=128, steps=260, optimizer="adamw", lr=1e-3),
    measuring=EvaluationConfig(data=EvaluationData(image_px=48, num_train=10_000, num_test=5_000)),
    segmenters=(("felzenszwalb", SegmenterConfig(scale=500.0, sigma=0.8, min_size=400)),),
    stem="conv3x3-stride2",
    size_px=64,
    crop_scale=(0.2, 1.0),
    headline="*.region.felzenszwalb.t0.07*",
)

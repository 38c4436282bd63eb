"""Pascal Context (Mottaghi et al., CVPR 2014) with the 59 classes of most papers."""

from samclr.datasets.pascal_context import RELEASE, context_set, pixel_classes

SPEC = context_set(
    "pascal-context",
    "Pascal Context, 59 classes",
    pixel_classes,
    is_converted=True,
    names="labels.txt",
    got_at=f"{RELEASE}; or maps and lists by mmsegmentation's tools/dataset_converters/pascal_context.py",
)

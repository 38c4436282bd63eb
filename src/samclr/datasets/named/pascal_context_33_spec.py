"""Pascal Context (Mottaghi et al., CVPR 2014) with the 33 classes of its list, from its own MATLAB files."""

from samclr.datasets.pascal_context import RELEASE, context_set, fewer_classes

SPEC = context_set(
    "pascal-context-33",
    "Pascal Context, 33 classes",
    fewer_classes(33),
    is_converted=False,
    names="labels.txt,33_labels.txt",
    got_at=f"{RELEASE} and 33_labels.txt",
)

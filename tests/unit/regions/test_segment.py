"""What the job says of its segmenter."""

import pytest

from samclr.config.sam import ComputeConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.regions.segment import told


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (
            SegmenterConfig(),
            "felzenszwalb (the default: needs no model and no GPU; a SAM finds whole objects)",
        ),
        (SegmenterConfig(segmenter="labels"), "labels (ground truth: --labels DIR)"),
        (SegmenterConfig(segmenter="sam-digits", compute=ComputeConfig(device="cpu")), "sam-digits on cpu"),
    ],
)
def test_the_segmenter_and_why_it_is_this_one(config, text):
    assert told(config) == text


def test_segment_says_it_first(scenes, tmp_path, call):
    status, _, said = call("segment", scenes, "--out", tmp_path / "store", "--workers", 1)
    assert status == 0
    assert said.splitlines()[0].startswith("segmenter: felzenszwalb (the default: needs no model and no GPU")

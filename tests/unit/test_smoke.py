import torch
from support import samclr, small_config, write_labelled

from samclr import load_backbone
from samclr.config import SegmenterConfig
from samclr.fill import FillOptions
from samclr.pretrain import pretrain
from samclr.regions.segment import segment_scenes
from samclr.scenes.sources import list_scenes


def test_a_run_from_scenes_to_backbone(scenes, tmp_path):
    _, report = segment_scenes(
        list_scenes([scenes]), SegmenterConfig(scale=50.0, min_size=20), tmp_path / "regions", FillOptions()
    )
    assert report.num_new == 12
    result = pretrain(small_config(scenes, tmp_path / "regions"), tmp_path / "run")
    assert result.steps_done == 4
    features = load_backbone(tmp_path / "run")(torch.zeros(2, 3, 24, 24))
    assert features.shape == (2, 128)
    write_labelled(tmp_path / "labelled")
    done = samclr("evaluate", tmp_path / "run", "--on", tmp_path / "labelled", "--image-px", 24, "--json")
    assert done.returncode == 0, done.stderr

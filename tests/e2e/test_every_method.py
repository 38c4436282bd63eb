"""Every method trains with what any method may be asked for, and resumes exactly."""

from dataclasses import replace

import pytest
import torch
from support.runs import patches_config, small_config
from support.scenes import write_scenes

from samclr.config.anchors import AnchorConfig
from samclr.config.registry import METHODS
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.models.backbone import create_backbone
from samclr.regions.segment import segment_scenes
from samclr.runs.checkpoint import load_backbone, load_checkpoint
from samclr.runs.directory import read_metrics
from samclr.runs.saved import checkpoints
from samclr.scenes.fill import FillOptions
from samclr.training.pretrain import pretrain


@pytest.fixture(scope="module")
def scenes_and_store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("methods")
    scenes = write_scenes(folder / "scenes", 12, folder / "labels")
    settings = SegmenterConfig(segmenter="labels", labels=folder / "labels", ignore_label=(0,))
    segment_scenes(list_scenes([scenes]), settings, folder / "store", FillOptions())
    return scenes, folder / "store"


@pytest.mark.parametrize("method", list(METHODS))
def test_random_boxes_regions_views_micro_batches_and_half_precision(method, scenes_and_store, tmp_path):
    """Two random boxes an image, three global views, six rows at a time, bfloat16."""
    config = small_config(*scenes_and_store, METHODS[method].recipes[1].config.recipe, steps=3)
    config = replace(
        config,
        views=replace(config.views, strategy="random-box", regions_per_image=2),
        group=replace(config.group, num_views=3),
        runtime=replace(config.runtime, micro_batch_size=6, precision="bfloat16"),
    )
    pretrain(config, tmp_path / "run")
    rows = read_metrics(tmp_path / "run")
    assert len(rows) == 3
    assert all(0.05 < row["embedding_spread"] < 2 for row in rows)
    assert all(torch.isfinite(torch.tensor(row["loss"])) for row in rows)
    assert {"similarity_positive", "similarity_same_image", "effective_rank"} <= set(rows[0])


RECIPES_WITH_STATE = ["moco", "sammoco", "dino", "samdino", "byol", "samsimsiam", "sambarlow", "samvicreg", "samswav"]
RECIPES_WITH_STATE += ["samdetcon", "detcon"]


@pytest.mark.parametrize("recipe", [*RECIPES_WITH_STATE, "dino with patches"])
def test_every_method_resumes_exactly(recipe, scenes_and_store, tmp_path):
    """Queue, centres, prototypes, masks, momentum encoder, anchor, schedules and plan are the same after a stop."""
    make = patches_config if "patches" in recipe else small_config
    config = make(*scenes_and_store, recipe.split()[0], steps=6)
    if recipe == "detcon":
        config = replace(config, method=replace(config.method, form="momentum"))
    pretrain(config, tmp_path / "whole")
    half = replace(config, runtime=replace(config.runtime, checkpoint_every_s=0))
    pretrain(half, tmp_path / "parts")
    newest, older = checkpoints(tmp_path / "parts")
    newest.unlink()
    assert load_checkpoint(tmp_path / "parts")["steps_done"] == 5
    pretrain(half, tmp_path / "parts")
    whole, parts = (load_checkpoint(tmp_path / name)["method"] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    losses = [[row["loss"] for row in read_metrics(tmp_path / name)] for name in ("whole", "parts")]
    assert losses[0] == losses[1]
    assert older.exists()


def test_the_anchor_is_of_the_start_whatever_the_file_holds_later(scenes_and_store, tmp_path):
    """It resumes from the checkpoint, and no export has it."""
    weights = tmp_path / "weights.pt"
    config = small_config(*scenes_and_store, "simclr", steps=2)
    normalisation = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
    config = replace(
        config,
        model=replace(config.model, pretrained=str(weights), **normalisation),
        anchor=AnchorConfig(anchor="feature"),
        runtime=replace(config.runtime, checkpoint_every_s=0),
    )
    start = create_backbone(config.model).state_dict()
    torch.save(start, weights)
    pretrain(config, tmp_path / "run")
    checkpoints(tmp_path / "run")[0].unlink()
    torch.save(create_backbone(config.model).state_dict(), weights)
    pretrain(config, tmp_path / "run")
    saved = load_checkpoint(tmp_path / "run")["method"]
    assert all(torch.equal(saved[f"anchor.backbone.{name}"], value) for name, value in start.items())
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == [0, 1]
    trained = load_backbone(tmp_path / "run").state_dict()
    assert trained.keys() == start.keys()
    assert any(not torch.equal(trained[name], value) for name, value in start.items())

"""In-context segmentation, the papers' linear segmentation and overclustering as a user asks for them, and what they
say to sets and settings that do not suit them."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image
from support.intervals import check_resampled
from support.scenes import write_shapes

from samclr.evaluation import dense_features
from samclr.evaluation.protocols import in_context, overcluster
from samclr.runs.results import Result

PAPERS = (
    *("--skip-dense", "--bootstrap", 100, "--in-context", "--in-context-px", 48, "--in-context-memory", 40, 100),
    *("--segment-linear", "--segment-px", 48, "--segment-epochs", 1, "--segment-mask-px", 20),
    *("--overcluster", 3, 5, "--overcluster-px", 48, "--overcluster-mask-px", 20, "--overcluster-runs", 2),
)
IN_CONTEXT, LINEAR, CLUSTERS = (
    ("--skip-dense", "--bootstrap", 100, "--in-context", "--in-context-px", 48, "--in-context-memory", 40),
    ("--skip-dense", "--bootstrap", 100, "--segment-linear", "--segment-px", 48, "--segment-epochs", 1),
    ("--skip-dense", "--bootstrap", 100, "--overcluster", 3, "--overcluster-px", 48, "--overcluster-runs", 1),
)


def relabel(folder: Path, split: str, value: int) -> None:
    for path in (folder / "labels" / split).iterdir():
        Image.fromarray(np.full(Image.open(path).size[::-1], value, np.uint8)).save(path)


def test_all_three_stand_in_results_and_details_and_are_replaced(tmp_path, call):
    shapes, out = write_shapes(tmp_path / "shapes"), tmp_path / "results.json"
    command = ("evaluate", "small-cnn", "--untrained", "--dense-on", shapes, *PAPERS, "--out", out)
    status, shown, said = call(*command, "--json")
    assert status == 0, said
    rows = json.loads(shown)["results"]
    results = {result.key: result for result in map(Result.from_dict, rows)}
    assert list(results) == ["in_context", "in_context_100", "segment_linear", "overcluster", "overcluster_k5"]
    for result in results.values():
        assert (result.kind, result.on, result.counts["num_test"]) == ("dense", "shapes", 3)
        for score in result.scores.values():
            assert 0 <= score.low <= score.value <= score.high <= 1
            assert score.n == 3
    assert results["in_context_100"].counts["num_patches"] == 96  # 12 of each of eight crops
    details = json.loads((tmp_path / results["in_context"].details).read_text())["protocols"]
    counted = np.array(details["segment_linear"]["confusion"]).sum()
    assert 0 < counted < 3 * 48 * 48  # void is left out
    assert details["overcluster_k5"]["miou_by_run"]
    for key, names in {"in_context": 1, "segment_linear": 2, "overcluster_k5": 2}.items():
        check_resampled(details[key], {name: asdict(score) for name, score in results[key].scores.items()})
        assert len(details[key]["resampled"]) == names
    assert not any("skip_dense" in result.settings for result in results.values())
    assert call(*command)[0] == 0
    assert json.loads(out.read_text())["results"] == rows
    status, shown, _ = call(*command)
    assert "in context 100" in shown
    assert "mIoU, full size" in shown


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_was_measured_before_a_protocol_failed_is_kept_and_shown(tmp_path, call, monkeypatch, interrupted):
    out = tmp_path / "results.json"
    command = ("evaluate", "small-cnn", "--dense-on", write_shapes(tmp_path / "shapes"), *IN_CONTEXT, "--out", out)
    with monkeypatch.context() as patched:
        if interrupted:
            patched.setattr(overcluster, "square_maps", interrupt)
        status, shown, said = call(*command, "--overcluster", 60_000, "--overcluster-px", 48)
    assert status == (130 if interrupted else 1)
    assert ("interrupted; rerun" if interrupted else "cannot be put into 60000 clusters") in said
    (row,) = json.loads(out.read_text())["results"]
    assert (row["protocol"], "in context" in shown) == ("in_context", True)
    assert "in_context" in json.loads((tmp_path / row["details"]).read_text())["protocols"]
    status, shown, said = call(*command, "--overcluster", 3, "--overcluster-px", 48, "--overcluster-runs", 1)
    assert status == 0, said
    rows = json.loads(out.read_text())["results"]
    assert [one["protocol"] for one in rows] == ["in_context", "overcluster"]
    assert rows[0]["scores"] == row["scores"]


def test_squares_of_a_single_patch(tmp_path, call):
    """A batch norm that is trained takes no single value a channel; one that is measured does."""
    command = (
        "evaluate",
        "resnet10t",
        "--untrained",
        "--dense-on",
        write_shapes(tmp_path / "shapes"),
        "--device",
        "cpu",
    )
    status, _, said = call(*command, *IN_CONTEXT, "--in-context-px", 32, "--in-context-k", 1, "--out", tmp_path / "out")
    assert status == 0, said


def interrupt(*arguments: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("options", [IN_CONTEXT, LINEAR, CLUSTERS])
def test_one_training_image_and_a_class_of_the_test_images_alone(options, tmp_path, call):
    shapes = write_shapes(tmp_path / "shapes", num_train=1)
    (image,) = (shapes / "labels/train").iterdir()
    labels = np.array(Image.open(image))
    labels[labels == 2] = 0
    Image.fromarray(labels).save(image)
    status, shown, said = call("evaluate", "small-cnn", "--untrained", "--dense-on", shapes, *options, "--json")
    assert status == 0, said
    for row in json.loads(shown)["results"]:
        assert 0 < row["scores"]["miou"]["value"] < 1
    if options is LINEAR:
        assert "shapes has 1 training images: a step has them all, not 128" in said


def test_a_memory_larger_than_all_patches_and_a_tiny_temperature(tmp_path, call):
    shapes = write_shapes(tmp_path / "shapes", num_train=1)
    more = ("--in-context-memory", 10**6, "--in-context-temperature", 1e-4, "--in-context-k", 65_536)
    status, shown, said = call(
        "evaluate", "small-cnn", "--untrained", "--dense-on", shapes, *IN_CONTEXT, *more, "--json"
    )
    assert status == 0, said
    (row,) = json.loads(shown)["results"]
    assert "shapes gives a memory of 72 patches, fewer than the 1000000 asked for: all are used" in said
    assert "shapes has a memory of 72 patches: all of them vote, not 65536" in said
    assert row["counts"]["voters"] == 72
    assert 0 < row["scores"]["miou"]["value"] < 1


def test_a_memory_needs_the_room_of_its_patches(tmp_path, call, monkeypatch):
    """72 patches are 18,864 bytes, twice for a while, however large a memory is asked for."""
    shapes = write_shapes(tmp_path / "shapes", num_train=1)
    command = ("evaluate", "small-cnn", "--untrained", "--dense-on", shapes, *IN_CONTEXT, "--in-context-memory", 10**9)
    free = {"free": 37_727}
    monkeypatch.setattr(dense_features.shutil, "disk_usage", lambda path: type("Usage", (), free))
    status, _, said = call(*command)
    assert status == 1
    assert "they need about 37,728 bytes, its disk has 37,727 bytes free; take fewer images " in said
    assert "images (--in-context-num-train) or a smaller memory (--in-context-memory), or name another disk" in said
    free["free"] += 1
    status, _, said = call(*command)
    assert status == 0, said


@pytest.mark.parametrize(
    ("options", "splits", "message"),
    [
        (IN_CONTEXT, ("test",), "none of the 3 test label maps has a pixel that counts"),
        (LINEAR, ("test",), "none of the 3 test label maps has a pixel that counts"),
        (CLUSTERS, ("test",), "none of the 3 test label maps has a pixel that counts"),
        (LINEAR, ("train",), "none of the 4 training label maps has a pixel that counts"),
        ((*IN_CONTEXT, "--in-context-void", "left-out"), ("train",), "none of the 4 training label maps has a pixel"),
        ((*CLUSTERS, "--overcluster", 109), (), "shapes: 108 patches of 3 test images cannot be put into 109 clusters; "
         "name fewer (--overcluster) or take more images (--overcluster-num-test)"),
        ((*IN_CONTEXT, "--in-context-k", 41), (), "in-context-k is 41; expected at most --in-context-memory, 40"),
        ((*IN_CONTEXT, "--in-context-memory", 50, 50), (), "in-context-memory names a number twice"),
        ((*IN_CONTEXT, "--in-context-stage", 7), (), "--in-context-stage 7: the backbone has stages 0 to 0"),
        ((*LINEAR, "--segment-stage", 7), (), "--segment-stage 7: the backbone has stages 0 to 0"),
        ((*CLUSTERS, "--overcluster-stage", 7), (), "--overcluster-stage 7: the backbone has stages 0 to 0"),
        ((*LINEAR, "--segment-lr", 1e6, "--segment-epochs", 90, "--segment-weight-decay", 1e5), (),
         "the loss is not finite in epoch"),
        (("--skip-dense",), (), "nothing is measured on shapes: every protocol for such sets is skipped; ask for one"),
    ],
)  # fmt: skip
def test_what_does_not_suit_is_refused_in_one_sentence(options, splits, message, tmp_path, call):
    shapes = write_shapes(tmp_path / "shapes")
    for split in splits:
        relabel(shapes, split, 255)
    status, _, said = call("evaluate", "small-cnn", "--untrained", "--dense-on", shapes, *options)
    assert status in (1, 2)
    assert message in said
    assert "Traceback" not in said


@pytest.mark.parametrize("options", [IN_CONTEXT, LINEAR, CLUSTERS])
def test_a_backbone_without_feature_maps_costs_no_work(options, tmp_path, call):
    """An ONNX file, whose features are the mean colour."""
    pixels = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
    means = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    axes = helper.make_tensor("axes", TensorProto.INT64, [2], (2, 3))
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    graph = helper.make_graph([node], "means", [pixels], [means], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    (tmp_path / "means.onnx").write_bytes(model.SerializeToString())
    shapes = write_shapes(tmp_path / "shapes")
    stated = ("--mean", 0.5, 0.5, 0.5, "--std", 0.5, 0.5, 0.5)
    status, _, said = call("evaluate", tmp_path / "means.onnx", *stated, "--dense-on", shapes, *options)
    assert status == 1
    assert "means.onnx is an ONNX file, which gives the features of whole images and nothing else" in said
    assert not (tmp_path / "cache").exists()


def test_a_device_without_room_for_the_memory_is_said(tmp_path, call, monkeypatch):
    def full(*given):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(in_context, "on_device", full)
    shapes = write_shapes(tmp_path / "shapes")
    status, _, said = call("evaluate", "small-cnn", "--untrained", "--dense-on", shapes, *IN_CONTEXT)
    assert status == 1
    assert "no room on cpu for a memory of 40 patches, 10,240 bytes; take a smaller --in-context-memory" in said

"""ONNX files that anyone may have made: good ones are measured, others are one sentence."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from samclr.config.evaluation import TargetConfig
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.errors import ConfigError, EvaluationError
from samclr.evaluation.targets import open_target
from samclr.models.fingerprints import weights_fingerprint
from samclr.models.onnx_file import OnnxBackbone

HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def write(path, shape=("n", 3, "h", "w"), kind=TensorProto.FLOAT, axes=(2, 3), metadata=None):
    """Features are means over `axes`."""
    pixels = helper.make_tensor_value_info("x", kind, shape)
    means = helper.make_tensor_value_info("y", kind, ["n", 3] if axes == (2, 3) else ["n", 3, "w"])
    over = helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0)
    model = helper.make_model(
        helper.make_graph([node], "means", [pixels], [means], [over]), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 10
    helper.set_model_props(model, metadata or {})
    path.write_bytes(model.SerializeToString())
    return path


def test_a_foreign_file_gives_its_features(tmp_path, capsys):
    path = write(tmp_path / "means.onnx")
    target = open_target(str(path), TargetConfig(), False, None)
    assert f"means.onnx does not say how its input was normalised: ImageNet's is assumed ({IMAGENET})" in (
        capsys.readouterr().err
    )
    pixels = torch.rand(5, 3, 7, 9)
    torch.testing.assert_close(target.backbone(pixels), pixels.mean((2, 3)))
    assert (target.model.backbone, target.backbone.input_sizes.width) == ("onnx", 3)
    assert target.backbone.input_sizes.fit(37, "image_px") == 37
    stated = open_target(str(path), TargetConfig(mean=HALF.mean, std=HALF.std), False, None)
    assert (stated.backbone.normalisation, capsys.readouterr().err) == (HALF, "")


def test_files_are_told_apart_by_their_content(tmp_path):
    one, same = OnnxBackbone(write(tmp_path / "a.onnx")), OnnxBackbone(write(tmp_path / "b.onnx"))
    other = OnnxBackbone(write(tmp_path / "c.onnx", ("n", 3, 8, 8)))
    assert weights_fingerprint(one) == weights_fingerprint(same) != weights_fingerprint(other)


def test_an_untrained_onnx_file_is_its_backbone(tmp_path):
    with pytest.raises(ConfigError, match="does not say which backbone its weights belong to; name it with `backbone`"):
        open_target(str(write(tmp_path / "a.onnx")), TargetConfig(), True, 0)
    path = write(tmp_path / "b.onnx", metadata={"backbone": "small-cnn", "stem": "standard"})
    target = open_target(str(path), TargetConfig(), True, 0)
    assert (target.model.backbone, target.name) == ("small-cnn", f"{path} (untrained)")
    with pytest.raises(EvaluationError, match="has the backbone small-cnn, which `backbone` resnet18 contradicts"):
        open_target(str(path), TargetConfig(backbone="resnet18"), False, None)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"shape": (4, 3, "h", "w")}, r"takes x tensor\(float\) \[4, 3, 'h', 'w'\].*expected float pixels \[n 3 h w\]"),
        ({"shape": ("n", 1, "h", "w")}, "expected float pixels"),
        ({"kind": TensorProto.DOUBLE}, r"takes x tensor\(double\)"),
        ({"axes": (2,)}, r"gives \['n', 3, 'w'\]; expected .* features \[n d\]"),
        ({"shape": ("n", 3, 8, 16)}, "takes images of 16x8 px; expected squares"),
        ({"metadata": {"stem": "wide"}}, "a.onnx contradicts itself .it names the stem 'wide'"),
        ({"metadata": {"mean": "[1"}}, "contradicts itself"),
    ],
)
def test_a_file_that_is_no_backbone_is_one_sentence(tmp_path, made, message):
    with pytest.raises(ConfigError, match=message):
        OnnxBackbone(write(tmp_path / "a.onnx", **made))


@pytest.mark.parametrize("content", [b"", b"text\n" * 50, np.random.default_rng(0).bytes(3000)])
def test_a_file_that_is_no_onnx_is_one_sentence(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(ConfigError, match=r"a.onnx is not an ONNX file that onnxruntime can open by itself") as error:
        OnnxBackbone(tmp_path / "a.onnx")
    assert "\n" not in str(error.value)

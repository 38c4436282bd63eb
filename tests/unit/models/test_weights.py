"""Files of weights: foreign ones are one sentence, good ones say what they hold, and what is left over is named."""

import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from samclr.config.evaluation import TargetConfig
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError
from samclr.evaluation.targets import open_target
from samclr.models.backbone import create_backbone, load_pretrained
from samclr.models.weights import open_weights, own_normalisation, read_facts
from samclr.models.weights_files import check_pretrained
from samclr.runs.export import weights_bytes

SMALL = ModelConfig(backbone="small-cnn")
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
NOTHING = TargetConfig()


def small_weights():
    torch.manual_seed(3)
    return create_backbone(SMALL).state_dict()


def nested(depth: int):
    value: dict = {}
    for _ in range(depth):
        value = {"model": value}
    return value


def write(path: Path, what: str) -> None:
    weights = small_weights()
    first = next(iter(weights))
    if what == "a pickle":
        path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    elif what == "a pickle that runs code":
        path.write_bytes(pickle.dumps(Path("x")))
    elif what == "text":
        path.write_text("these are no weights\n" * 100)
    elif what == "nothing":
        path.write_bytes(b"")
    elif what == "noise":
        path.write_bytes(np.random.default_rng(0).bytes(5000))
    elif what == "a huge header":
        path.write_bytes((2**62).to_bytes(8, "little") + b"{}")
    elif what == "a header that is no JSON":
        path.write_bytes((8).to_bytes(8, "little") + b"nonsense")
    elif what == "a folder":
        path.mkdir()
    elif what == "a pipe":
        os.mkfifo(path)
    elif what == "other tensors":
        save(path, {"a": torch.zeros(3), "b.weight": torch.ones(2, 2)})
    elif what == "no tensors":
        save(path, {})
    elif what == "not finite":
        save(path, weights | {first: torch.full_like(weights[first], float("nan"))})
    elif what == "whole numbers":
        save(path, {name: value.to(torch.int64) for name, value in weights.items()})
    elif what == "complex numbers":
        save(path, weights | {first: weights[first].to(torch.complex64)})
    elif what == "one missing":
        save(path, {name: value for name, value in weights.items() if name != first})
    elif what == "one of another shape":
        save(path, weights | {first: weights[first][:1].clone()})
    elif what == "one too many":
        save(path, weights | {"layers.99.weight": torch.zeros(1)})
    elif what == "cut":
        save(path, weights)
        path.write_bytes(path.read_bytes()[:-1000])
    elif what == "a list":
        torch.save([weights], path)
    elif what == "numbers for names":
        torch.save(dict(enumerate(weights.values())), path)
    elif what == "an optimiser's state":
        torch.save({"step": 3, "exp_avg": {"a": torch.zeros(2)}}, path)
    elif what == "deep dictionaries":
        torch.save(nested(300), path)
    elif what == "a sparse tensor":
        torch.save(weights | {first: torch.zeros(3, 3).to_sparse()}, path)
    elif what == "a tensor without numbers":
        torch.save(weights | {first: weights[first].to("meta")}, path)
    elif what == "false metadata":
        save_file(weights, path, {"backbone": "small-cnn", "stem": "wide", "mean": "[1"})


def save(path: Path, weights: dict[str, torch.Tensor]) -> None:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights}, path)


FOREIGN = {
    "a pickle": "holds no weights that can be read|not a complete",
    "a pickle that runs code": "holds no weights that can be read|not a complete",
    "text": "holds no weights that can be read|not a complete",
    "nothing": "holds no weights that can be read|not a complete",
    "noise": "holds no weights that can be read|not a complete",
    "a folder": "a folder without weights",
    "a pipe": "not a regular file",
    "other tensors": "missing: layers.0.weight.* not the backbone's: a, b.weight",
    "no tensors": "holds nothing",
    "not finite": "not finite in layers.0.weight",
    "whole numbers": "layers.0.weight int64, expected float32",
    "complex numbers": "layers.0.weight complex64, expected float32",
    "one missing": "missing: layers.0.weight",
    "one of another shape": r"layers.0.weight \[1, 3, 3, 3\], expected \[32, 3, 3, 3\]",
    "one too many": "not the backbone's: layers.99.weight",
    "cut": "holds no weights that can be read|not a complete",
}
TORCHS = {
    "a list": "holds no weights that can be read",
    "numbers for names": "holds no weights that can be read",
    "an optimiser's state": r"holds step \(int\), exp_avg \(dict\); expected tensors",
    "deep dictionaries": r"holds model \(dict\)",
    "a sparse tensor": r"holds layers.0.weight \(Tensor\); expected",
    "a tensor without numbers": r"holds layers.0.weight \(Tensor\); expected",
}
SAFETENSORS = {
    "a huge header": "not a complete",
    "a header that is no JSON": "not a complete",
    "false metadata": "names the stem 'wide'; expected one of standard",
}


@pytest.mark.parametrize(
    ("what", "suffix", "message"),
    [(what, suffix, text) for what, text in FOREIGN.items() for suffix in (".safetensors", ".pt")]
    + [(what, ".pt", text) for what, text in TORCHS.items()]
    + [(what, ".safetensors", text) for what, text in SAFETENSORS.items()],
)
def test_foreign_weights_are_one_sentence(what, suffix, message, tmp_path, call):
    path = tmp_path / f"weights{suffix}"
    write(path, what)
    with pytest.raises(ConfigError, match=message) as caught:
        load_pretrained(create_backbone(SMALL), replace(SMALL, pretrained=str(path)))
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match=message):
        open_target(str(path), TargetConfig(backbone="small-cnn"), False, None)


@pytest.mark.parametrize("what", ["text", "cut", "other tensors", "an optimiser's state", "missing"])
def test_the_commands_end_in_one_sentence(what, tmp_path, call, scenes):
    path = tmp_path / "weights.pt"
    write(path, what)
    train = ("pretrain", "simclr", "--scenes", scenes, "--out", tmp_path / "run", "--backbone", "small-cnn")
    for command in ((*train, "--pretrained", path), ("evaluate", path, "--backbone", "small-cnn", "--on", scenes)):
        status, _, said = call(*command)
        assert status in (1, 2)
        assert "unexpected" not in said
        assert "Traceback" not in said
    assert not (tmp_path / "run").exists() or not list((tmp_path / "run").glob("*.pt"))


def test_half_precision_and_weights_without_counters_are_taken(tmp_path):
    weights = {name: value for name, value in small_weights().items() if "num_batches" not in name}
    save(tmp_path / "half.pt", {name: value.to(torch.bfloat16) for name, value in weights.items()})
    backbone = create_backbone(SMALL)
    load_pretrained(backbone, replace(SMALL, pretrained=str(tmp_path / "half.pt")))
    loaded = backbone.state_dict()
    assert all(torch.equal(loaded[name], value.to(torch.bfloat16).float()) for name, value in weights.items())
    assert loaded["layers.0.weight"].dtype == torch.float32


@pytest.mark.parametrize(
    "name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050", "deit_tiny_distilled_patch16_224"]
)
def test_timms_classifier_is_left_out_and_said(name, tmp_path, capsys):
    save_file(timm.create_model(name).state_dict(), tmp_path / "timms.safetensors")
    target = open_target(str(tmp_path / "timms.safetensors"), TargetConfig(backbone=name), False, None)
    said = capsys.readouterr().err
    assert "the classifier is left out (" in said
    assert "does not say how its input was normalised" in said
    assert target.model.mean == timm.get_pretrained_cfg(name).mean


def test_of_several_sets_of_weights_one_is_said_to_be_used(tmp_path):
    own = create_backbone(SMALL).state_dict()
    other = {name: torch.zeros_like(value) for name, value in own.items()}
    torch.save({"state_dict_ema": other, "state_dict": own, "epoch": 3}, tmp_path / "w.pth")
    found = open_weights(tmp_path / "w.pth")
    assert all(torch.equal(found.tensors[name], value) for name, value in own.items())
    assert found.remarks == ("taken from state_dict, not state_dict_ema",)


def test_a_deeper_networks_weights_are_not_half_taken(tmp_path):
    save_file(timm.create_model("resnet34", num_classes=0).state_dict(), tmp_path / "deep.safetensors")
    with pytest.raises(ConfigError, match=r"do not fit resnet18 .*not the backbone's: layer1.2.bn1.bias, "):
        open_target(str(tmp_path / "deep.safetensors"), TargetConfig(backbone="resnet18"), False, None)


def test_weights_of_another_size_are_told_by_it(tmp_path):
    save_file(timm.create_model("gmlp_ti16_224").state_dict(), tmp_path / "gmlp.safetensors")
    name, given = str(tmp_path / "gmlp.safetensors"), TargetConfig(backbone="gmlp_ti16_224")
    with pytest.raises(ConfigError) as refused:
        open_target(name, given, False, None, image_px=128)
    assert str(refused.value).endswith(
        "; they are for images of 224 px, so give images of that size (pretrain: `size_px` 224; otherwise: `image_px` "
        "224), and no other `input_px`"
    )
    assert open_target(name, given, False, None, image_px=224).backbone.input_sizes.width == 128
    with pytest.raises(ConfigError, match="name the right ones with `backbone` and `stem`"):
        open_target(name, TargetConfig(backbone="gmlp_s16_224"), False, None, image_px=224)


def test_a_folder_of_hugging_faces_layout_says_what_it_holds(tmp_path):
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    timm.models.save_for_hf(model, str(tmp_path / "hf"), safe_serialization=True)
    for path in (tmp_path / "hf", tmp_path / "hf" / "model.safetensors"):
        facts = read_facts(path)
        assert (facts.backbone, facts.stem, facts.normalisation) == ("vit_tiny_patch16_224", "standard", HALF)
        target = open_target(str(path), NOTHING, False, None)
        assert target.backbone.normalisation == HALF
        assert torch.equal(target.backbone.norm.weight, model.norm.weight)
    (tmp_path / "hf/model.safetensors").unlink()
    with pytest.raises(ConfigError, match="the folder is incomplete"):
        open_target(str(tmp_path / "hf"), NOTHING, False, None)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (ModelConfig(backbone="vit_tiny_patch16_224"), IMAGENET),  # random weights, whatever timm's were trained with
        (ModelConfig(backbone="vit_tiny_patch16_224", pretrained="timm"), HALF),
        (ModelConfig(backbone="vit_small_patch16_224.dino", pretrained="timm"), IMAGENET),
        (ModelConfig(backbone="tf_efficientnet_lite0", pretrained="timm"), HALF),
        (ModelConfig(backbone="resnet18", pretrained="timm", mean=HALF.mean, std=HALF.std), HALF),
        (SMALL, IMAGENET),
    ],
)
def test_who_decides_the_normalisation(model, expected):
    assert own_normalisation(model) == (expected, None)
    assert create_backbone(model).normalisation == expected


def test_a_tag_that_timm_does_not_know_is_one_sentence():
    for make in (own_normalisation, create_backbone):
        with pytest.raises(ConfigError, match=r"no weights 'foo' of resnet18; expected one of resnet18, resnet18\.a1_"):
            make(ModelConfig(backbone="resnet18.foo", pretrained="timm"))


@pytest.mark.parametrize("mean", ["[0.5]", '"half"', "null", "[1e999, 0, 0]", "3", "[" * 100_000])
def test_a_normalisation_that_cannot_be_is_refused(mean, tmp_path):
    facts = {"backbone": "small-cnn", "stem": "standard", "mean": mean, "std": "[1, 1, 1]"}
    save_file(small_weights(), tmp_path / "x.safetensors", facts)
    with pytest.raises(ConfigError, match="is not a complete file of weights"):
        read_facts(tmp_path / "x.safetensors")


def test_what_two_options_state_is_checked():
    for change, message in (
        ({"mean": (0.5, 0.5, 0.5)}, "mean is given alone"),
        ({"std": (0.5, 0.5, 0.5)}, "std is given alone"),
        ({"mean": (0.0, 0.0, 0.0), "std": (0.5, 0.0, 0.5)}, r"std is .*; expected three"),
        ({"mean": (float("nan"), 0.0, 0.0), "std": (0.5, 0.5, 0.5)}, r"mean is .*; expected three"),
    ):
        for kind in (ModelConfig, TargetConfig):
            with pytest.raises(ConfigError, match=message):
                kind(**change)


@pytest.fixture
def old(tmp_path):
    return Path(__file__).parents[2] / "formats/0.1/exported/backbone.safetensors"


def test_an_export_of_the_first_version_needs_no_option(old, capsys):
    target = open_target(str(old), NOTHING, False, None)
    assert target.facts() == {
        "backbone": "small-cnn",
        "stem": "standard",
        "mean": [*IMAGENET.mean],
        "std": [*IMAGENET.std],
    }
    assert torch.equal(target.backbone.state_dict()["layers.0.weight"], load_file(old)["layers.0.weight"])
    assert capsys.readouterr().err == ""
    floor = open_target(str(old), NOTHING, True, 5)
    assert (floor.seed, floor.name) == (5, f"{old} (untrained)")
    assert not torch.equal(floor.backbone.layers[0].weight, target.backbone.layers[0].weight)


@pytest.mark.parametrize(
    ("target", "given", "untrained", "message"),
    [
        ("old", {"backbone": "resnet18"}, False, "has the backbone small-cnn, which `backbone` resnet18 contradicts"),
        ("old", {"stem": "conv3x3-stride1"}, False, "the stem standard, which `stem` conv3x3-stride1 contradicts"),
        (
            "old",
            {"mean": HALF.mean, "std": HALF.std},
            False,
            "the mean 0.485 0.456 0.406, which `mean` 0.5 0.5 0.5 contra",
        ),
        (
            "resnet18",
            {"backbone": "resnet34"},
            True,
            "has the backbone resnet18, which `backbone` resnet34 contradicts",
        ),
        ("resnet18", {"stem": "conv3x3-stride1"}, False, r"leave it out; an untrained one \(`untrained`\) may have it"),
        ("small-cnn", {"stem": "conv3x3-stride1"}, True, "small-cnn has no stem conv3x3-stride1"),
        ("no-such-thing", {}, False, "is not a run directory, a file of weights or a timm model"),
    ],
)
def test_what_contradicts_a_target_is_refused(target, given, untrained, message, old):
    with pytest.raises(Exception, match=message) as caught:
        open_target(str(old) if target == "old" else target, TargetConfig(**given), untrained, None)
    assert type(caught.value).__name__ in ("EvaluationError", "ConfigError")


def test_a_file_that_says_nothing_needs_its_backbone(tmp_path):
    save_file(small_weights(), tmp_path / "x.safetensors")
    with pytest.raises(Exception, match="does not say which backbone its weights belong to; name it with `backbone`"):
        open_target(str(tmp_path / "x.safetensors"), NOTHING, False, None)


def test_stem_and_seed_make_the_untrained_model(capsys):
    plain, wide, other = (
        open_target("resnet18", TargetConfig(stem=stem), True, seed)
        for stem, seed in ((None, None), ("conv3x3-stride1", None), (None, 1))
    )
    assert wide.backbone.conv1.kernel_size == (3, 3)
    assert [target.seed for target in (plain, wide, other)] == [0, 0, 1]
    assert (plain.name, wide.name) == ("resnet18 (untrained)", "resnet18, stem conv3x3-stride1 (untrained)")
    assert not torch.equal(plain.backbone.conv1.weight, other.backbone.conv1.weight)
    assert plain.backbone.normalisation == IMAGENET


def test_timm_has_no_weights_of_some(capsys):
    with pytest.raises(ConfigError, match="timm has no trained weights of resnetblur18"):
        open_target("resnetblur18", NOTHING, False, None)


def test_a_flipped_bit_in_an_exported_file_is_noticed(tmp_path):
    backbone = create_backbone(ModelConfig(backbone="small-cnn"))
    whole = weights_bytes(backbone, {"backbone": "small-cnn", "stem": "standard"})
    path, random = tmp_path / "x.safetensors", np.random.default_rng(0)
    path.write_bytes(whole)
    assert read_facts(path).backbone == "small-cnn"
    for place in (*random.integers(len(whole), size=30), *random.integers(1000, size=30)):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        if b'"checksum"' in damaged[:2000]:  # else its name was hit, and nothing else
            with pytest.raises(ConfigError, match="is not a complete file of weights"):
                read_facts(path)


def test_a_run_and_its_checkpoint_are_refused_with_the_remedy():
    run = Path(__file__).parents[2] / "formats/0.1/run"
    for path, what in ((run, "a run directory"), (next(run.glob("checkpoint-*.pt")), "a checkpoint of a run")):
        says = f"{path} is {what}, .* its export: `samclr export {run} --out FILE.safetensors`"
        with pytest.raises(ConfigError, match=says):
            check_pretrained(str(path))

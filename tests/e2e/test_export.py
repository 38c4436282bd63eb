"""What an export says of its weights is true: by what its input is normalised, of which size, and of whom it is."""

import json
import stat
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from support.runs import small_config

import samclr
from samclr.config.evaluation import TargetConfig
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import ModelConfig, ViewsConfig
from samclr.errors import RunError
from samclr.evaluation.targets import open_target
from samclr.runs.export import export_run
from samclr.runs.saved import load_config
from samclr.training.pretrain import pretrain

ODD = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
CLAIMS = {"tag", "url", "file", "hf_hub_id", "license", "paper_ids", "paper_name", "origin_url", "description", "notes"}
CLAIMS |= {"test_input_size", "test_crop_pct", "label_names", "label_descriptions", "pool_size"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A ViT of timm's that other numbers were trained with, at random: once with ImageNet's, once with stated ones."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "scenes").mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"scenes/{number}.png")
    config = replace(small_config(folder / "scenes", recipe="simclr", steps=1), views=ViewsConfig(strategy="image"))
    config = replace(config, group=replace(config.group, size_px=32))
    for name, more in (("plain", {}), ("odd", {"mean": ODD.mean, "std": ODD.std})):
        model = ModelConfig(backbone="vit_tiny_patch16_224", **more)
        pretrain(replace(config, model=model), folder / name)
    return folder


@pytest.mark.parametrize(("name", "own"), [("plain", IMAGENET), ("odd", ODD)])
def test_the_normalisation_stands_in_all_that_is_written(runs, name, own, tmp_path):
    run = runs / name
    assert load_config(run).model.normalisation == own
    assert samclr.load_backbone(run).normalisation == own
    for layout, file in (("timm", "a.safetensors"), ("onnx", "a.onnx"), ("huggingface", "hf")):
        export_run(run, tmp_path / file, layout)
    with safe_open(tmp_path / "a.safetensors", "pt") as opened:
        facts = opened.metadata()
    assert facts.pop("checksum")  # of the file, which ONNX has none of
    assert onnxruntime.InferenceSession(tmp_path / "a.onnx").get_modelmeta().custom_metadata_map == facts
    assert (json.loads(facts["mean"]), json.loads(facts["std"])) == ([*own.mean], [*own.std])
    assert (facts["backbone"], facts["stem"]) == ("vit_tiny_patch16_224", "standard")
    for card in ("a.md", "hf/README.md"):
        assert f"normalised with mean {own.mean} and deviation {own.std}" in (tmp_path / card).read_text()
    pixels = torch.rand(2, 3, 32, 32)
    expected = samclr.load_backbone(run)(own(pixels))
    for file in ("a.safetensors", "hf"):
        target = open_target(str(tmp_path / file), TargetConfig(), False, None)
        assert target.backbone.normalisation == own
        torch.testing.assert_close(target.backbone(target.backbone.normalisation(pixels)), expected)


def test_an_onnx_file_may_have_any_name_that_files_have(runs, tmp_path, call):
    name = "x\udcff\x1b[2J.onnx"  # is not UTF-8, and holds what a terminal would obey
    status, shown, _ = call("export", runs / "plain", "--layout", "onnx", "--out", tmp_path / name)
    assert status == 0
    assert shown.startswith("onnxruntime.InferenceSession(")
    assert shown.strip().isprintable()
    assert onnxruntime.InferenceSession((tmp_path / name).read_bytes()).get_inputs()[0].name == "pixels"


@pytest.mark.parametrize(("name", "own"), [("plain", IMAGENET), ("odd", ODD)])
def test_hugging_face_feeds_it_as_it_was_trained(runs, name, own, tmp_path):
    from transformers import AutoImageProcessor, AutoModel

    export_run(runs / name, tmp_path / "hf", "huggingface")
    saved = json.loads((tmp_path / "hf/config.json").read_text())["pretrained_cfg"]
    assert not CLAIMS & saved.keys()
    assert saved["input_size"] == [3, 32, 32]
    assert (saved["mean"], saved["std"]) == ([*own.mean], [*own.std])
    assert (saved["interpolation"], saved["crop_pct"], saved["num_classes"]) == ("bilinear", 1.0, 0)
    picture = Image.open(runs / "scenes/0.png").resize((32, 32))
    fed = AutoImageProcessor.from_pretrained(tmp_path / "hf")(picture, return_tensors="pt")["pixel_values"]
    pixels = own(torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255)
    torch.testing.assert_close(fed, pixels)
    theirs = AutoModel.from_pretrained(tmp_path / "hf").eval()(fed).pooler_output
    torch.testing.assert_close(theirs.flatten(1), samclr.load_backbone(runs / name)(pixels))


def test_exports_are_equal_and_readable_by_others(runs, tmp_path):
    (tmp_path / "plain").write_text("")
    usual = stat.S_IMODE((tmp_path / "plain").stat().st_mode)
    for number in (0, 1):
        export_run(runs / "odd", tmp_path / f"{number}.safetensors", "timm")
        export_run(runs / "odd", tmp_path / f"hf{number}", "huggingface")
    for file in ("{}.safetensors", "hf{}/model.safetensors", "hf{}/config.json"):
        first, second = (tmp_path / file.format(number) for number in (0, 1))
        assert first.read_bytes() == second.read_bytes()
        assert stat.S_IMODE(first.stat().st_mode) == usual
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_run_directory_is_not_overwritten(runs, tmp_path):
    with pytest.raises(RunError, match=r"holds a config.json of something else; name a new folder with `out`"):
        export_run(runs / "plain", runs / "odd", "huggingface")
    assert load_config(runs / "odd").model.normalisation == ODD


def test_training_is_fed_what_config_json_says(runs):
    """Equal seeds and weights: the views differ by the normalisation alone, and so do the weights after a step."""
    plain, odd = (samclr.load_backbone(runs / name).state_dict() for name in ("plain", "odd"))
    assert not torch.equal(plain["patch_embed.proj.weight"], odd["patch_embed.proj.weight"])

"""Exports: what they say of their weights is true, others load them and get the same features, and so do we."""

import json
import re
import shutil
import stat
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import safetensors.torch
import timm
import torch
import torchvision
import transformers
from PIL import Image
from safetensors import safe_open
from support.runs import small_config
from support.scenes import write_labelled, write_labelled_scenes, write_scenes
from torch import nn

import samclr
from samclr.config import EvaluationData, KnnConfig
from samclr.config.evaluation import EvaluationConfig, TargetConfig
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.config.pretrain import ModelConfig, ViewsConfig
from samclr.errors import ConfigError, EvaluationError, RunError, UsageError
from samclr.evaluation.features import pixel_features
from samclr.evaluation.protocols.fine_tune_spec import FineTuneConfig
from samclr.evaluation.squares import square
from samclr.evaluation.targets import open_target
from samclr.models.backbone import load_pretrained
from samclr.models.sizes import InputSizes
from samclr.runs.export import export_run
from samclr.runs.onnx_export import onnx_content
from samclr.runs.saved import load_config
from samclr.storage.files import read_json, write_json
from samclr.training.pretrain import pretrain

ODD = Normalisation((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
CLAIMS = {"tag", "url", "file", "hf_hub_id", "license", "paper_ids", "paper_name", "origin_url", "description", "notes"}
CLAIMS |= {"test_input_size", "test_crop_pct", "label_names", "label_descriptions", "pool_size"}
FILES = {"timm": "a.safetensors", "huggingface": "hf", "onnx": "o.onnx", "torchvision": "tv.safetensors"}
LAYOUTS = [("vit", "timm"), ("vit", "huggingface"), ("vit", "onnx")]
LAYOUTS += [("resnet", "timm"), ("resnet", "huggingface"), ("resnet", "onnx"), ("large", "torchvision")]
LAYOUTS += [("small", "timm"), ("small", "onnx")]
NAMES = {  # what the printed lines name
    "timm": timm, "torchvision": torchvision, "transformers": transformers, "onnxruntime": onnxruntime,
    "samclr": samclr, "torch": torch, "safetensors": safetensors,
}  # fmt: skip


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Runs of one step: timm's smallest ViT, with ImageNet's normalisation and another, ResNets, and a small-cnn."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "scenes").mkdir()
    for number in range(8):
        Image.fromarray(noise(number, 40, 48, 3)).save(folder / f"scenes/{number}.png")
    config = replace(small_config(folder / "scenes", recipe="simclr", steps=1), views=ViewsConfig(strategy="image"))
    config = replace(config, group=replace(config.group, size_px=32))
    odd = {"mean": ODD.mean, "std": ODD.std}
    for name, backbone, more in (("plain", "test_vit", {}), ("vit", "test_vit", odd)):
        pretrain(replace(config, model=ModelConfig(backbone=backbone, **more)), folder / name)
    pretrain(replace(config, model=ModelConfig(backbone="test_resnet")), folder / "resnet")
    pretrain(replace(config, model=ModelConfig(backbone="resnet18")), folder / "large")
    samclr.segment(write_scenes(folder / "boxes", 8), out=folder / "store", segmenter="felzenszwalb", workers=1)
    regions = small_config(folder / "boxes", folder / "store", steps=1)
    pretrain(replace(regions, group=replace(regions.group, size_px=32)), folder / "small")
    return folder


@pytest.fixture(scope="module")
def exported(runs, tmp_path_factory):
    """The folder with every layout of every run, and the line that each export gave."""
    folder = tmp_path_factory.mktemp("exported")
    Image.fromarray(noise(1, 53, 37, 3)).save(folder / "photo.jpg")
    lines = {}
    for name, layout in LAYOUTS:
        lines[name, layout] = export_run(runs / name, folder / name / FILES[layout], layout)
    return folder, lines


def photo_features(backbone, pixels, image_px=32):
    return pixel_features(backbone, square(pixels, image_px)[None], torch.device("cpu"), backbone.normalisation)


@pytest.mark.parametrize(("name", "own"), [("vit", ODD), ("resnet", IMAGENET)])
def test_the_normalisation_stands_in_all_that_is_written(runs, exported, name, own):
    folder = exported[0] / name
    assert load_config(runs / name).model.normalisation == own
    assert samclr.load_backbone(runs / name).normalisation == own
    with safe_open(folder / "a.safetensors", "pt") as opened:
        facts = opened.metadata()
    assert facts.pop("checksum")  # of the file, which ONNX has none of
    assert onnxruntime.InferenceSession(folder / "o.onnx").get_modelmeta().custom_metadata_map == facts
    assert (json.loads(facts["mean"]), json.loads(facts["std"])) == ([*own.mean], [*own.std])
    assert (facts["backbone"], facts["stem"]) == (load_config(runs / name).model.backbone, "standard")
    for card in ("a.safetensors.md", "o.onnx.md", "hf/README.md"):
        assert f"normalised with mean {own.mean} and deviation {own.std}" in (folder / card).read_text()
    for file in ("a.safetensors", "hf", "o.onnx"):
        assert open_target(str(folder / file), TargetConfig(), False, None).backbone.normalisation == own


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_the_printed_line_loads_it_at_the_trained_size(runs, exported, name, layout):
    pixels = torch.randn(2, 3, 32, 32)
    expected = samclr.load_backbone(runs / name)(pixels).detach()
    *before, last = exported[1][name, layout].split("  # ")[0].split("; ")
    names = dict(NAMES)
    exec("; ".join(before), names)  # the text of our own line
    loaded = eval(last, names)
    if layout == "onnx":
        found = torch.from_numpy(loaded.run(None, {"pixels": pixels.numpy()})[0])
    else:
        model = names.get("backbone", loaded).eval()
        found = model(pixels)
        found = found.pooler_output.flatten(1) if layout == "huggingface" else found
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("name", "layout"), LAYOUTS)
def test_the_program_in_the_card_gives_our_features_of_a_photograph(runs, exported, name, layout, monkeypatch):
    folder = exported[0] / name
    card = folder / "hf/README.md" if layout == "huggingface" else folder / f"{FILES[layout]}.md"
    (program,) = re.findall(r"```python\n(.*?)```", card.read_text(), re.DOTALL)
    (folder / "photo.jpg").write_bytes((exported[0] / "photo.jpg").read_bytes())
    monkeypatch.chdir(folder)
    names = {}
    exec(program, names)
    pixels = np.asarray(Image.open(folder / "photo.jpg"))
    expected = photo_features(samclr.load_backbone(runs / name), pixels)
    torch.testing.assert_close(torch.as_tensor(names["features"]), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size_hw", [(53, 37), (37, 54), (41, 67), (200, 33), (32, 32), (9, 14)])
@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_hugging_face_gives_our_features_of_photographs_of_any_size(runs, exported, name, size_hw):
    pixels = noise(sum(size_hw), *size_hw, 3)
    own, folder = samclr.load_backbone(runs / name), exported[0] / name / "hf"
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    fed = processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(fed, own.normalisation(torch.from_numpy(square(pixels, 32))[None].float() / 255))
    theirs = transformers.AutoModel.from_pretrained(folder).eval()(fed).pooler_output.flatten(1)
    torch.testing.assert_close(theirs, photo_features(own, pixels), rtol=1e-3, atol=1e-4)


def test_the_hugging_face_folder_claims_nothing_of_others_weights(exported):
    saved = json.loads((exported[0] / "vit/hf/config.json").read_text())["pretrained_cfg"]
    assert not CLAIMS & saved.keys()
    assert saved["input_size"] == [3, 32, 32]
    assert (saved["interpolation"], saved["crop_pct"], saved["num_classes"]) == ("bilinear", 1.0, 0)


def test_one_run_and_all_its_exports_give_one_result(runs, exported, tmp_path):
    """kNN on noise, so that any difference in weights or pixels would show."""
    for split, number in (("train", 0), ("test", 40)):
        for index in range(24):
            path = tmp_path / f"noise/{split}/{'ab'[index % 2]}/{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise(number + index, 35 + index, 57, 3)).save(path)
    config = EvaluationConfig(data=EvaluationData(image_px=48), protocols=(KnnConfig(knn_k=3),))
    for name in ("vit", "resnet"):
        scores = []
        for target in (
            runs / name,
            *(exported[0] / name / FILES[layout] for layout in ("timm", "huggingface", "onnx")),
        ):
            results = samclr.evaluate(target, on=tmp_path / "noise", config=config, device="cpu")
            scores.append({result.key: result.scores["top1"] for result in results if result.protocol == "knn"})
        assert scores[0] == scores[1] == scores[2] == scores[3]
        assert 0.0 < scores[0]["knn"].value < 1.0


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_an_onnx_file_takes_images_of_any_size(runs, exported, name):
    session = onnxruntime.InferenceSession(exported[0] / name / "o.onnx")
    assert session.get_inputs()[0].shape == ["n", 3, "h", "w"]
    backbone = samclr.load_backbone(runs / name)
    for shape in ((1, 3, 32, 32), (3, 3, 64, 80), (2, 3, 224, 224)):
        pixels = torch.randn(shape)
        (found,) = session.run(None, {"pixels": pixels.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), backbone(pixels).detach(), rtol=1e-3, atol=1e-4)
    assert "any size that the backbone takes" in exported[1][name, "onnx"]


def test_an_onnx_file_holds_no_path_of_the_machine(exported):
    for name in ("vit", "resnet", "small"):
        content = (exported[0] / name / "o.onnx").read_bytes()
        assert not re.findall(rb"site-packages|\.py\b|/src/", content)


def test_where_a_model_has_no_free_size_the_file_is_for_one(runs, exported, tmp_path, call):
    assert "images of 32 x 32 px alone" in exported[1]["small", "onnx"]
    status, shown, _ = call(
        "export", runs / "small", "--layout", "onnx", "--out", tmp_path / "a.onnx", "--image-px", 40
    )
    assert (status, "images of 40 x 40 px alone" in shown) == (0, True)
    assert "This file takes images of 40 x 40 px alone." in (tmp_path / "a.onnx.md").read_text()
    config = EvaluationConfig(data=EvaluationData(image_px=48))
    with pytest.raises(ConfigError, match=r"a.onnx takes images of 40 px alone; give `image_px` 40"):
        samclr.evaluate(tmp_path / "a.onnx", on=write_labelled(tmp_path / "labelled"), config=config)
    status, _, says = call("export", runs / "small", "--out", tmp_path / "a.safetensors", "--image-px", 40)
    assert (status, "--image-px is for --layout onnx" in says) == (2, True)


def test_what_an_onnx_file_cannot_do_is_one_sentence(runs, exported, tmp_path):
    path = exported[0] / "small/o.onnx"
    config = EvaluationConfig(data=EvaluationData(image_px=32), protocols=(FineTuneConfig(fine_tune=True, tune_px=32),))
    says = "is an ONNX file, which gives the features of whole images and nothing else; for {} name the run, or its"
    with pytest.raises(EvaluationError, match=says.format("fine-tuning")):
        samclr.evaluate(path, on=write_labelled(tmp_path / "labelled"), config=config)
    with pytest.raises(EvaluationError, match=says.format("dense tasks")):
        samclr.evaluate(path, dense_on=write_labelled_scenes(tmp_path / "fields"))
    refused = "o.onnx is an ONNX file, which holds a computation and no weights that torch can load; give the run"
    with pytest.raises(ConfigError, match=refused):
        samclr.load_backbone(path)
    with pytest.raises(ConfigError, match=refused):
        load_pretrained(samclr.load_backbone(runs / "small"), ModelConfig(backbone="small-cnn", pretrained=str(path)))


class Branching(nn.Module):
    """Its path depends on the pixels, which torch cannot write."""

    def forward(self, pixels):
        return pixels.mean((2, 3)) if pixels.sum() > 0 else pixels.amax((2, 3))


class Scaled(nn.Module):
    """Features of any size, none and none at all."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, pixels):
        return pixels.mean((2, 3)) * self.factor


def test_what_cannot_be_an_onnx_file_is_one_sentence():
    made = {"branch": Branching(), "none": Scaled(0.0), "nan": Scaled(float("nan"))}
    for backbone in made.values():
        backbone.input_sizes = InputSizes(name="small-cnn", options=(), width=3)
    with pytest.raises(RunError, match=r"cannot write this backbone as ONNX \(.+\); use `layout` timm or huggingface"):
        onnx_content(made["branch"], {}, 32, 32)
    assert onnx_content(made["none"], {}, 32, 32).difference == 0
    for image_px in (None, 32):
        with pytest.raises(RunError, match="features differ from torch's by nan of the largest; not written"):
            onnx_content(made["nan"], {}, 32, image_px)


def test_what_the_command_refuses_the_library_refuses(runs, tmp_path):
    with pytest.raises(UsageError, match="`image_px` is -5; expected 1 px or more"):
        samclr.export(runs / "small", tmp_path / "a.onnx", layout="onnx", image_px=-5)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file is a file; huggingface writes a folder, name one with `out`"):
        samclr.export(runs / "plain", tmp_path / "file", layout="huggingface")


@pytest.mark.parametrize(("name", "layout"), [(name, layout) for name, layout in LAYOUTS if layout != "onnx"])
def test_load_backbone_takes_exports(runs, exported, name, layout):
    path = exported[0] / name / FILES[layout]
    ours, found = samclr.load_backbone(runs / name), samclr.load_backbone(path)
    assert (found.training, found.normalisation) == (False, ours.normalisation)
    pixels = torch.randn(2, 3, 32, 32)
    assert torch.equal(found(pixels), ours(pixels))
    with pytest.raises(RunError, match="holds one backbone; leave `which` out, or name the run"):
        samclr.load_backbone(path, which="teacher")


def test_exports_are_equal_and_readable_by_others(runs, exported, tmp_path):
    (tmp_path / "plain").write_text("")
    (tmp_path / "folder").mkdir()
    usual, usual_folder = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "folder"))
    for name, layout in LAYOUTS:
        if (name, layout) not in [("small", "onnx"), ("resnet", "onnx")]:  # they take seconds
            export_run(runs / name, tmp_path / "again" / name / FILES[layout], layout)
    again = [path for path in (tmp_path / "again").rglob("*") if path.is_file()]
    assert len(again) == 16
    for path in again:
        first = exported[0] / path.relative_to(tmp_path / "again")
        if path.suffix != ".md":
            assert first.read_bytes() == path.read_bytes()
    for path in exported[0].rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (usual_folder if path.is_dir() else usual)
    assert not list(tmp_path.rglob("*.tmp"))


def test_an_onnx_file_may_have_any_name_that_files_have(runs, tmp_path, call):
    name = "x\udcff\x1b[2J.onnx"  # is not UTF-8, and holds what a terminal would obey
    given = ("--layout", "onnx", "--image-px", 32, "--out", tmp_path / name)
    status, shown, _ = call("export", runs / "small", *given)
    assert status == 0
    assert shown.startswith("onnxruntime.InferenceSession(")
    assert shown.strip().isprintable()
    assert onnxruntime.InferenceSession((tmp_path / name).read_bytes()).get_inputs()[0].name == "pixels"
    status, _, says = call("export", runs / "small", "--out", tmp_path / "weights.bin")
    assert (status, "timm files are known by their names: end it with .safetensors" in says) == (2, True)


def test_the_card_says_what_a_stranger_asks(runs, tmp_path):
    labelled = write_labelled(tmp_path / "labelled")
    config = EvaluationConfig(data=EvaluationData(image_px=32))
    export_run(runs / "small", tmp_path / "before.safetensors", "timm")
    assert "None was measured with these weights." in (tmp_path / "before.safetensors.md").read_text()
    for untrained in (False, True):
        samclr.evaluate(runs / "small", on=labelled, config=config, untrained=untrained)
    export_run(runs / "small", tmp_path / "after.safetensors", "timm")
    card = (tmp_path / "after.safetensors.md").read_text()
    for text in (
        "# small-cnn, pre-trained with samclr",
        "- recipe: samclr. SAMCLR: SimCLR with both views from one region; Missaoui and Yuan, NeurIPS 2023 workshop",
        "- data: 8 images (boxes)",
        "after filtering, made by felzenszwalb (scale 500.0, sigma 0.8, min_size 400)",
        "- steps: 1 of 1 of 8 images each, 8 images in all",
        "- views: 2 of 32 px, all from one region of the image",
        "- start: random weights, seed 0",
        "| labelled | trained, step 1 | 100.0% (73.5 to 100.0) |",
        "| labelled | untrained (floor), seed 0 | ",
    ):
        assert text in card
    assert str(tmp_path) not in card
    assert str(runs) not in card


def test_an_unfinished_run_says_so_first(runs, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(runs / "small", run)
    summary = read_json(run / "summary.json", {})
    write_json(run / "summary.json", summary | {"num_steps": 9}, sealed=True)
    export_run(run, tmp_path / "a.safetensors", "timm")
    card = (tmp_path / "a.safetensors.md").read_text()
    assert "**Unfinished:** training stood at step 1 of 9 when this was exported." in card.split("## Use")[0]


def test_a_folder_of_other_things_is_not_written_to(runs, photo_folder):
    for folder in (runs / "vit", photo_folder):
        before = sorted(folder.iterdir())
        with pytest.raises(RunError, match=r"is not a folder of weights; name a new or empty folder with `out`"):
            export_run(runs / "plain", folder, "huggingface")
        assert sorted(folder.iterdir()) == before
    assert load_config(runs / "vit").model.normalisation == ODD


def test_exports_of_one_name_have_a_card_each(runs, tmp_path):
    export_run(runs / "small", tmp_path / "small.safetensors", "timm")
    first = (tmp_path / "small.safetensors.md").read_text()
    export_run(runs / "small", tmp_path / "small.onnx", "onnx")
    assert (tmp_path / "small.safetensors.md").read_text() == first
    assert "onnxruntime" in (tmp_path / "small.onnx.md").read_text()


def test_training_is_fed_what_config_json_says(runs):
    """Equal seeds and weights: the views differ by the normalisation alone, and so do the weights after a step."""
    plain, odd = (samclr.load_backbone(runs / name).state_dict() for name in ("plain", "vit"))
    assert not torch.equal(plain["patch_embed.proj.weight"], odd["patch_embed.proj.weight"])

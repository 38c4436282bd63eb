"""Weights of any layout: what decides the backbone, what is refused by name, and what is said."""

import argparse
import copy
import json
import runpy
from dataclasses import replace
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
import transformers
from safetensors.torch import save_file
from support.runs import small_config
from support.scenes import write_labelled

import samclr
from samclr.config.anchors import AnchorConfig
from samclr.config.evaluation import TargetConfig
from samclr.config.model_args import argument_texts, parse_arguments
from samclr.config.normalisation import IMAGENET, UNCHANGED, Normalisation
from samclr.config.pretrain import ModelConfig
from samclr.errors import ConfigError
from samclr.evaluation.targets import open_target
from samclr.models.hub import hub_cache
from samclr.models.resolve import resolve_config
from samclr.models.restore import settled, trained_backbone
from samclr.models.weights import read_facts
from samclr.runs.export import export_run
from samclr.runs.saved import load_config

NOTHING = TargetConfig()
TINY = {"embed_dim": 128, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}
TINY_TEXTS = ("depth=2", "embed_dim=128", "img_size=32", "num_heads=2", "patch_size=8")


def tiny_vit(**more) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return timm.create_model("vit_small_patch16_224", num_classes=0, **TINY | more).state_dict()


@pytest.fixture
def dinov2(tmp_path):
    """A folder of a small DINOv2 with patches of 14 px, as transformers writes it."""
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=70, patch_size=14
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "dinov2")
    return tmp_path / "dinov2"


def opened(path, **given):
    return open_target(str(path), TargetConfig(**given), False, None)


class Thing:
    """What a pickle might run."""

    def __reduce__(self):
        return print, ("it ran",)


def test_a_pickle_that_would_run_code_is_refused_by_name_and_a_namespace_is_read(tmp_path, capsys):
    torch.save({"model": tiny_vit(), "args": argparse.Namespace(lr=0.1)}, tmp_path / "good.pth")
    assert opened(tmp_path / "good.pth").model.backbone == "vit_small_patch16_224"
    torch.save({"model": tiny_vit(), "args": Thing()}, tmp_path / "bad.pth")
    with pytest.raises(ConfigError, match=r"bad.pth holds builtins.print, which could run code and is not read"):
        opened(tmp_path / "bad.pth")
    assert "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("blocks.1.mlp.fc2.bias"), "missing: blocks.1.mlp.fc2.bias"),
        (lambda weights: weights.update({"blocks.1.rare": torch.ones(2)}), "not the backbone's: blocks.1.rare"),
        (lambda weights: weights.update({"norm.bias": torch.ones(3)}), r"norm.bias \[3\], expected \[128\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(change, message, tmp_path):
    weights = tiny_vit()
    change(weights)
    torch.save({"state_dict": weights}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=f"do not fit vit_small_patch16_224 .*{message}"):
        opened(tmp_path / "w.pth")


def test_heads_that_tensors_do_not_tell_must_be_stated(tmp_path):
    torch.save(tiny_vit(embed_dim=96), tmp_path / "narrow.pth")
    with pytest.raises(ConfigError, match=r"does not tell its num_heads; state it with `model_args` num_heads=N"):
        opened(tmp_path / "narrow.pth")
    target = opened(tmp_path / "narrow.pth", model_args=("num_heads=3",))
    assert target.backbone.blocks[0].attn.num_heads == 3
    small = tiny_vit(embed_dim=384, num_heads=12)
    small["pos_embed"][:, 0] = 0  # sines and cosines, as MoCo v3's and MAE's: 12 heads, or 6
    torch.save({"state_dict": small}, tmp_path / "small.pth")
    with pytest.raises(ConfigError, match="does not tell its num_heads"):
        opened(tmp_path / "small.pth")


def test_a_stated_backbone_goes_before_the_tensors_not_before_a_config(tmp_path, dinov2):
    torch.save(tiny_vit(), tmp_path / "w.pth")
    target = opened(tmp_path / "w.pth", backbone="vit_base_patch16_224", model_args=TINY_TEXTS)
    assert target.model.backbone == "vit_base_patch16_224"
    assert target.backbone.normalisation == IMAGENET
    with pytest.raises(Exception, match="has the backbone vit_small_patch14_dinov2, which `backbone` resnet18 contr"):
        opened(dinov2, backbone="resnet18")


def test_the_normalisation_of_a_folder_is_its_preprocessors(dinov2, capsys):
    assert opened(dinov2).backbone.normalisation == IMAGENET
    assert "what is published of Hugging Face's DINOv2 layout is assumed" in capsys.readouterr().err
    preprocessor = dinov2 / "preprocessor_config.json"
    own = Normalisation((0.43, 0.411, 0.296), (0.213, 0.156, 0.143))
    preprocessor.write_text(json.dumps({"image_mean": own.mean, "image_std": own.std}))
    assert opened(dinov2).backbone.normalisation == own
    assert samclr.load_backbone(dinov2).normalisation == own
    preprocessor.write_text(json.dumps({"do_normalize": False, "image_mean": own.mean, "image_std": own.std}))
    assert opened(dinov2).backbone.normalisation == UNCHANGED
    preprocessor.unlink()
    assert opened(dinov2, mean=own.mean, std=own.std).backbone.normalisation == own
    assert "assumed" not in capsys.readouterr().err


def test_what_original_files_assume_is_said_and_may_be_stated(tmp_path, capsys):
    torch.save(tiny_vit(), tmp_path / "w.pth")
    assert opened(tmp_path / "w.pth").backbone.normalisation == IMAGENET
    assert "is assumed (mean 0.485 0.456 0.406, std 0.229 0.224 0.225); state another" in capsys.readouterr().err
    half = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert opened(tmp_path / "w.pth", mean=half.mean, std=half.std).backbone.normalisation == half
    assert "assumed" not in capsys.readouterr().err


def test_a_model_type_that_is_no_backbone_is_refused(dinov2):
    config = json.loads((dinov2 / "config.json").read_text())
    (dinov2 / "config.json").write_text(json.dumps(config | {"model_type": "sam"}))
    with pytest.raises(ConfigError, match=r"says model_type sam; expected one of clip, clip_vision_model, convnext, "):
        opened(dinov2)


def test_weights_in_several_files_are_refused(dinov2):
    (dinov2 / "model.safetensors").rename(dinov2 / "model-00001-of-00002.safetensors")
    (dinov2 / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds its weights in several files; expected one"):
        opened(dinov2)


def test_places_are_resampled_to_the_size_a_backbone_is_built_for(tmp_path, capsys):
    torch.save(tiny_vit(), tmp_path / "w.pth")
    model = settled(ModelConfig(backbone="auto", pretrained=str(tmp_path / "w.pth"), input_px=64))
    assert model.model_args == (*TINY_TEXTS[:4], "patch_size=8", "pos_resampling=bicubic-offset")
    capsys.readouterr()
    backbone = trained_backbone(model, 64)
    assert backbone.pos_embed.shape == (1, 65, 128)
    assert "position embeddings resampled from 4x4 to 8x8 patches" in capsys.readouterr().err


def test_the_backbone_of_pretrained_weights_is_settled(tmp_path, capsys):
    torch.save(tiny_vit(), tmp_path / "w.pth")
    auto = ModelConfig(backbone="auto", pretrained=str(tmp_path / "w.pth"))
    model = settled(auto)
    assert (model.backbone, model.stem) == ("vit_small_patch16_224", "standard")
    assert settled(model) == model
    assert "w.pth is taken for vit_small_patch16_224, by its tensors alone; name another" in capsys.readouterr().err
    assert settled(replace(model, pretrained=str(tmp_path / "w.pth"))) == model
    assert capsys.readouterr().err == ""
    with pytest.raises(ConfigError, match=r"w.pth holds weights of vit_small_patch16_224 with stem standard, not conv"):
        settled(replace(auto, stem="conv3x3-stride2"))
    assert settled(ModelConfig(backbone="auto", pretrained="resnet18.a1_in1k")) == ModelConfig(
        backbone="resnet18.a1_in1k", pretrained="timm"
    )
    with pytest.raises(ConfigError, match=r"`pretrained` resnet18.a1_in1k has weights of resnet18, not of resnet34"):
        settled(ModelConfig(backbone="resnet34", pretrained="resnet18.a1_in1k"))
    with pytest.raises(ConfigError, match="`backbone` auto takes that of the weights, and none are named"):
        settled(ModelConfig(backbone="auto"))
    save_file({"a.b": torch.zeros(2)}, tmp_path / "odd.safetensors")
    with pytest.raises(ConfigError, match="does not say which backbone its weights belong to"):
        settled(replace(auto, pretrained=str(tmp_path / "odd.safetensors")))


@pytest.mark.parametrize(
    "text",
    [
        *("patch_size", "=8", "patch size=8", "num_classes=3", "depth=99999", "depths=[2, 99999]", "embed_dim=99999"),
        *("drop_rate=NaN", "drop_rate=-Infinity"),
        *("depth=0", "depth=-1", "embed_dim=0", "num_heads=0", "num_heads=-3", "mlp_ratio=0", "layers=[0, 0]"),
        *("depths=[2, -1]", "channels=[0, 0]", "patch_size=0", "patch_size=[16, 0]", "base_width=-1"),
    ],
)
def test_arguments_that_cannot_be_are_refused(text):
    with pytest.raises(ConfigError, match="model_args has"):
        ModelConfig(model_args=(text,))
    with pytest.raises(ConfigError, match="model_args has"):
        ModelConfig(model_args=("depth=2", "depth=3"))


@pytest.mark.parametrize("text", ["drop_rate=0", "depths=[2, 0, 2]", "init_values=0", "se_ratio=0", "reg_tokens=0"])
def test_numbers_that_some_models_have_are_taken(text):
    assert ModelConfig(model_args=(text,)).model_args == (text,)


def test_a_backbone_that_is_frozen_whole_has_nothing_for_an_anchor():
    config = replace(small_config(Path("scenes")), anchor=AnchorConfig(anchor="feature"))
    for freeze in ("all", 4):  # of the four groups of small-cnn
        frozen = replace(config, model=replace(config.model, freeze=freeze))
        said = f"anchor feature holds patches of a backbone that learns, and freeze {freeze} leaves it nothing to learn"
        with pytest.raises(ConfigError, match=f"{said}; set `anchor` none, or freeze fewer layers"):
            resolve_config(frozen)
        resolve_config(replace(frozen, anchor=AnchorConfig()))
    resolve_config(replace(config, model=replace(config.model, freeze=3)))


def test_arguments_survive_the_way_through_text():
    arguments = {"channels": (64, 128), "depth": 2, "global_pool": "token", "init_values": None, "swiglu_mlp": True}
    assert dict(parse_arguments(argument_texts(arguments))) == arguments


def test_an_argument_that_timm_does_not_know_is_one_sentence():
    config = replace(small_config(Path("scenes")), model=ModelConfig(backbone="resnet18", model_args=("wings=2",)))
    with pytest.raises(ConfigError, match=r"timm .* cannot build resnet18 \(.*wings"):
        resolve_config(config)


def test_a_backbone_larger_than_the_memory_is_refused_before_it_is_built():
    vast = ("embed_dim=16384", "depth=16", "num_heads=16")
    config = replace(small_config(Path("scenes")), model=ModelConfig(backbone="test_vit", model_args=vast))
    with pytest.raises(ConfigError, match=r"the weights of such a test_vit are [\d,]+ GB, and this machine has"):
        resolve_config(config)


@pytest.mark.parametrize("name", ["facebook/dinov2-small", "resnet18"])
def test_without_a_network_the_hub_is_asked_once(name, monkeypatch, tmp_path):
    asked = []

    def unreachable(hub_id, timeout):
        asked.append((hub_id, timeout))
        raise RuntimeError("Name or service not known")

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub, "model_info", unreachable)
    with pytest.raises(ConfigError, match=r"RuntimeError.*name the folder|RuntimeError.*give a file of them"):
        open_target(name, NOTHING, False, None)
    assert [timeout <= 5 for _, timeout in asked] == [True]


def test_a_hub_id_in_the_cache_needs_no_network(dinov2, monkeypatch, tmp_path):
    model = tmp_path / "hub/models--facebook--dinov2-small"
    (model / "refs").mkdir(parents=True)
    (model / "snapshots").mkdir()
    (model / "refs/main").write_text("abc")
    dinov2.rename(model / "snapshots/abc")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    target = open_target("facebook/dinov2-small", NOTHING, False, None)
    assert target.model.pretrained == "facebook/dinov2-small"
    pixels = torch.randn(1, 3, 70, 70)
    assert torch.equal(samclr.load_backbone("facebook/dinov2-small")(pixels), target.backbone(pixels))


def test_dinov2_on_disk_is_trained_resumed_measured_and_taken_out(dinov2, scenes, tmp_path, call, capsys):
    run, labelled = tmp_path / "run", write_labelled(tmp_path / "labelled")
    sizes = ("--size-px", 64, "--global-batch-size", 4, "--steps", 1, "--workers", 1, "--device", "cpu")
    command = ("pretrain", "simclr", "--scenes", scenes, "--out", run, "--pretrained", dinov2, *sizes)
    for _ in range(2):
        status, _, said = call(*command)
        assert status == 0
        assert "vit_small_patch14_dinov2 takes whole patches of 14 px: size_px 64 is rounded to 70" in said
    model = load_config(run).model
    assert model.backbone == "vit_small_patch14_dinov2"
    assert model.normalisation == IMAGENET
    assert "pos_resampling=bicubic" in model.model_args
    assert call("evaluate", run, "--on", labelled, "--image-px", 56, "--skip-linear")[0] == 0
    backbone = samclr.load_backbone(run)
    pixels = torch.randn(2, 3, 98, 98)
    for layout, name in (("timm", "b.safetensors"), ("huggingface", "hf")):
        export_run(run, tmp_path / name, layout)
        assert torch.equal(opened(tmp_path / name).backbone(pixels), backbone(pixels))
    line = export_run(run, tmp_path / "b.safetensors", "timm")
    assert "without pos_resampling, as timm builds it, features of 70 px differ by 0.0e+00" in line
    theirs = eval(line.split(";")[0], {"timm": timm}).eval()
    assert torch.equal(theirs(pixels[..., :70, :70]), backbone(pixels[..., :70, :70]))
    assert not torch.equal(theirs(pixels), backbone(pixels))


def test_a_momentum_encoder_resamples_its_own_places(dinov2):
    backbone = opened(dinov2).backbone
    twin = copy.deepcopy(backbone)
    pixels = torch.randn(1, 3, 98, 98)
    assert torch.equal(twin(pixels), backbone(pixels))
    twin.pos_embed.data.zero_()
    assert not torch.equal(twin(pixels), backbone(pixels))


def test_facts_follow_the_file(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(tiny_vit(), path)
    assert "depth=2" in read_facts(path).model_args
    torch.save(tiny_vit(depth=3), path)
    assert "depth=3" in read_facts(path).model_args


def test_a_clip_of_timms_names_is_not_taken_for_a_dino(tmp_path):
    clip = timm.create_model("vit_small_patch16_224", num_classes=0, pre_norm=True, **TINY).state_dict()
    torch.save(clip, tmp_path / "clip.pth")
    with pytest.raises(ConfigError, match=r"clip.pth does not say which backbone its weights belong to"):
        samclr.load_backbone(tmp_path / "clip.pth")
    named = {"backbone": "vit_small_patch16_224", "model_args": (*TINY_TEXTS, "pre_norm=true")}
    assert opened(tmp_path / "clip.pth", **named).backbone.norm_pre.weight.any()


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"XDG_CACHE_HOME": "/caches"},
        {"HF_HOME": "~/models"},
        {"HF_HOME": "$HOME/models", "XDG_CACHE_HOME": "/caches"},
        {"HUGGINGFACE_HUB_CACHE": "/old"},
        {"HUGGINGFACE_HUB_CACHE": "/old", "HF_HUB_CACHE": "~/$XDG_CACHE_HOME/new", "XDG_CACHE_HOME": "caches"},
    ],
)
def test_the_cache_of_models_is_where_the_hubs_client_keeps_it(variables, monkeypatch):
    for name in ("XDG_CACHE_HOME", "HF_HOME", "HUGGINGFACE_HUB_CACHE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    theirs = runpy.run_path(huggingface_hub.constants.__file__)["HF_HUB_CACHE"]
    assert hub_cache() == Path(theirs)

"""Any timm backbone: its width and the images it takes are found by trying, and what it cannot is told beforehand."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from support.runs import small_config
from support.scenes import write_labelled, write_labelled_scenes

import samclr
from samclr.config import CropProbeConfig, DenseConfig, EvaluationConfig, EvaluationData, FineTuneConfig, TargetConfig
from samclr.config.pretrain import ConfigError, LocalViews, ModelConfig, PretrainConfig, ViewGroup
from samclr.errors import EvaluationError
from samclr.evaluation.sizes import check_dense, fit_evaluation
from samclr.evaluation.targets import open_target
from samclr.methods.create import create_method
from samclr.methods.dino_spec import DinoConfig
from samclr.models.backbone import create_backbone, feature_width, load_pretrained
from samclr.models.sizes import choose_sizes, fit_views
from samclr.runs.saved import load_config
from samclr.training.dry_run import estimate
from samclr.training.pretrain import pretrain

# A small member of each family that needs care, and the size that 64 px becomes.
FAMILIES = {
    "mobilenetv3_small_050": 64,
    "mobilenetv4_conv_small_035": 64,
    "efficientvit_b0": 64,
    "ghostnet_050": 64,
    "lcnet_035": 64,
    "hgnetv2_b0": 64,
    "test_vit_relpos": 64,
    "eva02_tiny_patch14_224": 70,
    "cait_xxs24_224": 64,
    "swin_tiny_patch4_window7_224": 64,
    "flexivit_small": 64,
    "gmixer_12_224": 64,
    "vit_small_patch14_dinov2": 70,
}
LARGE = {"vgg11": 64, "beit_base_patch16_224": 64}
FIXED = "cait_xxs24_224"


def config_for(name: str, size_px: int = 64, **more) -> PretrainConfig:
    return replace(PretrainConfig(), model=ModelConfig(backbone=name), group=ViewGroup(size_px=size_px), **more)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_width_is_the_outputs_and_nothing_is_disturbed(name):
    config = fit_views(config_for(name), tell=False)
    assert config.group.size_px == FAMILIES[name]
    torch.manual_seed(3)
    backbone = create_backbone(config.model, config.group.size_px).eval()
    drawn = torch.rand(1)
    torch.manual_seed(3)
    plain = timm.create_model(name, num_classes=0, **dict(backbone.input_sizes.options))
    assert torch.equal(drawn, torch.rand(1)), "the trials draw random numbers"
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(backbone.buffers(), plain.buffers(), strict=True))
    with torch.no_grad():
        features = backbone(torch.zeros(2, 3, FAMILIES[name], FAMILIES[name]))
    assert features.shape == (2, feature_width(backbone))


@pytest.mark.parametrize("name", LARGE)
def test_the_width_of_large_models(name):
    sizes, px = choose_sizes(name, 64, training=True)
    with torch.device("meta"):
        features = timm.create_model(name, num_classes=0, **dict(sizes.options))(torch.zeros(2, 3, px, px))
    assert (px, tuple(features.shape)) == (LARGE[name], (2, sizes.width))


def test_patches_of_14_px_round_sizes_and_say_so(capsys):
    sizes, px = choose_sizes("vit_small_patch14_dinov2", 128, tell=True)
    assert px == 126
    assert "takes whole patches of 14 px: size_px 128 is rounded to 126" in capsys.readouterr().err
    assert sizes.fit(224, "image_px") == 224
    assert capsys.readouterr().err == ""
    asked = EvaluationConfig(protocols=(CropProbeConfig(crop_probe=True), FineTuneConfig()))
    fitted = fit_evaluation(sizes, asked)
    assert (fitted.data.image_px, fitted.of("crop_probe").crop_px, fitted.of("fine_tune").tune_px) == (126, 126, 128)
    assert capsys.readouterr().err.count("is rounded to 126") == 2


@pytest.mark.parametrize(
    ("name", "px", "input_px", "says"),
    [
        ("inception_v4", 64, None, "inception_v4 does not accept images of 64 px (Calculated padded input size"),
        ("inception_v4", 64, None, "; give `size_px` 96, or name another backbone"),
        ("efficientformer_l1", 128, None, "; give `size_px` 224, or name another backbone"),
        ("qwen3_vit_306m_enc", 64, None, "gives 2x4x2048 for 2 images; expected one vector an image"),
        ("resnet18", 64, 64, "resnet18 cannot be built for a size, here 64 px; leave out `input_px`"),
        ("small-cnn", 64, 64, "small-cnn takes images of any size; leave out `input_px`"),
        (FIXED, 64, 224, "cait_xxs24_224, built for 224 px, does not accept images of 64 px (Input height (64)"),
    ],
)
def test_what_a_backbone_cannot_is_one_sentence(name, px, input_px, says):
    with pytest.raises(ConfigError) as told:
        choose_sizes(name, px, input_px)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_local_views_of_another_size_need_a_backbone_of_any_size():
    config = config_for(FIXED, method=DinoConfig(), local=LocalViews(num_local_views=2, local_size_px=32))
    with pytest.raises(
        ConfigError, match=r"built for 64 px, does not accept images of 32 px .* give `local_size_px` 64"
    ):
        fit_views(config)
    same = replace(config, local=replace(config.local, local_size_px=64))
    assert fit_views(same).model.input_px == 64
    swin = replace(config, model=ModelConfig(backbone="swin_tiny_patch4_window7_224"))
    assert fit_views(swin).groups[1].size_px == 32


def test_a_refused_run_makes_nothing(scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("samclr.training.pretrain.prepare_data", lambda config: pytest.fail("scenes were packed"))
    config = small_config(scenes, recipe="simclr")
    config = replace(config, model=ModelConfig(backbone="inception_v4"), group=replace(config.group, size_px=64))
    for start in (pretrain, estimate):
        with pytest.raises(ConfigError, match="does not accept images of 64 px"):
            start(config, tmp_path / "run")
    knn_on = replace(
        config,
        model=ModelConfig(backbone=FIXED),
        runtime=replace(config.runtime, knn_on=tmp_path),
        evaluation=EvaluationData(image_px=224),
    )
    with pytest.raises(ConfigError, match=r"built for 64 px, does not accept images of 224 px .*; give `image_px` 64"):
        pretrain(knn_on, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_backbone_of_one_size_is_trained_resumed_measured_and_taken_out(scenes, tmp_path, call):
    labelled, fields = write_labelled(tmp_path / "labelled"), write_labelled_scenes(tmp_path / "camvid")
    run, name = tmp_path / "run", "gmixer_12_224"
    config = small_config(scenes, recipe="simclr", steps=1)
    config = replace(config, model=ModelConfig(backbone=name), group=replace(config.group, size_px=32))
    for _ in range(2):
        assert pretrain(config, run).steps_done == 1
    assert load_config(run).model.input_px == 32
    backbone = samclr.load_backbone(run)
    pixels = torch.randn(2, 3, 32, 32)
    assert call("export", run, "--out", tmp_path / "b.safetensors")[0] == 0
    theirs = timm.create_model(name, num_classes=0, img_size=32, checkpoint_path=str(tmp_path / "b.safetensors"))
    assert torch.equal(theirs.eval()(pixels), backbone(pixels))
    assert call("export", run, "--out", tmp_path / "hf", "--layout", "huggingface")[0] == 0
    for weights in ("b.safetensors", "hf"):  # both say the size that they are for
        target = open_target(str(tmp_path / weights), TargetConfig(), False, None)
        assert torch.equal(target.backbone(pixels), backbone(pixels))
    with pytest.raises(EvaluationError, match=r"has the input_px 32, which `input_px` 64 contradicts"):
        open_target(str(tmp_path / "b.safetensors"), TargetConfig(input_px=64), False, None)
    with pytest.raises(ConfigError, match=r"holds weights for images of 32 px, not of 64 px; type `input_px` 32"):
        load_pretrained(backbone, ModelConfig(backbone=name, input_px=64, pretrained=str(tmp_path / "b.safetensors")))
    wanted = ["evaluate", run, "--on", labelled, "--skip-linear"]
    assert call(*wanted, "--image-px", 32)[0] == 0
    status, _, says = call(*wanted)
    assert status == 2
    assert "gmixer_12_224, built for 32 px, does not accept images of 128 px" in says
    status, _, says = call("evaluate", run, "--on", labelled, "--image-px", 32, "--dense-on", fields)
    assert status == 1
    assert "dense tasks need a backbone of any size, such as a ViT or a ResNet" in says


def test_dense_tasks_are_tried_on_images_that_are_no_squares():
    for name in ("resnet10t", "test_vit", "swin_tiny_patch4_window7_224", "small-cnn"):
        check_dense(create_backbone(ModelConfig(backbone=name)), DenseConfig())
    with pytest.raises(EvaluationError, match="does not accept images of 368x352 px"):
        check_dense(create_backbone(ModelConfig(backbone=FIXED)), DenseConfig())


def test_heads_have_the_width_of_the_features():
    config = fit_views(config_for("mobilenetv3_small_050", 32))
    method = create_method(config, 1)
    assert method.online_encoder.backbone.num_features == 288  # timm's word, of a layer before the last
    assert method.online_encoder(torch.zeros(2, 3, 32, 32)).shape == (2, 128)


def test_a_vit_of_older_runs_keeps_its_features():
    """0.1 passed dynamic_img_size alone; padding was added for patches that do not divide an image."""
    backbone = create_backbone(ModelConfig(backbone="test_vit")).eval()
    older = timm.create_model("test_vit", num_classes=0, dynamic_img_size=True).eval()
    older.load_state_dict(backbone.state_dict())
    pixels = torch.from_numpy(np.random.default_rng(0).random((2, 3, 96, 64), np.float32))
    assert torch.equal(backbone(pixels), older(pixels))


@pytest.mark.parametrize("wrong", [0, -1, 10**9])
def test_a_size_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError, match=r"input_px is .*; expected a whole number from 1 to 2048"):
        ModelConfig(input_px=wrong)

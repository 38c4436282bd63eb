"""Small random models of the reference classes, saved in their true layouts: what samclr loads has their features."""

import argparse
import re

import pytest
import timm
import torch
import torchvision
import transformers
from lightly.models import ResNetGenerator
from torch import nn
from torchvision.models.convnext import CNBlockConfig

from samclr.config.evaluation import TargetConfig
from samclr.config.normalisation import IMAGENET, Normalisation
from samclr.evaluation.targets import open_target
from samclr.models.layouts.base import rename
from samclr.models.layouts.known import layout_of

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
CNN = {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 16, 24, 32]}


def vit(**more):
    return transformers.ViTModel(transformers.ViTConfig(**VIT, **more))


def dinov2(**more):
    return transformers.Dinov2Model(transformers.Dinov2Config(**VIT, **more))


def dinov2_with_registers(**more):
    return transformers.Dinov2WithRegistersModel(transformers.Dinov2WithRegistersConfig(**VIT, **more))


def dinov3(**more):
    return transformers.DINOv3ViTModel(transformers.DINOv3ViTConfig(**VIT, num_register_tokens=3, **more))


def clip(**more):
    return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**VIT, **more))


def siglip(**more):
    return transformers.SiglipVisionModel(transformers.SiglipVisionConfig(**VIT, **more))


def convnext():
    return transformers.ConvNextModel(transformers.ConvNextConfig(**CNN))


def dinov3_convnext():
    return transformers.DINOv3ConvNextModel(transformers.DINOv3ConvNextConfig(**CNN))


def resnet(kind: str, hidden: list[int]):
    config = {"embedding_size": 64, "hidden_sizes": hidden, "depths": [1, 2, 1, 1], "layer_type": kind}
    return transformers.ResNetModel(transformers.ResNetConfig(**config))


def class_token(model, pixels):
    return model(pixels, interpolate_pos_encoding=True).last_hidden_state[:, 0]


def pooled(model, pixels):
    return model(pixels).pooler_output.flatten(1)


def pooled_of_vit(model, pixels):
    return model(pixels, interpolate_pos_encoding=True).pooler_output


def first_token(model, pixels):
    return model(pixels).last_hidden_state[:, 0]


HUGGING_FACE = {
    "vit": (vit, class_token, "vit_small_patch16_224", None),
    "vit without biases": (lambda: vit(qkv_bias=False, hidden_act="gelu"), class_token, "vit_small_patch16_224", None),
    "dinov2": (dinov2, first_token, "vit_small_patch14_dinov2", IMAGENET),
    "gated dinov2": (
        lambda: dinov2(use_swiglu_ffn=True), first_token, "vit_giant_patch14_dinov2", IMAGENET,
    ),
    "dinov2 with registers": (dinov2_with_registers, first_token, "vit_small_patch14_reg4_dinov2", IMAGENET),
    "dinov3": (dinov3, first_token, "vit_small_patch16_dinov3", IMAGENET),
    "gated dinov3": (
        lambda: dinov3(use_gated_mlp=True, hidden_act="silu", rope_theta=50.0), first_token,
        "vit_small_plus_patch16_dinov3_qkvb", IMAGENET,
    ),
    "clip": (
        clip, pooled_of_vit, "vit_base_patch32_clip_quickgelu_224",
        Normalisation((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    ),
    "siglip": (
        siglip, pooled_of_vit, "vit_base_patch16_siglip_224", Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ),
    "convnext": (convnext, pooled, "convnext_tiny", IMAGENET),
    "dinov3 convnext": (dinov3_convnext, pooled, "convnext_tiny", IMAGENET),
    "basic resnet": (lambda: resnet("basic", [16, 24, 32, 40]), pooled, "resnet18", IMAGENET),
    "resnet": (lambda: resnet("bottleneck", [32, 48, 64, 80]), pooled, "resnet50", IMAGENET),
}  # fmt: skip


ANY_SIZE = {name: {"interpolate_pos_encoding": True} for name in ("vit", "vit without biases", "clip", "siglip")}
NORMED_LATER = ("clip",)  # transformers norms its class token alone


def scrambled(model: nn.Module) -> nn.Module:
    """Every tensor as if it were trained, those that begin at zero or one too; norms' statistics over 0."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            trained = tensor * (1 + 0.1 * noise) if tensor.ndim == 4 else tensor + 0.1 * noise
            tensor.copy_(noise.abs() + 0.5 if name.endswith("running_var") else trained)
    return model.eval()


@torch.no_grad()
def differences(reference, features, backbone, sides):
    found = []
    for side in sides:
        pixels = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(side))
        expected = features(reference, pixels)
        assert expected.std() > 0.01
        found.append(float((backbone(pixels) - expected).abs().max()))
    return found


@pytest.mark.parametrize("name", HUGGING_FACE)
def test_hugging_faces_models_have_their_features(name, tmp_path, capsys):
    make, features, architecture, normalisation = HUGGING_FACE[name]
    torch.manual_seed(0)
    reference = scrambled(make())
    if name == "dinov3":
        for block in reference.layer if hasattr(reference, "layer") else reference.model.layer:
            block.attention.q_proj.bias.data.zero_()
            block.attention.v_proj.bias.data.zero_()
    reference.save_pretrained(tmp_path / "hf")
    target = open_target(str(tmp_path / "hf"), TargetConfig(), False, None)
    assert target.model.backbone == architecture
    assert max(differences(reference, features, target.backbone, (32, 64, 48))) < 1e-5
    pixels = torch.randn(2, 3, 48, 48)
    with torch.no_grad():
        tokens, maps = (
            reference(pixels, **ANY_SIZE.get(name, {})).last_hidden_state,
            target.backbone.forward_features(pixels),
        )
    if maps.ndim == 3 and name not in NORMED_LATER:  # every patch, as dense tasks take them
        assert float((tokens - maps).abs().max()) < 1e-5
    layout, unsaved = layout_of(reference.state_dict()), reference.state_dict()
    if layout is not None:  # transformers 5 saves some by other names than it has
        own = target.backbone.state_dict()
        renamed = rename(layout, unsaved, reference.config.to_dict()).tensors
        assert all(torch.equal(tensor, own[key]) for key, tensor in renamed.items())
    said = capsys.readouterr().err
    assert "renamed from Hugging Face's" in said
    assert normalisation is None or target.backbone.normalisation == normalisation


VIT_OF_128 = {"embed_dim": 128, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 32}


class Published(nn.Module):
    """A ViT that resamples its position embeddings as facebookresearch/dino and dinov2 do."""

    def __init__(self, offset: float | None, antialias: bool, **more):
        super().__init__()
        self.net = timm.models.vision_transformer.VisionTransformer(
            **VIT_OF_128 | more, num_classes=0, dynamic_img_size=True
        )
        self.offset, self.antialias = offset, antialias

    def interpolate_pos_encoding(self, pos_embed, h0, w0):
        num_places = pos_embed.shape[1] - 1
        side = int(num_places**0.5)
        if h0 * w0 == num_places:
            return pos_embed
        patch_pos_embed = pos_embed[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
        kwargs = {"size": (h0, w0)}
        if self.offset:
            kwargs = {"scale_factor": (float(h0 + self.offset) / side, float(w0 + self.offset) / side)}
        patch_pos_embed = nn.functional.interpolate(patch_pos_embed, mode="bicubic", antialias=self.antialias, **kwargs)
        assert (h0, w0) == patch_pos_embed.shape[-2:]
        return torch.cat([pos_embed[:, :1], patch_pos_embed.permute(0, 2, 3, 1).reshape(1, h0 * w0, -1)], dim=1)

    def forward(self, pixels):
        net = self.net
        x = net.patch_embed(pixels)
        h, w = x.shape[1:3]
        x = torch.cat([net.cls_token.expand(len(x), -1, -1), x.flatten(1, 2)], dim=1)
        x = x + self.interpolate_pos_encoding(self.pos_embed if hasattr(self, "pos_embed") else net.pos_embed, h, w)
        if net.reg_token is not None:
            x = torch.cat([x[:, :1], net.reg_token.expand(len(x), -1, -1), x[:, 1:]], dim=1)
        return net.norm(net.blocks(x))[:, 0]


def published(**more) -> tuple[nn.Module, dict[str, torch.Tensor]]:
    """A model, and its weights by the names of its repository."""
    torch.manual_seed(0)
    model = scrambled(Published(**{"offset": None, "antialias": True} | more))
    weights = {key.removeprefix("net."): value for key, value in model.state_dict().items()}
    return model, weights


def prefixed(prefix: str, weights: dict) -> dict:
    return {f"{prefix}{name}": value for name, value in weights.items()}


DINO_HEAD = {"head.mlp.0.weight": torch.ones(4, 4), "head.last_layer.weight_g": torch.ones(4)}


def dino() -> tuple[nn.Module, dict]:
    """checkpoint.pth of main_dino.py: student, teacher and a Namespace; the student stands first, wrapped by DDP."""
    model, weights = published(offset=0.1, antialias=False)
    other = {name: torch.zeros_like(value) for name, value in weights.items()}
    student = prefixed("module.", prefixed("backbone.", other) | DINO_HEAD)
    teacher = prefixed("backbone.", weights) | DINO_HEAD
    args = argparse.Namespace(arch="vit_small", patch_size=8, lr=0.0005)
    checkpoint = {"student": student, "teacher": teacher, "optimizer": {"state": {}, "param_groups": []}}
    return model, checkpoint | {"epoch": 3, "args": args, "dino_loss": {"center": torch.zeros(1, 4)}}


def dino_alone() -> tuple[nn.Module, dict]:
    """dino_deitsmall16_pretrain.pth: the teacher's backbone alone."""
    return published(offset=0.1, antialias=False)


def ibot() -> tuple[nn.Module, dict]:
    """checkpoint_teacher.pth of iBOT, with the embedding of masked patches."""
    model, weights = published(offset=0.1, antialias=False)
    return model, {"state_dict": prefixed("backbone.", weights | {"masked_embed": torch.ones(1, 128)})}


def dinov2_alone() -> tuple[nn.Module, dict]:
    """dinov2_vits14_pretrain.pth."""
    model, weights = published(offset=0.1, antialias=False, init_values=0.1)
    return model, weights | {"mask_token": torch.ones(1, 128)}


def dinov2_of_training() -> tuple[nn.Module, dict]:
    """teacher_checkpoint.pth of dinov2/train: blocks in chunks, heads beside the backbone."""
    model, weights = dinov2_alone()
    chunked = {re.sub(r"blocks\.(\d+)", r"blocks.0.\1", name): value for name, value in weights.items()}
    return model, {"teacher": prefixed("backbone.", chunked) | {"dino_head.mlp.0.weight": torch.ones(2, 2)}}


def dinov2_of_four_registers() -> tuple[nn.Module, dict]:
    """dinov2_vits14_reg4_pretrain.pth: the class token has a place of its own, as in the repository."""
    torch.manual_seed(0)
    model = Published(None, True, init_values=0.1, reg_tokens=4, no_embed_class=True)
    model.pos_embed = nn.Parameter(torch.randn(1, 17, 128))
    scrambled(model)
    weights = {name.removeprefix("net."): value for name, value in model.state_dict().items()}
    weights["pos_embed"] = model.pos_embed.detach()
    weights["register_tokens"] = weights.pop("reg_token")
    return model, weights | {"mask_token": torch.ones(1, 128)}


def mae() -> tuple[nn.Module, dict]:
    """checkpoint-799.pth of main_pretrain.py: encoder, decoder, and a Namespace."""
    model, weights = published()
    decoder = {"mask_token": torch.ones(1, 1, 64), "decoder_embed.weight": torch.ones(64, 128)}
    decoder |= {"decoder_blocks.0.norm1.weight": torch.ones(64), "decoder_pos_embed": torch.ones(1, 17, 64)}
    args = argparse.Namespace(model="mae_vit_large_patch16", mask_ratio=0.75)
    return model, {"model": weights | decoder, "optimizer": {"state": {}}, "epoch": 799, "args": args}


def moco_v3() -> tuple[nn.Module, dict]:
    """vit-s-300ep.pth.tar of main_moco.py."""
    model, weights = published()
    head = {"head.0.weight": torch.ones(4, 128), "head.1.running_mean": torch.ones(4)}
    base = prefixed("module.base_encoder.", weights | head)
    momentum = {name.replace("base_", "momentum_"): torch.zeros_like(value) for name, value in base.items()}
    return model, {"epoch": 300, "arch": "vit_small", "state_dict": momentum | base, "scaler": {"scale": 1.0}}


def vit_of_torchvision() -> tuple[nn.Module, dict]:
    torch.manual_seed(0)
    model = torchvision.models.VisionTransformer(32, 8, 2, 2, 128, 256)
    model.heads = nn.Identity()
    scrambled(model)
    return model, model.state_dict() | {"heads.head.weight": torch.ones(3, 128), "heads.head.bias": torch.ones(3)}


def convnext_of_torchvision() -> tuple[nn.Module, dict]:
    torch.manual_seed(0)
    blocks = [CNBlockConfig(8, 16, 1), CNBlockConfig(16, 24, 2), CNBlockConfig(24, 32, 1), CNBlockConfig(32, None, 1)]
    model = torchvision.models.ConvNeXt(blocks, num_classes=3)
    scrambled(model)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.classifier[2] = nn.Identity()
    return model, weights


def resnet_of_torchvision() -> tuple[nn.Module, dict]:
    torch.manual_seed(0)
    model = scrambled(torchvision.models.resnet18(num_classes=3))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.fc = nn.Identity()
    return model, weights


def moco_v2() -> tuple[nn.Module, dict]:
    """moco_v2_800ep_pretrain.pth.tar."""
    model, weights = resnet_of_torchvision()
    mlp = {"fc.0.weight": torch.ones(4, 512), "fc.2.weight": torch.ones(4, 4)}
    query = prefixed("module.encoder_q.", {k: v for k, v in weights.items() if not k.startswith("fc.")} | mlp)
    key = {name.replace("encoder_q", "encoder_k"): torch.zeros_like(value) for name, value in query.items()}
    queue = {"module.queue": torch.ones(4, 16), "module.queue_ptr": torch.zeros(1, dtype=torch.int64)}
    return model, {"epoch": 800, "arch": "resnet18", "state_dict": query | key | queue, "optimizer": {"state": {}}}


def simclr_of_lightly() -> tuple[nn.Module, dict]:
    """A LightningModule of lightly's examples: backbone = nn.Sequential(*list(resnet.children())[:-1])."""
    model, _ = resnet_of_torchvision()
    weights = prefixed("backbone.", nn.Sequential(*list(model.children())[:-1]).state_dict())
    head = {"projection_head.layers.0.weight": torch.ones(4, 512)}
    return model, {"epoch": 1, "state_dict": weights | head, "pytorch-lightning_version": "2.6.6"}


def resnet_of_lightly() -> tuple[nn.Module, dict]:
    torch.manual_seed(0)
    model = scrambled(ResNetGenerator("resnet-18"))
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    model.linear = nn.Identity()
    return model, prefixed("backbone.", weights)


def dinov3_of_meta(gated: bool) -> tuple[nn.Module, dict]:
    """dinov3_vits16_pretrain_lvd1689m.pth: transformers' model by the names of dinov3/models/vision_transformer.py."""
    torch.manual_seed(0)
    model = scrambled(dinov3(use_gated_mlp=gated, hidden_act="silu" if gated else "gelu"))
    theirs = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    up, down = ("w2", "w3") if gated else ("fc1", "fc2")
    words = (
        (r"embeddings\.(cls|mask)_token", r"\1_token"),
        (r"embeddings\.register_tokens", "storage_tokens"),
        (r"embeddings\.patch_embeddings\.", "patch_embed.proj."),
        (r"layer\.(\d+)\.", r"blocks.\1."),
        (r"attention\.o_proj", "attn.proj"),
        (r"layer_scale([12])\.lambda1", r"ls\1.gamma"),
        (r"mlp\.gate_proj", "mlp.w1"),
        (r"mlp\.up_proj", f"mlp.{up}"),
        (r"mlp\.down_proj", f"mlp.{down}"),
    )
    weights = {}
    for name, value in theirs.items():
        if ".attention." not in name or ".o_proj." in name:
            for pattern, word in words:
                name = re.sub(pattern, word, name)
            weights[name] = value
    width = VIT["hidden_size"]
    for number in range(VIT["num_hidden_layers"]):
        old, new = f"layer.{number}.attention", f"blocks.{number}.attn.qkv"
        weights[f"{new}.weight"] = torch.cat([theirs[f"{old}.{part}_proj.weight"] for part in "qkv"])
        bias = [theirs[f"{old}.q_proj.bias"], torch.full([width], 7.0), theirs[f"{old}.v_proj.bias"]]
        mask = [torch.ones(width), torch.zeros(width), torch.ones(width)]
        weights |= {f"{new}.bias": torch.cat(bias), f"{new}.bias_mask": torch.cat(mask)}
    weights["mask_token"] = weights["mask_token"][0]
    heads, quarter = VIT["num_attention_heads"], width // VIT["num_attention_heads"] // 4
    assert quarter * 4 * heads == width
    weights["rope_embed.periods"] = 100 ** (2 * torch.arange(quarter) / (2 * quarter))
    return model, weights


def dinov3_of_meta_plain() -> tuple[nn.Module, dict]:
    return dinov3_of_meta(gated=False)


def dinov3_of_meta_gated() -> tuple[nn.Module, dict]:
    return dinov3_of_meta(gated=True)


def dinov3_convnext_of_meta() -> tuple[nn.Module, dict]:
    """dinov3_convnext_tiny_pretrain_lvd1689m.pth: the names of dinov3/models/convnext.py, the last norm twice."""
    torch.manual_seed(0)
    model = scrambled(dinov3_convnext())
    words = (
        (r"stages\.(\d)\.downsample_layers\.", r"downsample_layers.\1."),
        (r"stages\.(\d)\.layers\.", r"stages.\1."),
        (r"depthwise_conv", "dwconv"),
        (r"pointwise_conv", "pwconv"),
        (r"layer_norm", "norm"),
    )
    weights = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("model.")
        for pattern, word in words:
            name = re.sub(pattern, word, name)
        weights[name] = value
    return model, weights | {f"norms.3.{kind}": weights[f"norm.{kind}"] for kind in ("weight", "bias")}


VIT_S, RESNET = "vit_small_patch16_224", "resnet18"
ORIGINALS = {
    dinov3_of_meta_plain: ("vit_small_patch16_dinov3_qkvb", (32, 48), "tensors left over (mask_token, rope_embed"),
    dinov3_of_meta_gated: ("vit_small_plus_patch16_dinov3_qkvb", (32, 48), "renamed from DINOv3's own layout"),
    dinov3_convnext_of_meta: ("convnext_tiny", (32, 64), "from ConvNeXt's own layout; 2 tensors left over (norms)"),
    dino: (VIT_S, (32, 64, 48), "taken from teacher, backbone, not student; 2 tensors left over (head)"),
    dino_alone: (VIT_S, (32, 64, 24), "what is published of a ViT of timm's names layout is assumed"),
    ibot: (VIT_S, (32, 48), "taken from state_dict, backbone; 1 tensor left over (masked_embed)"),
    dinov2_alone: ("vit_small_patch14_dinov2", (32, 64, 24), "1 tensor left over (mask_token)"),
    dinov2_of_training: ("vit_small_patch14_dinov2", (32, 48), "28 of 35 tensors renamed from DINOv2's own layout"),
    dinov2_of_four_registers: ("vit_small_patch14_reg4_dinov2", (32, 64, 24), "1 of 36 tensors renamed"),
    mae: (VIT_S, (32, 48), "over (mask_token, decoder_embed, decoder_blocks, decoder_pos_embed)"),
    moco_v3: (VIT_S, (32, 48), "base_encoder, not momentum_encoder; 32 tensors left over (momentum_encoder)"),
    vit_of_torchvision: (VIT_S, (32,), "from torchvision's ViT layout; 2 tensors left over (heads.head)"),
    convnext_of_torchvision: ("convnext_tiny", (32, 64), "torchvision's ConvNeXt layout; 2 tensors left over"),
    resnet_of_torchvision: (RESNET, (32, 64), "the classifier is left out (fc.weight, fc.bias)"),
    moco_v2: (RESNET, (32, 64), "encoder_q, not encoder_k; 124 tensors left over (encoder_k, queue, queue_ptr)"),
    simclr_of_lightly: (RESNET, (32, 64), "a ResNet as a sequence layout; 1 tensor left over (projection_head)"),
    resnet_of_lightly: (RESNET, (32,), "from lightly's ResNet layout; 2 tensors left over (linear)"),
}


@pytest.mark.parametrize("make", ORIGINALS)
def test_original_files_have_their_features(make, tmp_path, capsys):
    architecture, sides, said = ORIGINALS[make]
    reference, checkpoint = make()
    torch.save(checkpoint, tmp_path / "weights.pth")
    target = open_target(str(tmp_path / "weights.pth"), TargetConfig(), False, None)
    assert target.model.backbone == architecture
    assert target.backbone.normalisation == IMAGENET
    features = (lambda model, pixels: model(pixels).pooler_output) if "dinov3" in make.__name__ else nn.Module.__call__
    assert max(differences(reference, features, target.backbone, sides)) < 1e-5
    assert said in capsys.readouterr().err


PLACES = {"pos_resampling": "bicubic"}
DINOV2 = {"image_size": 518, "patch_size": 14}
LARGE = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
SO400M = {"hidden_size": 1152, "num_hidden_layers": 27, "num_attention_heads": 16, "intermediate_size": 4304}
PUBLISHED = {  # what is on the hub, by its config: timm has it by name, and differs by no more than these
    "vit_base_patch16_224": ("ViT", {}, PLACES | {"norm_eps": 1e-12}),
    "vit_base_patch14_dinov2": ("Dinov2", DINOV2, PLACES),
    "vit_giant_patch14_dinov2": (
        "Dinov2",
        DINOV2 | {"hidden_size": 1536, "num_hidden_layers": 40, "num_attention_heads": 24, "use_swiglu_ffn": True},
        PLACES,
    ),
    "vit_large_patch14_reg4_dinov2": ("Dinov2WithRegisters", DINOV2 | LARGE, {}),
    "vit_base_patch32_clip_quickgelu_224": ("CLIPVision", {}, PLACES),
    "vit_large_patch14_clip_quickgelu_336": ("CLIPVision", LARGE | {"image_size": 336, "patch_size": 14}, PLACES),
    "vit_base_patch16_siglip_224": ("SiglipVision", {}, PLACES | {"act_layer": "gelu_tanh"}),
    "vit_so400m_patch14_siglip_378": (
        "SiglipVision",
        SO400M | {"image_size": 384, "patch_size": 14},
        PLACES | {"act_layer": "gelu_tanh"},
    ),
    "convnext_tiny": ("ConvNext", {}, {"final_norm_eps": 1e-12}),
    "resnet50": ("ResNet", {}, {}),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_models_are_timms_by_name(name):
    kind, settings, arguments = PUBLISHED[name]
    config = getattr(transformers, f"{kind}Config")(**settings)
    with torch.device("meta"):
        weights = getattr(transformers, f"{kind}Model")(config).state_dict()
    assert_is(weights, config.to_dict(), name, arguments)


@pytest.mark.parametrize(
    ("name", "ours"),
    [(name, name) for name in ("resnet34", "resnet101", "wide_resnet50_2", "resnext50_32x4d", "convnext_small")]
    + [("vit_b_16", "vit_base_patch16_224"), ("vit_b_32", "vit_base_patch32_224")],
)
def test_torchvisions_models_are_timms_by_name(name, ours):
    with torch.device("meta"):
        weights = torchvision.models.get_model(name).state_dict()
    assert_is(weights, {}, ours, {})


def assert_is(weights: dict, config: dict, name: str, arguments: dict) -> None:
    layout = layout_of(weights)
    assert layout is not None
    renamed = rename(layout, weights, config)
    assert (renamed.architecture.name, renamed.architecture.arguments) == (name, arguments)
    with torch.device("meta"):
        wanted = timm.create_model(name, num_classes=0).state_dict()
    found = {key: value.shape for key, value in renamed.tensors.items() if not key.startswith("fc.")}
    assert found == {key: value.shape for key, value in wanted.items()}

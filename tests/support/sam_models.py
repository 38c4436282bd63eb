"""Small SAMs of every class: with random weights, or with those of sam-digits."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F

from samclr.regions.sam.model import SamModels, load_sam
from samclr.regions.sam.published import published_network

KINDS = ("sam", "sam_hq", "sam2", "edgetam", "sam3_tracker")
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def as_loaded(net: Any) -> SamModels:
    """What `load_sam` makes of such a model."""
    return SamModels(net, MEAN, STD, published_network(net.config.to_dict(), "a test's model"))


def tiny_sam(kind: str, seed: int = 0) -> Any:
    """A transformers model of 64 px images (EdgeTAM 128) with random weights."""
    import transformers as t

    torch.manual_seed(seed)
    decoder = {"hidden_size": 32, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
    prompt = {"hidden_size": 32, "image_size": 64, "patch_size": 16, "mask_input_channels": 16}
    if kind in ("sam", "sam_hq"):
        vision = {
            "hidden_size": 32, "output_channels": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 64, "patch_size": 4, "window_size": 4, "global_attn_indexes": [1], "mlp_dim": 64,
            "num_pos_feats": 16, "scale": 1.0,
        }  # fmt: skip
        config = t.SamHQConfig if kind == "sam_hq" else t.SamConfig
        extra = {"vit_dim": 32} if kind == "sam_hq" else {}
        model = (t.SamHQModel if kind == "sam_hq" else t.SamModel)(
            config(
                vision_config=vision,
                prompt_encoder_config=prompt | {"patch_size": 4},
                mask_decoder_config=decoder | extra,
            )
        )
    elif kind == "sam2":
        backbone = {
            "hidden_size": 16, "num_attention_heads": 1, "image_size": [64, 64], "blocks_per_stage": [1, 1, 1, 1],
            "embed_dim_per_stage": [16, 32, 64, 128], "num_attention_heads_per_stage": [1, 2, 4, 8],
            "window_size_per_stage": [8, 4, 4, 2], "global_attention_blocks": [],
            "window_positional_embedding_background_size": [4, 4],
        }  # fmt: skip
        vision = {
            "backbone_config": t.Sam2HieraDetConfig(**backbone), "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]], "fpn_hidden_size": 32,
        }  # fmt: skip
        model = t.Sam2Model(
            t.Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
        )
    elif kind == "edgetam":
        vision = {
            "backbone_config": t.TimmWrapperConfig(
                architecture="repvit_m0_9", pretrained=False,
                model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]},
            ),
            "backbone_channel_list": [384, 192, 96, 48], "backbone_feature_sizes": [[32, 32], [16, 16], [8, 8]],
            "fpn_hidden_size": 32,
        }  # fmt: skip
        model = t.EdgeTamModel(
            t.EdgeTamConfig(
                vision_config=vision, prompt_encoder_config=prompt | {"image_size": 128}, mask_decoder_config=decoder
            )
        )
    else:
        backbone = {
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 56, "patch_size": 14, "window_size": 2, "global_attn_indexes": [1], "pretrain_image_size": 56,
        }  # fmt: skip
        vision = {
            "backbone_config": t.Sam3ViTConfig(**backbone), "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        }  # fmt: skip
        model = t.Sam3TrackerModel(
            t.Sam3TrackerConfig(
                vision_config=t.Sam3VisionConfig(**vision),
                prompt_encoder_config=prompt | {"image_size": 56, "patch_size": 14},
                mask_decoder_config=decoder,
            )
        )
    # as in the authors' networks, where one encoding serves pixels and points
    model.prompt_encoder.shared_embedding.load_state_dict(model.shared_image_embedding.state_dict())
    return roughen(model).eval()


def roughen(model: Any) -> Any:
    """Random weights of some size, so that scores and logits differ from point to point."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "mask_decoder" in name or "no_m" in name or "point_embed" in name:
                if weight.dim() > 1:
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 1.5 / weight[0].numel() ** 0.5)
                elif name.endswith("bias"):
                    weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    return model


def digits_sam(kind: str) -> Any:
    """A model of the class with the shipped sam-digits' weights, so that it finds real masks.

    It is as the authors publish theirs, without sam-digits' own epsilon. SAM 2, EdgeTAM and the SAM 3 tracker take the
    decoder, which has the same parts, and instead of their own encoder one that gives sam-digits' features; what SAM
    lacks (object token, fine features, HQ parts) is small and random.
    """
    import transformers as t

    digits = load_sam("sam-digits", torch.device("cpu")).net
    del digits.config.samclr_two_way_eps
    if kind == "sam":
        return digits
    torch.manual_seed(0)
    config = digits.config
    if kind == "sam_hq":
        vision, prompt = config.vision_config.to_dict(), config.prompt_encoder_config.to_dict()
        decoder = config.mask_decoder_config.to_dict() | {"vit_dim": config.vision_config.hidden_size}
        for part in (vision, prompt, decoder):
            part.pop("model_type")
        model: Any = t.SamHQModel(
            t.SamHQConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
        )
        weights = digits.state_dict()
    else:
        model = tiny_sam(kind)
        prompt = config.prompt_encoder_config
        classes = {"sam2": t.Sam2Config, "edgetam": t.EdgeTamConfig, "sam3_tracker": t.Sam3TrackerConfig}
        vision = model.config.vision_config
        vision.fpn_hidden_size, side = config.vision_config.output_channels, prompt.image_embedding_size
        vision.backbone_feature_sizes = [[4 * side] * 2, [2 * side] * 2, [side] * 2]
        model = type(model)(
            classes[kind](
                vision_config=vision,
                prompt_encoder_config={
                    "hidden_size": prompt.hidden_size, "image_size": prompt.image_size, "patch_size": prompt.patch_size,
                    "mask_input_channels": prompt.mask_input_channels,
                },
                mask_decoder_config={
                    name: getattr(config.mask_decoder_config, name)
                    for name in ("hidden_size", "mlp_dim", "num_attention_heads", "iou_head_hidden_dim")
                },
            )
        )  # fmt: skip
        weights = {_name_in_sam2(name): weight for name, weight in digits.state_dict().items()}
        points = [digits.prompt_encoder.point_embed[k].weight for k in range(4)]
        weights["prompt_encoder.point_embed.weight"] = torch.cat(points)
        model.vision_encoder = _DigitsEncoder(digits.vision_encoder)
    own = model.state_dict()
    known = {name: weight for name, weight in weights.items() if name in own and own[name].shape == weight.shape}
    missing = [name for name in own if name not in known and "vision_encoder" not in name]
    with torch.no_grad():
        for name in missing:
            own[name].mul_(0.1)
    model.load_state_dict(known, strict=False)
    assert len(known) > 100, f"{len(known)} weights of sam-digits fit {kind}"
    return model.eval()


def _name_in_sam2(name: str) -> str:
    name = name.replace("mlp.lin1", "mlp.proj_in").replace("mlp.lin2", "mlp.proj_out")
    return (
        name.replace("attn.out_proj", "attn.o_proj")
        .replace("to_image.out_proj", "to_image.o_proj")
        .replace("to_token.out_proj", "to_token.o_proj")
    )


class _DigitsEncoder(torch.nn.Module):
    """sam-digits' image encoder with the outputs of SAM 2's: two fine levels beside the embedding."""

    def __init__(self, encoder: torch.nn.Module):
        super().__init__()
        self.encoder, self.backbone = encoder, torch.nn.Identity()

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> SimpleNamespace:
        embedding = self.encoder(pixel_values).last_hidden_state
        levels = [F.interpolate(embedding, scale_factor=k, mode="bilinear") for k in (4, 2)]
        return SimpleNamespace(fpn_hidden_states=[*levels, embedding], fpn_position_encoding=[*levels, embedding])


def save_sam(model: Any, folder: Path) -> Path:
    """Write the model as save_pretrained does, with its image processor's settings."""
    import transformers as t

    size = model.prompt_encoder.input_image_size
    model.save_pretrained(folder)
    if type(model).__name__ in ("SamModel", "SamHQModel"):
        processor = t.SamImageProcessor(size={"longest_edge": size}, pad_size={"height": size, "width": size})
    else:
        processor = t.Sam2ImageProcessor(size={"height": size, "width": size})
    processor.save_pretrained(folder)
    return folder

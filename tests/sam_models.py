"""Small SAMs of every class with random weights, and an adapter by which the reference generator drives them.

The adapter runs transformers' own decoder, all masks of all points at full size, so it shares nothing with
samclr.regions.sam but the weights.
"""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from segment_anything_hq import SamAutomaticMaskGenerator
from segment_anything_hq.modeling.mask_decoder_hq import MaskDecoderHQ
from segment_anything_hq.modeling.transformer import TwoWayTransformer
from segment_anything_hq.utils.transforms import ResizeLongestSide

from samclr.regions.sam.model import load_sam

KINDS = ("sam", "sam_hq", "sam2", "edgetam", "sam3_tracker")


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

    SAM 2, EdgeTAM and the SAM 3 tracker take the decoder, which has the same parts, and instead of their own encoder
    one that gives sam-digits' features; what SAM lacks (object token, fine features, HQ parts) is small and random.
    """
    import transformers as t

    digits = load_sam("sam-digits", torch.device("cpu")).net
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


def original_hq_decoder(decoder: Any) -> MaskDecoderHQ:
    """The HQ authors' own decoder with a transformers decoder's weights.

    transformers 5.23 cannot be the oracle here: its SamHQMaskDecoder drops the image side that its transformer
    returns and upscales the raw embedding, transposed, instead.
    """
    width, heads = decoder.hidden_size, decoder.transformer.layers[0].self_attn.num_attention_heads
    original = MaskDecoderHQ(
        transformer_dim=width, vit_dim=decoder.compress_vit_conv1.in_channels, iou_head_depth=3,
        transformer=TwoWayTransformer(
            depth=len(decoder.transformer.layers), embedding_dim=width, num_heads=heads,
            mlp_dim=decoder.transformer.layers[0].mlp.lin1.out_features,
        ),
        iou_head_hidden_dim=decoder.iou_prediction_head.proj_in.out_features,
    )  # fmt: skip
    renamed = {}
    for name, weight in decoder.state_dict().items():
        name = re.sub(r"layer_norm(\d)", r"norm\1", name.replace("layer_norm_final_attn", "norm_final_attn"))
        name = name.replace("hq_token", "hf_token").replace("hq_mask_mlp", "hf_mlp")
        for ours, theirs in (("upscale_conv1", "0"), ("upscale_layer_norm", "1"), ("upscale_conv2", "3")):
            name = name.replace(ours, f"output_upscaling.{theirs}")
        for ours, theirs in (
            ("compress_vit", "compress_vit_feat"), ("encoder", "embedding_encoder"), ("mask", "embedding_maskfeature")
        ):  # fmt: skip
            name = re.sub(rf"^{ours}_conv1", f"{theirs}.0", name)
            name = re.sub(rf"^{ours}_norm", f"{theirs}.1", name)
            name = re.sub(rf"^{ours}_conv2", f"{theirs}.3", name)
        if "mlps" in name or "hf_mlp" in name or "iou_prediction_head" in name:
            name = re.sub(r"layers\.(\d)", lambda found: f"layers.{int(found[1]) + 1}", name)
            name = name.replace("proj_in", "layers.0").replace("proj_out", "layers.2")
        renamed[name] = weight
    original.load_state_dict(renamed)
    for module in original.transformer.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = decoder.transformer.layer_norm_final_attn.eps  # the authors left PyTorch's default
    return original.eval()


class _Square:
    """The reference's resize for models that squash every image to a square."""

    def __init__(self, side: int):
        self.side = side

    def apply_image(self, image: np.ndarray) -> np.ndarray:
        return np.array(Image.fromarray(image).resize((self.side, self.side), Image.Resampling.BILINEAR))

    def apply_coords(self, coords: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return coords * (self.side / size[1], self.side / size[0])


class ReferenceModel:
    """Looks like segment_anything_hq's Sam, and is a transformers model."""

    image_format, mask_threshold = "RGB", 0.0

    def __init__(self, net: Any, mean: Any, std: Any):
        self.net, self.device = net, next(net.parameters()).device
        self.side = net.prompt_encoder.input_image_size
        self.square = not hasattr(net.config.vision_config, "use_rel_pos")
        self.mean = 255 * torch.tensor(mean, device=self.device).view(3, 1, 1)
        self.std = 255 * torch.tensor(std, device=self.device).view(3, 1, 1)
        self.image_encoder = _Encoder(self)
        self.prompt_encoder = _Prompts(net)
        self.hq_decoder = original_hq_decoder(net.mask_decoder) if type(net).__name__ == "SamHQModel" else None

    def preprocess(self, pixels: torch.Tensor) -> torch.Tensor:
        pixels = (pixels - self.mean) / self.std
        return F.pad(pixels, (0, self.side - pixels.shape[-1], 0, self.side - pixels.shape[-2]))

    def mask_decoder(
        self, image_embeddings: Any, image_pe: Any, sparse_prompt_embeddings: torch.Tensor, **_: Any
    ) -> Any:
        embedding, other = image_embeddings
        dense = self.net.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1).expand_as(embedding)
        if self.hq_decoder is not None:
            return self.hq_decoder(
                image_embeddings=embedding, image_pe=image_pe, sparse_prompt_embeddings=sparse_prompt_embeddings[0],
                dense_prompt_embeddings=dense, multimask_output=True, hq_token_only=False, interm_embeddings=other,
            )  # fmt: skip
        more = {"high_resolution_features": other} if self.square else {}
        out = self.net.mask_decoder(
            image_embeddings=embedding, image_positional_embeddings=image_pe, multimask_output=True,
            sparse_prompt_embeddings=sparse_prompt_embeddings, dense_prompt_embeddings=dense, **more,
        )  # fmt: skip
        return out[0][0], out[1][0]

    def postprocess_masks(self, masks: torch.Tensor, used: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
        if not self.square:
            masks = F.interpolate(masks, (self.side, self.side), mode="bilinear", align_corners=False)
            masks = masks[..., : used[0], : used[1]]
        return F.interpolate(masks, size, mode="bilinear", align_corners=False)


class _Encoder:
    def __init__(self, owner: ReferenceModel):
        self.owner, self.img_size = owner, owner.side

    def __call__(self, pixels: torch.Tensor) -> Any:
        net = self.owner.net
        if type(net).__name__ == "SamModel":
            return (net.get_image_embeddings(pixels), []), None
        if type(net).__name__ == "SamHQModel":
            return net.get_image_embeddings(pixels), None
        levels = net.get_image_embeddings(pixels)
        return (levels[-1], levels[:-1]), None


class _Prompts:
    def __init__(self, net: Any):
        self.net = net

    def __call__(self, points: Any, boxes: Any, masks: Any) -> Any:
        coords, labels = points
        return self.net.prompt_encoder(coords.float()[None], labels[None], None, None)

    def get_dense_pe(self) -> torch.Tensor:
        return self.net.get_image_wide_positional_embeddings()


def reference_generator(net: Any, mean: Any, std: Any, **settings: Any) -> SamAutomaticMaskGenerator:
    """segment_anything_hq's generator over a transformers model."""
    model = ReferenceModel(net, mean, std)
    generator = SamAutomaticMaskGenerator(model, output_mode="coco_rle", **settings)  # type: ignore[arg-type]
    generator.predictor.transform = _Square(model.side) if model.square else ResizeLongestSide(model.side)  # type: ignore[assignment]
    return generator


__all__ = ["KINDS", "ReferenceModel", "digits_sam", "reference_generator", "save_sam", "tiny_sam"]

"""The authors' own classes and mask generators, with the weights of a transformers model.

`segment-anything` for SAM, `segment-anything-hq` for HQ-SAM, `sam2` for SAM 2. EdgeTAM's public code is sam2's with
another trunk, timm's RepViT; SAM 3's tracker has sam2's prompt encoder and mask decoder, so it is driven by them over
transformers' image encoder (docs/segmenting.md says what of these two was compared by hand).
"""

import re
from functools import partial
from typing import Any

import numpy as np
import segment_anything as sam
import segment_anything_hq as sam_hq
import torch
from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator
from sam2.modeling.backbones.hieradet import Hiera
from sam2.modeling.backbones.image_encoder import FpnNeck, ImageEncoder
from sam2.modeling.position_encoding import PositionEmbeddingSine
from sam2.modeling.sam.mask_decoder import MaskDecoder as MaskDecoder2
from sam2.modeling.sam.transformer import TwoWayTransformer as TwoWayTransformer2
from sam2.modeling.sam2_base import SAM2Base
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
from segment_anything_hq.modeling import ImageEncoderViT as ImageEncoderViTHQ
from segment_anything_hq.modeling import MaskDecoderHQ
from torch import nn
from torchvision.transforms import Normalize, Resize

# transformers' names to the authors', in this order
RENAMED = [
    (r"^shared_image_embedding\.positional_embedding", "{prompts}.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.shared_embedding\.positional_embedding", ""),
    (r"^prompt_encoder\.point_embed\.", "{prompts}.point_embeddings."),
    (r"^prompt_encoder\.mask_embed\.(conv1|layer_norm1|conv2|layer_norm2|conv3)", "{prompts}.mask_downscaling.<\\1>"),
    (r"^prompt_encoder\.", "{prompts}."),
    (r"^mask_decoder\.", "{decoder}."),
    (r"upscale_(conv1|layer_norm|conv2)", "output_upscaling.<upscale_\\1>"),
    (r"\.compress_vit_(conv1|norm|conv2)", ".compress_vit_feat.<\\1>"),
    (r"\.encoder_(conv1|norm|conv2)", ".embedding_encoder.<\\1>"),
    (r"\.mask_(conv1|norm|conv2)", ".embedding_maskfeature.<\\1>"),
    (r"hq_token", "hf_token"),
    (r"hq_mask_mlp", "hf_mlp"),
    (r"layer_norm_final_attn", "norm_final_attn"),
    (r"(?<=layers\.\d\.)layer_norm", "norm"),
    (r"\.o_proj", ".out_proj"),
    (r"no_memory_embedding", "no_mem_embed"),
    (r"^vision_encoder\.backbone\.patch_embed\.projection", "image_encoder.trunk.patch_embed.proj"),
    (r"^vision_encoder\.backbone\.(pos_embed|blocks)", "image_encoder.trunk.\\1"),
    (r"^vision_encoder\.backbone\.timm_model\.", "image_encoder.trunk.body."),
    (r"^vision_encoder\.neck\.convs\.(\d)", "image_encoder.neck.convs.\\1.conv"),
    (r"^vision_encoder\.patch_embed\.projection", "image_encoder.patch_embed.proj"),
    (r"^vision_encoder\.layers\.(\d+)\.(layer_norm)?", "image_encoder.blocks.\\1.\\2"),
    (r"^vision_encoder\.neck\.(conv1|layer_norm1|conv2|layer_norm2)", "image_encoder.neck.<neck_\\1>"),
    (r"^vision_encoder\.", "image_encoder."),
    (r"(?<=blocks\.\d\.)layer_norm", "norm"),
]
NUMBERS = {
    "<conv1>": "0", "<layer_norm1>": "1", "<norm>": "1", "<layer_norm2>": "4", "<conv2>": "3", "<conv3>": "6",
    "<upscale_conv1>": "0", "<upscale_layer_norm>": "1", "<upscale_conv2>": "3",
    "<neck_conv1>": "0", "<neck_layer_norm1>": "1", "<neck_conv2>": "2", "<neck_layer_norm2>": "3",
}  # fmt: skip


def original_generator(net: Any, mean: Any, std: Any, **settings: Any) -> Any:
    """The authors' SamAutomaticMaskGenerator over the authors' network, with the weights of `net`.

    The network is left as its authors wrote it, unless the configuration of `net` states an epsilon of its own.
    """
    kind = net.config.model_type
    settings |= {"output_mode": "coco_rle"}
    if kind == "sam":
        return sam.SamAutomaticMaskGenerator(_original_sam(net, mean, std, hq=False), **settings)
    if kind == "sam_hq":
        return sam_hq.SamAutomaticMaskGenerator(_original_sam(net, mean, std, hq=True), **settings)
    generator = SAM2AutomaticMaskGenerator(_original_sam2(net), **settings)
    predictor, side = generator.predictor, net.prompt_encoder.input_image_size
    predictor._bb_feat_sizes = [tuple(size) for size in net.backbone_feature_sizes]  # the code has those of 1024 px
    resize: nn.Module = Resize((side, side))
    if kind == "sam3_tracker":
        resize = _ResizedLevels(side)
    predictor._transforms.transforms = nn.Sequential(resize, Normalize(mean, std))
    return generator


def original_masks(generator: Any, image: np.ndarray, points_xy: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Low-resolution logits and scores of points [p 2] in the model's pixels, as the authors' predictor gives them."""
    predictor = generator.predictor
    predictor.set_image(image)
    predict = predictor.predict_torch if hasattr(predictor, "predict_torch") else predictor._predict
    labels = torch.ones(len(points_xy), 1, dtype=torch.int)
    _, scores, logits = predict(points_xy[:, None], labels, multimask_output=True, return_logits=True)
    return logits, scores


def _original_sam(net: Any, mean: Any, std: Any, hq: bool) -> Any:
    vision, prompt, decoder = net.config.vision_config, net.config.prompt_encoder_config, net.config.mask_decoder_config
    make = sam_hq.modeling if hq else sam.modeling
    width, side = decoder.hidden_size, prompt.image_embedding_size
    heads = {"transformer_dim": width, "iou_head_depth": 3, "iou_head_hidden_dim": decoder.iou_head_hidden_dim}
    transformer = TwoWayTransformer(
        depth=decoder.num_hidden_layers, embedding_dim=width, mlp_dim=decoder.mlp_dim,
        num_heads=decoder.num_attention_heads,
    )  # fmt: skip
    model = make.Sam(
        image_encoder=(ImageEncoderViTHQ if hq else ImageEncoderViT)(
            depth=vision.num_hidden_layers, embed_dim=vision.hidden_size, img_size=vision.image_size,
            mlp_ratio=vision.mlp_dim / vision.hidden_size, norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=vision.num_attention_heads, patch_size=vision.patch_size, qkv_bias=True, use_rel_pos=True,
            global_attn_indexes=vision.global_attn_indexes, window_size=vision.window_size, out_chans=width,
        ),
        prompt_encoder=PromptEncoder(width, (side, side), (prompt.image_size,) * 2, prompt.mask_input_channels),
        mask_decoder=(
            MaskDecoderHQ(transformer=transformer, vit_dim=vision.hidden_size, **heads)
            if hq
            else MaskDecoder(transformer=transformer, **heads)
        ),
        pixel_mean=[255 * level for level in mean], pixel_std=[255 * level for level in std],
    )  # fmt: skip
    return _with_weights(model, net, "prompt_encoder", "mask_decoder")


def _original_sam2(net: Any) -> Any:
    prompt, decoder, vision = net.config.prompt_encoder_config, net.config.mask_decoder_config, net.config.vision_config
    width = decoder.hidden_size
    model = SAM2Base(
        image_encoder=_original_encoder2(net, vision), memory_attention=nn.Identity(), memory_encoder=nn.Identity(),
        image_size=prompt.image_size, backbone_stride=prompt.patch_size, directly_add_no_mem_embed=True,
        use_high_res_features_in_sam=True, iou_prediction_use_sigmoid=True, pred_obj_scores=True,
        pred_obj_scores_mlp=True,
    )  # fmt: skip
    model.sam_mask_decoder = MaskDecoder2(  # SAM2Base has 2048, 8 and 256 in its code
        transformer=TwoWayTransformer2(
            depth=decoder.num_hidden_layers, embedding_dim=width, mlp_dim=decoder.mlp_dim,
            num_heads=decoder.num_attention_heads,
        ),
        transformer_dim=width, iou_head_hidden_dim=decoder.iou_head_hidden_dim, use_high_res_features=True,
        iou_prediction_use_sigmoid=True, pred_obj_scores=True, pred_obj_scores_mlp=True,
    )  # fmt: skip
    return _with_weights(model, net, "sam_prompt_encoder", "sam_mask_decoder")


def _original_encoder2(net: Any, vision: Any) -> Any:
    """sam2's image encoder over its own Hiera or timm's RepViT; else transformers' with the interface of sam2's."""
    trunk: Any = None
    backbone = getattr(net.vision_encoder, "backbone", None)
    if hasattr(backbone, "blocks"):
        config = vision.backbone_config
        trunk = Hiera(
            embed_dim=config.hidden_size, num_heads=config.num_attention_heads, stages=config.blocks_per_stage,
            global_att_blocks=config.global_attention_blocks, window_spec=config.window_size_per_stage,
            window_pos_embed_bkg_spatial_size=config.window_positional_embedding_background_size,
        )  # fmt: skip
    elif hasattr(backbone, "timm_model"):
        trunk = _TimmTrunk(vision)
    if trunk is None:
        return _TransformersEncoder(net)
    neck = FpnNeck(
        PositionEmbeddingSine(vision.fpn_hidden_size), vision.fpn_hidden_size, vision.backbone_channel_list,
        fpn_top_down_levels=[2, 3], fpn_interp_model="nearest",
    )  # fmt: skip
    return ImageEncoder(trunk, neck, scalp=1)


class _TimmTrunk(nn.Module):
    """The four stages of EdgeTAM's RepViT."""

    def __init__(self, vision: Any):
        super().__init__()
        import timm

        config = vision.backbone_config
        self.body = timm.create_model(config.architecture, pretrained=False, **config.model_args)
        self.channel_list = vision.backbone_channel_list

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        return list(self.body(pixels))


class _TransformersEncoder(nn.Module):
    def __init__(self, net: Any):
        super().__init__()
        self.neck = nn.Identity()
        self.neck.d_model = net.hidden_dim
        self.run = [net.vision_encoder]  # in a list, as its weights are not to be asked for

    def forward(self, pixels: torch.Tensor) -> dict[str, Any]:
        levels = list(self.run[0](pixels).fpn_hidden_states)[:3]
        return {"backbone_fpn": levels, "vision_pos_enc": levels}


class _ResizedLevels(nn.Module):
    """As Sam3Processor of the public sam3 does on a GPU: whole grey levels, resized."""

    def __init__(self, side: int):
        super().__init__()
        self.resize = Resize((side, side))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.resize((pixels * 255).round().to(torch.uint8)) / 255


def _with_weights(model: Any, net: Any, prompts: str, decoder: str) -> Any:
    """Every weight of the authors' model from `net`, save those of parts that see no image alone: the memory's."""
    renamed: dict[str, torch.Tensor] = {}
    for name, weight in net.state_dict().items():
        if name == "prompt_encoder.point_embed.weight":  # one table in SAM 2, four in the authors'
            renamed |= {f"{prompts}.point_embeddings.{k}.weight": row[None] for k, row in enumerate(weight)}
            continue
        for pattern, replacement in RENAMED:
            name = re.sub(pattern, replacement.replace("{prompts}", prompts).replace("{decoder}", decoder), name)
        for word, number in NUMBERS.items():
            name = name.replace(word, number)
        if re.search(r"mlps|hf_mlp|prediction_head|score_head|(transformer|trunk).*\.mlp\.(proj|layers)", name):
            name = re.sub(r"\.layers\.(\d)\.(weight|bias)$", lambda f: f".layers.{int(f[1]) + 1}.{f[2]}", name)
            last = 1 if ".mlp." in name else 2
            name = name.replace("proj_in", "layers.0").replace("proj_out", f"layers.{last}")
        renamed[name] = weight
    own = model.state_dict()
    lacking = {n for n in own if n not in renamed and not re.search(r"mem_pos|maskmem|obj_ptr|mask_downsample\.", n)}
    assert not lacking, f"no weight for {sorted(lacking)[:5]}"
    known = {n: w for n, w in renamed.items() if n in own}
    unused = {n for n in renamed if n not in own and n and not n.startswith("image_encoder.")}
    assert not unused, f"no place for {sorted(unused)[:5]}"
    model.load_state_dict(known, strict=False)
    stated = getattr(net.config, "samclr_two_way_eps", None)
    if stated is not None:
        for layer in getattr(model, decoder).transformer.layers:
            for norm in (layer.norm1, layer.norm2, layer.norm3, layer.norm4):
                norm.eps = stated
    return model.eval()

"""The prompt decoder of every SAM, in the order that automatic mask generation needs: scores first, masks on request.

Weights are those of transformers' `mask_decoder`; the arithmetic is regrouped, which changes float32 results by
rounding only (tests/oracles/test_sam_decoder.py):

1. The first layer's image side is the same for all points of an image, so its projections are made once an image.
2. A projection of all image positions (n x c x d) that only meets a few tokens is folded into the tokens instead:
   (x W) q = x (W q), which costs n x c x (heads * tokens).
3. Upscaling, hypernetworks and HQ convolutions run for points with a surviving mask only. Transposed convolutions
   of stride 2 are matrix products in channels-last order, and the last HQ convolution is folded into its token.

Under autocast only products over all image positions run in half precision. The tokens, a few for each point, stay
float32, and so do the score head and the sums that positions are carried in: they cost next to nothing, and a score
rounded to eight bits falls on the wrong side of the threshold (docs/segmenting.md has the recall).

Shapes: b images, p points an image, t tokens, n image positions, c width, s masks asked for.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True)
class EncodedImages:
    """What the image encoder leaves for the decoder, for b images.

    embedding: [b n c] with the dense (no mask) prompt added. fine: for SAM 2, SAM 3 and EdgeTAM the features
    [b n 4 c/4] and [b n 16 c/8] added while upscaling; for HQ one picture [b side side c/8]; for SAM nothing.
    """

    embedding: Float[Tensor, "b n c"]
    fine: tuple[Tensor, ...] = ()

    def select(self, first: int, last: int) -> "EncodedImages":
        """Images first to last - 1."""
        return EncodedImages(self.embedding[first:last], tuple(level[first:last] for level in self.fine))


@dataclass(frozen=True)
class Prompted:
    """The decoder's state after its transformer: all it takes to score, and to draw, the masks of b x p points."""

    scores: Float[Tensor, "b p masks"]
    mask_tokens: Float[Tensor, "b p tokens c"]
    positions: Float[Tensor, "bp n c"]
    images: EncodedImages


class PromptDecoder:
    """Drives the `mask_decoder` of a SamModel, SamHQModel, Sam2Model, EdgeTamModel or Sam3TrackerModel."""

    def __init__(self, mask_decoder: nn.Module, image_pe: Float[Tensor, "n c"]):
        self.net: Any = mask_decoder  # its sub-modules, like those of any module, have no types
        self.image_pe = image_pe
        self.side = round(image_pe.shape[0] ** 0.5)
        self.is_hq = hasattr(self.net, "hq_token")
        self.masks_per_point = 1 if self.is_hq else self._num_multimask
        leading = [self.net.obj_score_token] if hasattr(self.net, "obj_score_token") else []
        trailing = [self.net.hq_token] if self.is_hq else []
        tokens: list[Any] = [*leading, self.net.iou_token, self.net.mask_tokens, *trailing]
        self.output_tokens = torch.cat([token.weight for token in tokens])
        self.iou_position = len(leading)

    @property
    def mask_px(self) -> int:
        """Side of the square low-resolution masks."""
        return 4 * self.side

    def prompt(self, images: EncodedImages, point_tokens: Float[Tensor, "b p k c"]) -> Prompted:
        """Run the transformer and the score head, nothing more. `point_tokens`: the embedded prompts."""
        b, p = point_tokens.shape[:2]
        tokens = torch.cat([self.output_tokens.expand(b, p, -1, -1), point_tokens], 2)
        tokens_out, positions = self._transformer(tokens, images.embedding)
        with in_float32(tokens):
            scores = self.net.iou_prediction_head(tokens_out[:, :, self.iou_position])[..., 1 : 1 + self._num_multimask]
        first_mask = self.iou_position + 1
        num_mask_tokens = 1 + self._num_multimask + int(self.is_hq)
        return Prompted(scores, tokens_out[:, :, first_mask : first_mask + num_mask_tokens], positions, images)

    @property
    def _num_multimask(self) -> int:
        return int(self.net.num_multimask_outputs)

    # ---- the two-way transformer ----

    def _transformer(
        self, tokens: Float[Tensor, "b p t c"], embedding: Float[Tensor, "b n c"]
    ) -> tuple[Float[Tensor, "b p t c"], Float[Tensor, "bp n c"]]:
        b, p, _, c = tokens.shape
        net = self.net.transformer
        queries, positions = tokens, embedding
        for number, layer in enumerate(net.layers):
            with in_float32(tokens):
                if layer.skip_first_layer_pe:
                    queries = layer.self_attn(query=queries, key=queries, value=queries)[0]
                else:
                    query = queries + tokens
                    queries = queries + layer.self_attn(query=query, key=query, value=queries)[0]
                queries = layer.layer_norm1(queries)
            keys = positions + self.image_pe
            to_image, to_tokens = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
            attend = _tokens_to_shared_image if number == 0 else _tokens_to_image
            seen = attend(to_image, queries + tokens, keys, positions)
            with in_float32(tokens):
                queries = layer.layer_norm2(queries + seen)
                queries = layer.layer_norm3(queries + layer.mlp(queries))
                values = _folded_values(to_tokens, queries)
            weights = (_shared_image_to_tokens if number == 0 else _image_to_tokens)(to_tokens, keys, queries + tokens)
            if number == 0:
                positions = positions[:, None].expand(b, p, -1, -1).reshape(b * p, -1, c)
            positions = _add_product(positions, weights.transpose(1, 2), values) + _out(to_tokens).bias
            positions = layer.layer_norm4(positions)
        last = net.final_attn_token_to_image
        keys = positions + self.image_pe
        queries = queries + _tokens_to_image(last, queries + tokens, keys, positions)
        with in_float32(tokens):
            return net.layer_norm_final_attn(queries), positions

    # ---- masks of chosen points ----

    def masks(
        self, prompted: Prompted, pair: Int[Tensor, " s"], mask: Int[Tensor, " s"]
    ) -> Float[Tensor, "s side side"]:
        """Low-resolution logits of the masks asked for, float32.

        `pair`: point numbers (image * p + point), ascending. `mask`: which of a point's masks, from 0.
        """
        points, position = torch.unique_consecutive(pair, return_inverse=True)
        image = points // prompted.scores.shape[1]
        upscaled = self._upscale(prompted.positions[points], prompted.images, image)
        mask_tokens = prompted.mask_tokens.flatten(0, 1)[pair]
        with in_float32(mask_tokens):
            chosen = torch.stack(
                [self.net.output_hypernetworks_mlps[1 + k](mask_tokens[:, 1 + k]) for k in range(self._num_multimask)]
            )
        weights = chosen[mask, torch.arange(len(mask), device=mask.device)]
        if len(points) < len(pair):
            logits = torch.empty(len(pair), *upscaled.shape[1:3], device=upscaled.device, dtype=upscaled.dtype)
            for k in range(self._num_multimask):  # at most one of each kind a point: no copy of the upscaled features
                rows = torch.nonzero(mask == k).squeeze(1)
                logits[rows] = torch.einsum("snfc,sc->snf", upscaled[position[rows]], weights[rows]).to(logits.dtype)
        else:
            logits = (upscaled.flatten(1, 2) @ weights[:, :, None]).reshape(upscaled.shape[:3])
        logits = self._unfold(logits[..., None])[..., 0].float()
        if self.is_hq:
            with in_float32(mask_tokens):
                hq_weights = self.net.hq_mask_mlp(mask_tokens[:, -1])
            logits = logits + self._hq_logits(upscaled, hq_weights, prompted.images, image).float()
        return logits

    def _upscale(
        self, positions: Float[Tensor, "q n c"], images: EncodedImages, image: Int[Tensor, " q"]
    ) -> Float[Tensor, "q n 16 e"]:
        """Two transposed convolutions; the 4 x 4 fine positions of each coarse one lie in one row, 2 x 2 in 2 x 2."""
        net, add_fine = self.net, len(images.fine) == 2
        middle = _up2(net.upscale_conv1, positions)
        if add_fine:
            middle = middle + images.fine[0][image]
        norm = net.upscale_layer_norm
        middle = F.gelu(F.layer_norm(middle, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        fine = _up2(net.upscale_conv2, middle).flatten(2, 3)
        if add_fine:
            fine = fine + images.fine[1][image]
        return F.gelu(fine)

    def _hq_logits(
        self,
        upscaled: Float[Tensor, "q n 16 e"],
        weights: Float[Tensor, "q e"],
        images: EncodedImages,
        image: Int[Tensor, " q"],
    ) -> Float[Tensor, "q side side"]:
        """hq_weights . (conv2(gelu(norm(conv1(upscaled)))) + hq features), with conv2 folded into the weights."""
        net = self.net
        hidden = net.mask_conv1(self._unfold(upscaled).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        norm = net.mask_norm
        hidden = F.gelu(F.layer_norm(hidden, norm.normalized_shape, norm.weight, norm.bias, norm.eps))
        kernel = torch.einsum("qe,eiyx->qiyx", weights, net.mask_conv2.weight).flatten(2)
        taps = (hidden.flatten(1, 2) @ kernel).unflatten(1, hidden.shape[1:3])
        padded = F.pad(taps, (0, 0, 1, 1, 1, 1))
        side = self.mask_px
        shifted = [padded[:, y : y + side, x : x + side, 3 * y + x] for y in range(3) for x in range(3)]
        logits = torch.stack(shifted).sum(0)
        features = images.fine[0]
        for i in image.unique().tolist():
            mine = image == i
            through = weights[mine] @ features[i].flatten(0, 1).T
            logits[mine] += through.unflatten(1, logits.shape[1:]).to(logits.dtype)
        return logits + (weights @ net.mask_conv2.bias)[:, None, None]

    def _unfold(self, rows: Float[Tensor, "q n 16 e"]) -> Float[Tensor, "q side side e"]:
        """From rows of 4 x 4 fine positions to a picture."""
        s = self.side
        picture = rows.reshape(len(rows), s, s, 2, 2, 2, 2, -1).permute(0, 1, 3, 5, 2, 4, 6, 7)
        return picture.reshape(len(rows), 4 * s, 4 * s, -1)

    def fold(self, picture: Float[Tensor, "q e y x"], levels: int) -> Float[Tensor, "q n fine e"]:
        """From a picture of side * 2^levels to rows of fine positions, the inverse of `_unfold` for levels = 2."""
        q, e, s = len(picture), picture.shape[1], self.side
        if levels == 1:
            return picture.reshape(q, e, s, 2, s, 2).permute(0, 2, 4, 3, 5, 1).reshape(q, s * s, 4, e)
        split = picture.reshape(q, e, s, 2, 2, s, 2, 2)
        return split.permute(0, 2, 5, 3, 6, 4, 7, 1).reshape(q, s * s, 16, e)

    def hq_features(
        self, embedding: Float[Tensor, "b c y x"], early: Float[Tensor, "b y x w"]
    ) -> Float[Tensor, "b side side e"]:
        """HQ's fine features of an image: from its embedding and its encoder's first global layer."""
        net = self.net
        coarse = net.encoder_conv2(F.gelu(net.encoder_norm(net.encoder_conv1(embedding))))
        detail = net.compress_vit_conv1(early.permute(0, 3, 1, 2))
        detail = net.compress_vit_conv2(F.gelu(net.compress_vit_norm(detail)))
        return (coarse + detail).permute(0, 2, 3, 1).contiguous()


def in_float32(tensor: Tensor) -> AbstractContextManager[Any]:
    """No autocast on this tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def _add_product(sums: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """sums + left @ right; under autocast the product is in half precision, the sums are not."""
    if torch.is_autocast_enabled(sums.device.type):
        return sums + torch.bmm(left, right)
    return torch.baddbmm(sums, left, right)


def _up2(convolution: nn.ConvTranspose2d, positions: Tensor) -> Tensor:
    """A transposed convolution of kernel 2 and stride 2 over channels-last positions [... c] -> [... 4 e]."""
    weight = convolution.weight.permute(2, 3, 1, 0).flatten(0, 2)  # [2 2 e, c]
    assert convolution.bias is not None
    return F.linear(positions, weight, convolution.bias.repeat(4)).unflatten(-1, (4, -1))


def _out(attention: Any) -> nn.Linear:
    return attention.out_proj if hasattr(attention, "out_proj") else attention.o_proj


def _heads(attention: Any, projected: Tensor) -> Tensor:
    """[... t d] -> [... heads t d/heads]"""
    return projected.unflatten(-1, (attention.num_attention_heads, -1)).transpose(-3, -2)


def _per_head(attention: Any, projection: nn.Linear) -> Float[Tensor, "heads d c"]:
    return projection.weight.unflatten(0, (attention.num_attention_heads, -1))


def _tokens_to_shared_image(
    attention: Any, queries: Float[Tensor, "b p t c"], keys: Float[Tensor, "b n c"], values: Float[Tensor, "b n c"]
) -> Float[Tensor, "b p t c"]:
    """Tokens look at an image that all points of it share: its projections are made once."""
    p, t = queries.shape[1:3]
    query = _heads(attention, attention.q_proj(queries).flatten(1, 2))  # [b heads p*t d]
    key, value = _heads(attention, attention.k_proj(keys)), _heads(attention, attention.v_proj(values))
    seen = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return _out(attention)(seen.transpose(1, 2).flatten(2)).unflatten(1, (p, t))


def _tokens_to_image(
    attention: Any, queries: Float[Tensor, "b p t c"], keys: Float[Tensor, "bp n c"], values: Float[Tensor, "bp n c"]
) -> Float[Tensor, "b p t c"]:
    """Tokens look at an image of their own. Key and value projections are folded into the tokens; the key's bias
    adds the same to every score of a token and so drops out of the softmax."""
    b, p, t, _ = queries.shape
    query = _heads(attention, attention.q_proj(queries).flatten(0, 1)) * attention.scaling  # [bp heads t d]
    folded = (query @ _per_head(attention, attention.k_proj)).flatten(1, 2)  # [bp heads*t c]
    weights = torch.bmm(folded, keys.transpose(1, 2).to(folded.dtype)).softmax(-1)
    seen = torch.bmm(weights.to(folded.dtype), values.to(folded.dtype)).unflatten(1, (-1, t))  # [bp heads t c]
    value = seen @ _per_head(attention, attention.v_proj).transpose(1, 2)
    value = value.transpose(1, 2).flatten(2) + attention.v_proj.bias
    return _out(attention)(value).unflatten(0, (b, p))


def _shared_image_to_tokens(
    attention: Any, keys: Float[Tensor, "b n c"], tokens: Float[Tensor, "b p t c"]
) -> Float[Tensor, "bp ht n"]:
    """How much each position of a shared image takes of each token, for every head."""
    query = _heads(attention, attention.q_proj(keys)) * attention.scaling  # [b heads n d]
    key = _heads(attention, attention.k_proj(tokens))  # [b p heads t d]
    scores = key @ query[:, None].transpose(-1, -2)  # [b p heads t n]
    return scores.softmax(-2).to(query.dtype).flatten(2, 3).flatten(0, 1)


def _image_to_tokens(
    attention: Any, keys: Float[Tensor, "bp n c"], tokens: Float[Tensor, "b p t c"]
) -> Float[Tensor, "bp ht n"]:
    """The same for an image of the point's own, with the query projection folded into the tokens."""
    t = tokens.shape[2]
    key = _heads(attention, attention.k_proj(tokens).flatten(0, 1)) * attention.scaling  # [bp heads t d]
    folded = key @ _per_head(attention, attention.q_proj)  # [bp heads t c]
    bias = key @ attention.q_proj.bias.unflatten(0, (attention.num_attention_heads, -1, 1))  # [bp heads t 1]
    scores = torch.baddbmm(bias.flatten(1, 2), folded.flatten(1, 2), keys.transpose(1, 2).to(folded.dtype))
    return scores.unflatten(1, (-1, t)).softmax(2).to(folded.dtype).flatten(1, 2)


def _folded_values(attention: Any, tokens: Float[Tensor, "b p t c"]) -> Float[Tensor, "bp ht c"]:
    """The tokens' values with the output projection applied, so that weights @ values is the attention's output."""
    value = _heads(attention, attention.v_proj(tokens).flatten(0, 1))  # [bp heads t d]
    out = _out(attention).weight.unflatten(1, (attention.num_attention_heads, -1)).permute(1, 2, 0)  # [heads d c]
    return (value @ out).flatten(1, 2)

"""Where transformers' classes compute something other than the networks their weights were published for.

transformers builds them with other layer norms and other resizing than the authors do. docs/segmenting.md lists what
was compared with what. Here is what is corrected, and how a config.json says that its network differs:

- `samclr_two_way_eps`: epsilon of norms 1 to 4 of the decoder's two-way blocks. The authors have 1e-5;
  transformers takes `layer_norm_eps`, 1e-6 by default, in SamModel and SamHQModel.
- `samclr_encoder_eps`: epsilon of SAM 3's image encoder. The authors have 1e-5, transformers 1e-6 by default.

A network trained within transformers states what it was trained with. Imports neither torch nor transformers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from samclr.errors import UsageError

# How an image reaches the model's square: its longer side resized by Pillow, in bytes, and the rest padded; or both
# sides resized in floating point, SAM 3's then rounded to whole grey levels.
Resizing = Literal["padded bytes", "floats", "rounded floats"]
RESIZING: dict[str, Resizing] = {  # by transformers' model type; SAM 2, EdgeTAM and SAM 3 are published as video models
    "sam": "padded bytes",
    "sam_hq": "padded bytes",
    "sam2": "floats",
    "sam2_video": "floats",
    "edgetam": "floats",
    "edgetam_video": "floats",
    "sam3_tracker": "rounded floats",
    "sam3_video": "rounded floats",
}
TORCH_EPS = 1e-5  # nn.LayerNorm's default, which the authors left
TRANSFORMERS_EPS = 1e-6  # the default of `layer_norm_eps` in transformers' configurations
OWN_KEYS = "samclr_"


@dataclass(frozen=True, kw_only=True)
class PublishedNetwork:
    """What the authors' code does in the places where transformers' may do something else.

    Attributes:
        resizing: see RESIZING.
        two_way_eps: epsilon of norms 1 to 4 of the decoder's two-way blocks.
        encoder_eps: epsilon of the image encoder's norms; None leaves them as transformers builds them.
    """

    resizing: Resizing
    two_way_eps: float = TORCH_EPS
    encoder_eps: float | None = None

    def put_right(self, net: Any) -> None:
        """Give a model of transformers the published epsilons, in place."""
        for layer in net.mask_decoder.transformer.layers:
            for norm in (layer.layer_norm1, layer.layer_norm2, layer.layer_norm3, layer.layer_norm4):
                norm.eps = self.two_way_eps
        if self.encoder_eps is not None:
            from torch import nn

            for module in net.vision_encoder.backbone.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = self.encoder_eps

    def unlike_first_version(self, config: dict[str, Any]) -> dict[str, Any]:
        """What a store's maker says besides: every way in which samclr 0.1 computed other masks of the same weights.

        Empty where it computed the same, so that such a store can still be continued.
        """
        padded = self.resizing == "padded bytes"
        decoder = config.get("mask_decoder_config") or {}
        first_eps = decoder.get("layer_norm_eps", TRANSFORMERS_EPS) if padded else TORCH_EPS
        said: dict[str, Any] = {} if padded else {"resizing": self.resizing}
        if self.two_way_eps != first_eps:
            said["two_way_eps"] = self.two_way_eps
        if self.encoder_eps is not None:
            said["encoder_eps"] = self.encoder_eps
        return said


UNLIKE_FIRST_VERSION = ("resizing", "two_way_eps", "encoder_eps")  # keys of `unlike_first_version`


def published_network(config: dict[str, Any], name: str) -> PublishedNetwork:
    """What a model's config.json, as a dictionary, stands for; `name` is the model's, for errors.

    Raises:
        UsageError: it is not a SAM, or a key of samclr's own is unknown, misplaced or not a small positive number.
    """
    kind = config.get("model_type")
    if kind not in RESIZING:
        raise UsageError(f"{name} is a model of type {kind!r}; expected one of {', '.join(RESIZING)}")
    known = ["samclr_two_way_eps"] + ["samclr_encoder_eps"] * kind.startswith("sam3")
    unknown = sorted(set(_own_keys(config)) - {key for key in known if key in config})
    if unknown:
        raise UsageError(
            f"the config.json of {name} has the key {unknown[0]}; "
            f"expected at its top level, if any, {' or '.join(known)} for a model of type {kind!r}"
        )
    for key in known:
        eps = config.get(key, TORCH_EPS)
        if isinstance(eps, bool) or not isinstance(eps, int | float) or not 0 < eps < 1:
            raise UsageError(
                f"{key} in the config.json of {name} is {eps!r}; expected a number between 0 and 1, such as 1e-06, "
                f"or no such key for the published {TORCH_EPS}"
            )
    return PublishedNetwork(
        resizing=RESIZING[kind],
        two_way_eps=float(config.get("samclr_two_way_eps", TORCH_EPS)),
        encoder_eps=float(config.get("samclr_encoder_eps", TORCH_EPS)) if kind.startswith("sam3") else None,
    )


def _own_keys(config: dict[Any, Any], where: str = "") -> Iterator[str]:
    """Every key of samclr's own in a nested dictionary, with its place unless it stands at the top."""
    for key, value in config.items():
        if str(key).startswith(OWN_KEYS):
            yield f"{where}{key}"
        if isinstance(value, dict):
            yield from _own_keys(value, f"{where}{key}.")

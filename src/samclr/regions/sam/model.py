"""Load a SAM of any kind from transformers, and run its encoder: the part of the work that is done once a crop."""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor, nn

from samclr.errors import UsageError
from samclr.log import option_of, say
from samclr.models.hub import REACH_S, cached_weights
from samclr.regions.sam.catalogue import KNOWN, hub_id_or_folder
from samclr.regions.sam.decoder import EncodedImages, PromptDecoder, in_float32
from samclr.regions.sam.masks import Enlarging
from samclr.regions.sam.published import PublishedNetwork, published_network

POSITION_ENCODINGS = ("shared_image_embedding", "prompt_encoder.shared_embedding")


class SamModels:
    """One loaded model: prepare crops, encode them, embed points, and enlarge masks again.

    SAM and HQ-SAM scale the longer side to `image_px` and pad; SAM 2, SAM 3 and EdgeTAM squash to a square.
    `model` is changed in place: to evaluation, and to the layer norms of the published network.
    """

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float], published: PublishedNetwork):
        self.net = net = _untyped(model.eval().requires_grad_(False))
        published.put_right(net)
        self.resizing = published.resizing
        self.squash = published.resizing != "padded bytes"
        self.image_px = int(net.prompt_encoder.input_image_size)
        self.device = next(model.parameters()).device
        self.mean = torch.tensor(mean, device=self.device).view(3, 1, 1) * 255
        self.std = torch.tensor(std, device=self.device).view(3, 1, 1) * 255
        image_pe = net.get_image_wide_positional_embeddings()[0].flatten(1).T.contiguous()
        self.decoder = PromptDecoder(net.mask_decoder, image_pe)

    def compile(self) -> None:
        """Have the encoder compiled at its first call (torch.compile): worth it over thousands of images."""
        self.net.vision_encoder.forward = torch.compile(self.net.vision_encoder.forward)

    # ---- geometry ----

    def used_px(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the model's square that a crop of this size fills."""
        if self.squash:
            return self.image_px, self.image_px
        scale = self.image_px / max(height, width)
        return max(int(height * scale + 0.5), 1), max(int(width * scale + 0.5), 1)

    def enlarging(self, height: int, width: int) -> tuple[Enlarging, Enlarging]:
        """How low-resolution masks become height x width."""
        low, used = self.decoder.mask_px, self.used_px(height, width)
        via = None if self.squash else self.image_px
        return Enlarging.of(low, via, used[0], height), Enlarging.of(low, via, used[1], width)

    def prepare(self, crop: UInt8[np.ndarray, "h w 3"]) -> UInt8[Tensor, "3 y x"] | Float[Tensor, "3 y x"]:
        """Resize as the authors' code does (bilinear, antialiased): grey levels from 0 to 255, unpadded."""
        used = self.used_px(*crop.shape[:2])
        if not self.squash:
            resized = Image.fromarray(crop).resize((used[1], used[0]), Image.Resampling.BILINEAR)
            return torch.from_numpy(np.array(resized)).permute(2, 0, 1)
        pixels = torch.from_numpy(crop.astype(np.float32)).permute(2, 0, 1)[None]
        levels = F.interpolate(pixels, used, mode="bilinear", align_corners=False, antialias=True)[0]
        return levels.round() if self.resizing == "rounded floats" else levels

    # ---- network ----

    def encode(self, prepared: Sequence[UInt8[Tensor, "3 y x"] | Float[Tensor, "3 y x"]]) -> EncodedImages:
        """Normalise, pad with zeros and encode a batch."""
        batch = torch.zeros(len(prepared), 3, self.image_px, self.image_px, device=self.device)
        for target, crop in zip(batch, prepared, strict=True):
            pixels = crop.to(self.device, torch.float32)
            target[:, : pixels.shape[1], : pixels.shape[2]] = (pixels - self.mean) / self.std
        no_mask = self.net.prompt_encoder.no_mask_embed.weight
        if not self.squash:
            out = self.net.vision_encoder(batch)
            embedding = out.last_hidden_state
            fine: tuple[Tensor, ...] = ()
            if self.decoder.is_hq:
                fine = (self.decoder.hq_features(embedding, out.intermediate_embeddings[0]),)
            return EncodedImages(embedding.flatten(2).transpose(1, 2) + no_mask, fine)
        # not by get_image_embeddings: for SAM 3 it adds no_memory_embedding to a level that it then drops
        finest, finer, embedding = self.net.vision_encoder(batch).fpn_hidden_states[:3]
        finest, finer = self.net.mask_decoder.conv_s0(finest), self.net.mask_decoder.conv_s1(finer)
        embedding = embedding + self.net.no_memory_embedding.view(-1, 1, 1)
        fine = self.decoder.fold(finer, 1), self.decoder.fold(finest, 2)
        return EncodedImages(embedding.flatten(2).transpose(1, 2) + no_mask, fine)

    def embed_points(self, points_xy: Float[Tensor, "b p 2"]) -> Float[Tensor, "b p k c"]:
        """Tokens of one foreground point each, in the model's pixels."""
        labels = torch.ones((*points_xy.shape[:2], 1), dtype=torch.int32, device=points_xy.device)
        with in_float32(points_xy):  # half precision would round a place to the next of some 256
            tokens, _ = self.net.prompt_encoder(
                input_points=points_xy[:, :, None], input_labels=labels, input_boxes=None, input_masks=None
            )
        return tokens


def _untyped(module: nn.Module) -> Any:
    """transformers' attributes have no types that mypy could follow."""
    return module


def load_sam(segmenter: str, device: torch.device) -> SamModels:
    """Load by short name, Hugging Face id or folder; the licence is printed before a download.

    Raises:
        UsageError: no network, no such or no allowed model, not a SAM, or a folder that lacks a file.
    """
    name = hub_id_or_folder(segmenter)
    with _quiet_transformers():
        from transformers import AutoImageProcessor, AutoModelForMaskGeneration, PretrainedConfig

        try:
            name = _local_folder(name) or name
            _announce_download(name)
            if Path(name).is_dir() and not (Path(name) / "config.json").exists():
                raise OSError("it has no config.json")
            published = published_network(PretrainedConfig.get_config_dict(name)[0], segmenter)
            processor = AutoImageProcessor.from_pretrained(name)
            model, loading = AutoModelForMaskGeneration.from_pretrained(
                name, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise UsageError(_why_not(segmenter, name, error)) from None
    missing = sorted(_missing(model, loading["missing_keys"]))
    if missing:
        raise UsageError(
            f"the weights of {segmenter} lack {missing[0]} and {len(missing) - 1} more; expected a complete checkpoint"
        )
    return SamModels(model.to(device), processor.image_mean, processor.image_std, published)


def _missing(net: Any, missing_keys: Iterable[str]) -> set[str]:
    """What a checkpoint lacks. The authors encode places of pixels and of points alike: one of the two is enough."""
    missing = set(missing_keys)
    places = {f"{name}.positional_embedding": net.get_submodule(name) for name in POSITION_ENCODINGS}
    absent, present = places.keys() & missing, places.keys() - missing
    if absent and present:
        places[absent.pop()].load_state_dict(places[present.pop()].state_dict())
        missing -= places.keys()
    return missing


def network_facts(segmenter: str) -> dict[str, Any]:
    """What a store's maker says of a network on this machine: which weights, and what samclr 0.1 did otherwise."""
    name = hub_id_or_folder(segmenter)
    folder = Path(name) if Path(name).is_dir() else cached_weights(name)
    if folder is None:
        raise UsageError(f"the weights of {segmenter} are not in the local cache; rerun the command with a network")
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(_why_not(segmenter, str(folder), error)) from None
    facts = published_network(config, segmenter).unlike_first_version(config)
    return {"weights": _weights_hash(folder), **facts}


def _weights_hash(folder: Path) -> str:
    """Sixteen hex digits over the weights' files, so that a store can tell two checkpoints of one name apart."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    digest = hashlib.sha256()
    for file in files:
        with open(file, "rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()[:16]


def _local_folder(name: str) -> str | None:
    """A model's folder in the local cache, which needs no network; None if a file is not there."""
    folder = None if Path(name).is_dir() else cached_weights(name)
    return str(folder) if folder is not None and (folder / "preprocessor_config.json").exists() else None


def _announce_download(name: str) -> None:
    """Say what is about to be fetched, how large it is and what its licence is.

    The hub is asked once, for at most a few seconds: its client would try for a minute without a network.

    Raises:
        OSError: it cannot be reached.
    """
    if Path(name).is_dir():
        return
    from huggingface_hub import model_info
    from huggingface_hub.errors import HfHubHTTPError

    known = next((model for model in KNOWN.values() if model.hub_id == name), None)
    try:
        card = model_info(name, timeout=REACH_S).card_data
    except HfHubHTTPError:  # it answers; what it refuses, such as a gated model, is said when files are fetched
        card = None
    except Exception as error:  # no network: whatever its client raises
        raise OSError(str(error)) from error
    text = (
        f"about {known.size_mb:,} MB, licence {known.licence}"
        if known is not None
        else (f"licence {card.license if card is not None and card.license else 'not stated'}")
    )
    say(f"fetching {name} from the Hugging Face hub: {text}")


def _why_not(segmenter: str, name: str, error: Exception) -> str:
    if Path(name).is_dir():
        present = sorted(path.name for path in Path(name).iterdir())
        return (
            f"{segmenter} cannot be loaded ({_first_line(error)}); expected config.json, preprocessor_config.json and "
            f"model.safetensors in it, as save_pretrained writes them, but it holds {', '.join(present) or 'nothing'}"
        )
    kinds = {
        kind.__name__ for e in (error, error.__cause__, error.__context__) if e is not None for kind in type(e).__mro__
    }
    if "GatedRepoError" in kinds:
        return f"{name} is gated: accept its licence on its page on the Hugging Face hub, then run `hf auth login`"
    if "RepositoryNotFoundError" in kinds:
        return f"there is no model {name} on the Hugging Face hub, or it is private; see `samclr segmenters`"
    return (
        f"{name} is not on this machine and the Hugging Face hub cannot be reached; give {option_of('segmenter')} "
        f"PATH, a folder with its config.json, preprocessor_config.json and model.safetensors, or felzenszwalb, which "
        f"needs no model"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without the loading reports and progress bars; errors come as exceptions."""
    from transformers.utils import logging as transformers_logging

    level, root = transformers_logging.get_verbosity(), logging.getLogger("transformers")
    before = root.level
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        root.setLevel(before)
        transformers_logging.enable_progress_bar()

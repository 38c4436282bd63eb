"""ONNX files as backbones that compute features and nothing else, by onnxruntime on the CPU."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from samclr.config.model_args import for_timm
from samclr.errors import ConfigError, UsageError
from samclr.log import option_of
from samclr.models.sizes import InputSizes, choose_sizes
from samclr.models.weights import Facts, facts_of
from samclr.storage.files import regular


@dataclass(frozen=True, kw_only=True)
class OnnxSizes(InputSizes):
    """What an ONNX file takes: images of `side_px` alone, or what its backbone takes where it is known, else any."""

    side_px: int | None
    is_known: bool
    input_px: int | None

    @property
    def trial(self) -> None:
        """There is none: it has no parts to compute shapes with."""
        return None

    def fit(self, px: int, setting: str, tell: bool = True) -> int:
        """See InputSizes.fit."""
        if self.side_px is None:
            if not self.is_known:
                return px
            return choose_sizes(self.name, px, self.input_px, setting, tell, arguments=self.arguments)[1]
        if px != self.side_px:
            raise ConfigError(
                f"{self.name} takes images of {self.side_px} px alone; give {option_of(setting)} {self.side_px}"
            )
        return px


class OnnxBackbone(nn.Module):
    """An ONNX file: normalised [n 3 h w] -> features [n d]. It has no weights that torch knows, and no feature maps.

    Attributes:
        path: the file.
        facts: what it says of itself.
        input_sizes: see OnnxSizes.
    """

    def __init__(self, path: Path):
        """Open the file.

        Raises:
            UsageError: onnxruntime is missing. ConfigError: the file cannot be read, or is no such computation.
        """
        super().__init__()
        try:
            content = regular(path).read_bytes()
        except OSError as error:
            raise ConfigError(f"{path} cannot be read ({error})") from None
        self.path = path
        self._session = _session(path, content)
        source, (result, *_) = _input(path, self._session), self._session.get_outputs()
        self._names = (source.name, result.name)
        digest = hashlib.sha256(content).digest()  # by which fingerprints and names in the cache tell files apart
        self.register_buffer("content", torch.tensor(list(digest), dtype=torch.uint8))
        try:
            self.facts: Facts = facts_of(self._session.get_modelmeta().custom_metadata_map)
        except (ConfigError, ValueError) as error:
            raise ConfigError(f"{path} contradicts itself ({error}); give another") from None
        sides = [side for side in source.shape[2:] if isinstance(side, int)]
        if len(set(sides)) > 1:
            raise ConfigError(f"{path} takes images of {sides[1]}x{sides[0]} px; expected squares, or any size")
        side_px = sides[0] if sides else None
        known = self.facts.backbone
        width = result.shape[1] if isinstance(result.shape[1], int) else self._width(side_px or 224)
        self.input_sizes = OnnxSizes(
            name=path.name if side_px or known is None else known,
            options=(), width=width, side_px=side_px, is_known=known is not None, input_px=self.facts.input_px,
            arguments=for_timm(self.facts.model_args),
        )  # fmt: skip

    def _width(self, side_px: int) -> int:
        return int(self(torch.zeros(1, 3, side_px, side_px)).shape[1])

    def forward(self, pixels: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Features, where the pixels are."""
        source, result = self._names
        (features,) = self._session.run([result], {source: np.ascontiguousarray(pixels.detach().float().cpu().numpy())})
        return torch.from_numpy(features).to(pixels.device)


def lacks(backbone: nn.Module, what: str) -> str | None:
    """Why an ONNX file does not do for `what`; None for any other backbone."""
    if not isinstance(backbone, OnnxBackbone):
        return None
    return (
        f"{backbone.path} is an ONNX file, which gives the features of whole images and nothing else; for {what} "
        f"name the run, or its export as timm or huggingface"
    )


def _session(path: Path, content: bytes) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise UsageError(f"{path} is measured by onnxruntime: pip install 'samclr[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 4  # what matters is raised
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own, one for each way in which a file can be wrong
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ConfigError(
            f"{path} is not an ONNX file that onnxruntime can open by itself ({reason}); "
            f"give a complete one that holds its weights"
        ) from None


def _input(path: Path, session: Any) -> Any:
    """The one input of a session that takes a batch of images.

    Raises:
        ConfigError: it takes or gives something else.
    """
    sources, result = session.get_inputs(), session.get_outputs()[0]
    shown = ", ".join(f"{one.name} {one.type} {one.shape}" for one in sources)
    one = sources[0]
    fits = len(sources) == 1 and one.type == "tensor(float)" and len(one.shape) == 4 and len(result.shape) == 2
    if not fits or isinstance(one.shape[0], int) or (one.shape[1] not in (3, "3") and isinstance(one.shape[1], int)):
        raise ConfigError(
            f"{path} takes {shown} and gives {result.shape}; "
            f"expected float pixels [n 3 h w] of any number n, and features [n d]"
        )
    return one

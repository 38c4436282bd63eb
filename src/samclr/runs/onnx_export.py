"""A backbone as an ONNX file, compared with torch before it is kept."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from samclr.errors import ConfigError, RunError, UsageError
from samclr.log import option_of
from samclr.models.sizes import InputSizes, reason_of

TOLERANCE = 1e-4  # of the largest feature
NAMES = ("n", "h", "w")  # of the free dimensions, as the file calls them
STEP_PX = 32  # between the sizes that are compared


@dataclass(frozen=True, kw_only=True)
class OnnxContent:
    """An ONNX file.

    Attributes:
        content: its bytes, equal for equal weights.
        side_px: the only size of images that it takes; None where it takes what the backbone takes.
        difference: of its features from torch's, as a share of the largest.
    """

    content: bytes
    side_px: int | None
    difference: float


def onnx_content(backbone: nn.Module, facts: dict[str, str], px: int, image_px: int | None) -> OnnxContent:
    """The backbone with free height and width; for squares of `image_px`, or of `px` where it has no choice.

    facts: metadata of the file. px: a size that the backbone takes.

    Raises:
        UsageError: ONNX is not installed. RunError: torch cannot write it, or the features differ
            from torch's.
    """
    try:
        import onnx  # noqa: F401 - torch's exporter needs both
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UsageError(f"{option_of('layout')} onnx needs ONNX: pip install 'samclr[onnx]'") from None
    larger = _larger(backbone, px)
    if image_px is None and larger > px:
        content = _free(backbone, facts, (px, larger))
        if content is not None:
            most = _larger(backbone, larger)
            sizes = [(px, px), (larger, px), (px, most), (most, most)]  # square and not, traced and not
            differences = [_difference(content, backbone, size) for size in sizes]
            if all(one <= TOLERANCE for one in differences):
                return OnnxContent(content=content, side_px=None, difference=max(differences))
    side_px = image_px or px
    try:
        content = _traced(backbone, facts, (side_px, side_px), ())
    except Exception as error:  # whatever the model's code and torch say
        raise RunError(
            f"torch {torch.__version__} cannot write this backbone as ONNX ({reason_of(error)}); "
            f"use {option_of('layout')} timm or huggingface"
        ) from None
    difference = _difference(content, backbone, (side_px, side_px))
    if not difference <= TOLERANCE:  # NaN, where features are not finite
        raise RunError(f"the ONNX model's features differ from torch's by {difference:.1e} of the largest; not written")
    return OnnxContent(content=content, side_px=side_px, difference=difference)


def _larger(backbone: nn.Module, px: int) -> int:
    """The next size that the backbone takes; `px` itself where it takes no other."""
    sizes: InputSizes = backbone.input_sizes  # type: ignore[assignment]
    try:
        return sizes.fit(px + STEP_PX, "image_px", tell=False)
    except ConfigError:
        return px


def _free(backbone: nn.Module, facts: dict[str, str], size: tuple[int, int]) -> bytes | None:
    """The file with free height and width; None where the model does not allow that.

    size: rows and columns to trace with. They differ, since torch would take equal ones for one and the same.
    """
    try:
        return _traced(backbone, facts, size, (2, 3))
    except Exception:  # whatever the model's code and torch say of a size that is not a number yet
        return None


def _traced(backbone: nn.Module, facts: dict[str, str], size: tuple[int, int], free: tuple[int, ...]) -> bytes:
    dims = {axis: torch.export.Dim(NAMES[max(axis - 1, 0)], min=1) for axis in (0, *free)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch about its own workings
        program = torch.onnx.export(
            backbone, (torch.zeros(2, 3, *size),), input_names=["pixels"], output_names=["features"],
            dynamic_shapes=(dims,), verbose=False,
        )  # fmt: skip
    assert program is not None
    model = program.model_proto
    _strip(model)
    for name, value in sorted(facts.items()):
        model.metadata_props.add(key=name, value=value)
    content: bytes = model.SerializeToString(deterministic=True)  # since ONNX opens no path that is not UTF-8
    return content


def _strip(model: Any) -> None:
    """Take out where torch traced each node: it names files of this machine."""
    graph = model.graph
    parts: Iterable[Any] = (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info)
    for part in (model, *parts, *model.functions, *(node for one in model.functions for node in one.node)):
        del part.metadata_props[:]
        part.ClearField("doc_string")


def _difference(content: bytes, backbone: nn.Module, size: tuple[int, int]) -> float:
    """The largest difference between its features and torch's, for images of a size (rows, columns)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what matters is raised, or seen in the numbers
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    pixels = torch.randn(3, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected: Tensor = backbone(pixels)
    try:
        (found,) = session.run(None, {"pixels": pixels.numpy()})
    except Exception:  # onnxruntime's own: shapes that do not fit
        return float("inf")
    if found.shape != tuple(expected.shape):
        return float("inf")
    largest = expected.abs().max().clamp_min(torch.finfo(expected.dtype).tiny)
    return float((torch.from_numpy(found) - expected).abs().max() / largest)

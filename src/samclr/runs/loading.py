"""How an export is loaded: one line for whoever wrote it, and a whole example for the reader of its model card."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from torch import nn

from samclr.config.normalisation import normalisation_of
from samclr.config.pretrain import PretrainConfig
from samclr.models.names import architecture
from samclr.models.sizes import InputSizes, feature_width
from samclr.runs.detector_layouts import DetectorLayout, detector_example, detector_line

Layout = Literal["timm", "torchvision", "huggingface", "onnx", "detectron2", "mmdet"]
IMPORTS = ("from PIL import Image, ImageOps", "from torchvision import transforms")
PHOTO = 'ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")'


@dataclass(frozen=True, kw_only=True)
class Loading:
    """Python that loads an export.

    Attributes:
        line: one line, with the path as it was given to `export`.
        example: a program, run where the export lies, from a photograph to its features [1 d].
        library: whose it is, as the Hugging Face hub calls it.
    """

    line: str
    example: tuple[str, ...]
    library: str


def is_plain(config: PretrainConfig) -> bool:
    """Whether timm builds this very model by its name."""
    return config.model.stem == "standard" and config.model.backbone != "small-cnn"


def loading_of(
    layout: Layout, out: Path, backbone: nn.Module, config: PretrainConfig, image_px: int | None = None
) -> Loading:
    """How what was written to `out` is loaded. image_px: the one size of images that an ONNX file takes, if any."""
    if layout == "huggingface":
        return _hugging_face(out, backbone)
    if layout in get_args(DetectorLayout):
        detector = cast(DetectorLayout, layout)
        example = detector_example(detector, literal(out.name), backbone, config)
        return Loading(line=detector_line(detector, literal(out)), example=example, library=layout)
    prepared = _prepared(backbone, image_px or config.group.size_px)
    if layout == "onnx":
        size = "any size that the backbone takes" if image_px is None else f"{image_px} x {image_px} px alone"
        example = (
            *("import onnxruntime", *IMPORTS, "", f"session = onnxruntime.InferenceSession({literal(out.name)})"),
            *prepared,
            f'(features,) = session.run(None, {{"pixels": photo[None].numpy()}})  # {_shape(backbone)}',
        )
        line = f"onnxruntime.InferenceSession({literal(out)})  # images of {size}"
        return Loading(line=line, example=example, library="onnx")
    name, more = config.model.backbone, ""
    imports: tuple[str, ...] = ("import samclr", "import torch")
    made: tuple[str, ...] = ()
    load = "samclr.load_backbone({})"
    library = "samclr"
    if layout == "torchvision":
        imports, library = ("import safetensors.torch", "import torch", "import torchvision"), layout
        classifiers = [f"backbone.{one} = torch.nn.Identity()" for one in _classifier(backbone)]
        made = (f"backbone = torchvision.models.{architecture(name)}()", *classifiers)
        load = "backbone.load_state_dict(safetensors.torch.load_file({}))"
    elif is_plain(config):
        imports, library = ("import timm", "import torch"), layout
        load = f'timm.create_model("{name}", num_classes=0, {_options(backbone)}checkpoint_path={{}})'
    else:
        more = f"  # timm has no {name} with stem {config.model.stem}"
    loaded = load.format(literal(out.name))
    loaded = loaded if made else f"backbone = {loaded}"
    example = (*imports, *IMPORTS, "", *made, loaded, "backbone.eval()", *prepared, "with torch.no_grad():")
    example = (*example, f"    features = backbone(photo[None])  # {_shape(backbone)}")
    return Loading(line="; ".join((*made, load.format(literal(out)))) + more, example=example, library=library)


def literal(path: Path | str) -> str:
    """A path as Python writes it, in double quotes where it can be."""
    text = str(path)
    return f'"{text}"' if text.isprintable() and not set(text) & {'"', "\\"} else repr(text)


def _hugging_face(out: Path, backbone: nn.Module) -> Loading:
    example = (
        *("import torch", IMPORTS[0], "from transformers import AutoImageProcessor, AutoModel", ""),
        f"name = {literal(out.name)}  # this folder, or what it is called on the hub",
        "processor = AutoImageProcessor.from_pretrained(name)  # resizes, crops and normalises",
        "model = AutoModel.from_pretrained(name).eval()",
        f"photo = {PHOTO}",
        "with torch.no_grad():",
        '    inputs = processor(photo, return_tensors="pt")',
        f"    features = model(**inputs).pooler_output.flatten(1)  # {_shape(backbone)}",
    )
    line = f"transformers.AutoModel.from_pretrained({literal(out)})"
    line += f"  # or timm.create_model({literal(f'local-dir:{out}')}, pretrained=True)"
    return Loading(line=line, example=example, library="timm")


def _options(backbone: nn.Module) -> str:
    """The arguments by which timm's model takes images of the trained size."""
    sizes: InputSizes = backbone.input_sizes  # type: ignore[assignment]
    return "".join(f"{name}={value!r}, " for name, value in sizes.options)


def _classifier(backbone: nn.Module) -> tuple[str, ...]:
    named = getattr(backbone, "pretrained_cfg", {}).get("classifier")
    return (named,) if isinstance(named, str) else tuple(named or ())


def _prepared(backbone: nn.Module, size_px: int) -> tuple[str, ...]:
    own = normalisation_of(backbone)
    return (
        "prepare = transforms.Compose([",
        f"    transforms.Resize({size_px}),  # the shorter side; bilinear, antialiased",
        f"    transforms.CenterCrop({size_px}),",
        "    transforms.ToTensor(),",
        f"    transforms.Normalize({own.mean}, {own.std}),",
        "])",
        f"photo = prepare({PHOTO})",
    )


def _shape(backbone: nn.Module) -> str:
    return f"[1 {feature_width(backbone)}]"

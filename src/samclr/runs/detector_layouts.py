"""ResNets for Detectron2 and mmdetection: files that their trainers begin with, and the lines of configuration.

Names were read off detectron2/modeling/backbone/resnet.py with tools/convert-torchvision-to-d2.py, and off
mmdet/models/backbones/resnet.py, whose names are torchvision's.
"""

import io
import pickle
import re
from typing import Any, Literal

import torch
from torch import nn

from samclr._version import __version__
from samclr.config.normalisation import normalisation_of
from samclr.config.pretrain import PretrainConfig
from samclr.errors import RunError
from samclr.log import option_of
from samclr.models.names import architecture

DetectorLayout = Literal["detectron2", "mmdet"]
DEPTHS = {f"resnet{depth}": depth for depth in (18, 34, 50, 101, 152)}
PICKLE = 4  # a protocol that Python 3.4 and later read
SHALLOW = 34  # up to it, blocks have two layers: stages begin with 64 channels
_RULES = (
    (r"(conv1\..*|bn1\..*)", r"stem.\1"),
    (r"layer([1-4])\.(.*)", lambda found: f"res{int(found[1]) + 1}.{found[2]}"),
    (r"(.*)\bbn([123])\.(.*)", r"\1conv\2.norm.\3"),
    (r"(.*)\.downsample\.0\.(.*)", r"\1.shortcut.\2"),
    (r"(.*)\.downsample\.1\.(.*)", r"\1.shortcut.norm.\2"),
)


def check_detector_layout(layout: DetectorLayout, config: PretrainConfig) -> None:
    """Raise RunError unless the backbone is one of the ResNets that both libraries build, as timm builds it."""
    model = config.model
    if architecture(model.backbone) not in DEPTHS or model.stem != "standard" or model.model_args:
        more = f" and {option_of('model_args')}" if model.model_args else ""
        raise RunError(
            f"{layout} has no {model.backbone} with stem {model.stem}{more}; expected one of {', '.join(DEPTHS)} as "
            f"timm builds it, or {option_of('layout')} timm"
        )


def detector_bytes(layout: DetectorLayout, backbone: nn.Module) -> bytes:
    """A pickle of arrays for Detectron2, a state dict of tensors for mmdetection."""
    state = {name: tensor.detach().cpu() for name, tensor in backbone.state_dict().items()}
    if layout == "mmdet":
        content = io.BytesIO()
        torch.save(state, content)
        return content.getvalue()
    arrays = {detectron2_name(name): tensor.numpy() for name, tensor in state.items()}
    whole = {"model": arrays, "__author__": f"samclr {__version__}", "matching_heuristics": True}
    return pickle.dumps(whole, PICKLE)


def detectron2_name(name: str) -> str:
    """layer1.0.bn2.weight -> res2.0.conv2.norm.weight."""
    for pattern, to in _RULES:
        name = re.sub(f"^{pattern}$", to, name)
    return name


def detector_line(layout: DetectorLayout, file: str) -> str:
    """The line of configuration that names the file. file: as Python writes it."""
    line = {
        "detectron2": f"cfg.MODEL.WEIGHTS = {file}",
        "mmdet": f'init_cfg=dict(type="Pretrained", checkpoint={file})',
    }[layout]
    return f"{line}  # all lines of configuration, with the mean and deviation, stand in the model card"


def detector_example(layout: DetectorLayout, file: str, backbone: nn.Module, config: PretrainConfig) -> tuple[str, ...]:
    """Mask R-CNN with a pyramid on these weights, all of them trained. file: as Python writes its name."""
    depth, own = DEPTHS[architecture(config.model.backbone)], normalisation_of(backbone)
    mean, std = ([round(255 * value, 3) for value in values] for values in (own.mean, own.std))
    if layout == "mmdet":
        return _mmdet_lines(file, depth, mean, std)
    narrow = ("cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64",) if depth <= SHALLOW else ()
    return (
        "from detectron2 import model_zoo",
        "from detectron2.config import get_cfg",
        "",
        "cfg = get_cfg()",
        'cfg.merge_from_file(model_zoo.get_config_file("COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"))',
        f"cfg.MODEL.WEIGHTS = {file}",
        'cfg.INPUT.FORMAT = "RGB"  # not BGR, Detectron2\'s usual order',
        f"cfg.MODEL.PIXEL_MEAN = {mean}  # of values from 0 to 255",
        f"cfg.MODEL.PIXEL_STD = {std}",
        f"cfg.MODEL.RESNETS.DEPTH = {depth}",
        *narrow,
        "cfg.MODEL.RESNETS.STRIDE_IN_1X1 = False  # the stride is that of the 3x3 convolution",
        'cfg.MODEL.RESNETS.NORM = cfg.MODEL.FPN.NORM = "SyncBN"  # trained, as MoCo; "FrozenBN" and "" keep it',
        "cfg.MODEL.BACKBONE.FREEZE_AT = 0",
    )


def _mmdet_lines(file: str, depth: int, mean: list[float], std: list[float]) -> tuple[str, ...]:
    neck: tuple[Any, ...] = ("    neck=dict(in_channels=[64, 128, 256, 512]),",) if depth <= SHALLOW else ()
    return (
        '_base_ = "mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py"',
        "model = dict(",
        "    data_preprocessor=dict(  # of values from 0 to 255",
        f"        mean={mean}, std={std}, bgr_to_rgb=True),",
        "    backbone=dict(",
        f"        depth={depth},",
        "        frozen_stages=-1,",
        '        norm_cfg=dict(type="SyncBN", requires_grad=True),  # trained, as MoCo',
        "        norm_eval=False,",
        '        style="pytorch",  # the stride is that of the 3x3 convolution',
        f'        init_cfg=dict(type="Pretrained", checkpoint={file})),',
        *neck,
        ")",
    )

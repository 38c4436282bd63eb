"""Methods: each paper's loss in one file, declared by the torch-free spec beside it.

    from samclr.methods import SimCLR

Classes load when they are first used, as this package must import no torch: the registry lists its specs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from samclr.methods.barlow import BarlowTwins as BarlowTwins
    from samclr.methods.base import Encoder as Encoder
    from samclr.methods.base import Method as Method
    from samclr.methods.base import StepOutput as StepOutput
    from samclr.methods.byol import BYOL as BYOL
    from samclr.methods.detcon import DetCon as DetCon
    from samclr.methods.dino import DINO as DINO
    from samclr.methods.moco import MoCo as MoCo
    from samclr.methods.simclr import SimCLR as SimCLR
    from samclr.methods.simsiam import SimSiam as SimSiam
    from samclr.methods.swav import SwAV as SwAV
    from samclr.methods.vicreg import VICReg as VICReg

_PLACES = {
    "Encoder": "samclr.methods.base",
    "Method": "samclr.methods.base",
    "StepOutput": "samclr.methods.base",
    "BarlowTwins": "samclr.methods.barlow",
    "BYOL": "samclr.methods.byol",
    "DetCon": "samclr.methods.detcon",
    "DINO": "samclr.methods.dino",
    "MoCo": "samclr.methods.moco",
    "SimCLR": "samclr.methods.simclr",
    "SimSiam": "samclr.methods.simsiam",
    "SwAV": "samclr.methods.swav",
    "VICReg": "samclr.methods.vicreg",
}

__all__ = [
    "BYOL",
    "DINO",
    "BarlowTwins",
    "DetCon",
    "Encoder",
    "Method",
    "MoCo",
    "SimCLR",
    "SimSiam",
    "StepOutput",
    "SwAV",
    "VICReg",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'samclr.methods' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

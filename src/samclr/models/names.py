"""Names of backbones, told apart from mistakes before timm, and torch with it, is imported."""

import importlib.util
import re
import sys
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from samclr.errors import ConfigError, did_you_mean

SMALL_CNN = "small-cnn"
_DEFINED = re.compile(r"^@register_model\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def may_be_backbone(name: str) -> bool:
    """False where no source of timm mentions the name. Once timm is imported, it is asked itself."""
    if name == SMALL_CNN:
        return True
    if (timm := sys.modules.get("timm")) is not None:
        return bool(timm.is_model(name))
    return re.search(rf"\b{re.escape(architecture(name))}\b", _sources()) is not None


def refuse_unknown(name: str) -> None:
    """Raise ConfigError, which names the nearest, if `name` cannot be that of a backbone, or its tag is unknown."""
    if may_be_backbone(name):
        if "." in name:
            trained_config(name)
        return
    hint = did_you_mean(name, sorted(_DEFINED.findall(_sources())), otherwise="see timm.list_models()")
    raise ConfigError(f"timm {version('timm')} has no backbone {name!r}{hint}")


def trained_config(name: str) -> Any:
    """What timm says of its trained weights of a model; None where it has no such model.

    Raises:
        ConfigError: it has no weights of that tag.
    """
    import timm

    if not timm.is_model(name):
        return None
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError:
        model, tag = architecture(name), name.partition(".")[2]
        known = ", ".join([model, *timm.list_pretrained(f"{model}.*")])
        raise ConfigError(
            f"timm {version('timm')} has no weights {tag!r} of {model}; expected one of {known}"
        ) from None


def architecture(backbone: str) -> str:
    """timm's name without the tag of the weights: resnet18.a1_in1k -> resnet18."""
    return backbone.split(".")[0]


@cache
def _sources() -> str:
    """timm's own files of models, 4 MB."""
    found = importlib.util.find_spec("timm")
    models = Path(str(found and found.origin)).parent / "models"
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(models.glob("*.py")))

"""Where weights lie: a file, a folder in Hugging Face's layout, the hub, or timm. Nothing here imports torch."""

import re
from pathlib import Path
from typing import Any

from samclr.errors import ConfigError, FilesError
from samclr.models.hub import ENDINGS, is_hub_id, weights_folder
from samclr.models.names import may_be_backbone
from samclr.storage.files import read_json

ONNX = ".onnx"
TIMM = "timm"  # the value of `pretrained` that means timm's weights of the backbone
FOLDER_CONFIG, FOLDER_WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
FOLDER_INPUT = "preprocessor_config.json"  # how transformers feeds a model
SHARDS = ".index.json"
_CHECKPOINT = re.compile(r"checkpoint-\d{8,}-[0-9a-f]{16}\.pt")  # of a run, see samclr.runs.saved


def is_timm_folder(path: Path) -> bool:
    """Whether it is a folder as `samclr export --layout huggingface` and timm write it."""
    return isinstance(folder_config(path).get("architecture"), str)


def is_weights_folder(path: Path) -> bool:
    """Whether it is a folder of weights, of timm or of transformers."""
    return is_timm_folder(path) or isinstance(folder_config(path).get("model_type"), str)


def folder_config(path: Path) -> dict[str, Any]:
    """What the config.json of a folder says, nothing where there is none or it cannot be read."""
    try:
        config = read_json(path / FOLDER_CONFIG, None) if path.is_dir() else None
    except FilesError:
        return {}
    return config if isinstance(config, dict) else {}


def is_named(pretrained: str) -> bool:
    """Whether `pretrained` is the name of a timm model, and nothing that lies here."""
    is_file = "/" in pretrained or pretrained.endswith(ENDINGS) or Path(pretrained).exists()
    return not is_file and may_be_backbone(pretrained)


def check_pretrained(pretrained: str | None) -> None:
    """See that what `pretrained` names is there, as far as neither torch nor the hub need be asked.

    Raises:
        ConfigError: it is not.
    """
    if pretrained not in (None, TIMM) and not is_named(str(pretrained)) and not is_hub_id(str(pretrained)):
        weights_file(Path(str(pretrained)))


def located(pretrained: str) -> Path:
    """The file or folder that a path or a Hugging Face id means; the latter is fetched if it is not cached.

    Raises:
        ConfigError: it cannot be had.
    """
    return weights_folder(pretrained) if is_hub_id(pretrained) else Path(pretrained)


def weights_file(path: Path) -> Path:
    """The file of weights that a path means: itself, or the one in a folder of Hugging Face's layout.

    Raises:
        ConfigError: there is none, or it is an ONNX file, a run directory or a checkpoint of one.
    """
    if path.suffix == ONNX:
        raise ConfigError(
            f"{path} is an ONNX file, which holds a computation and no weights that torch can load; give the run, or "
            f"its export as timm or huggingface (`samclr evaluate` measures ONNX files, too)"
        )
    of_run = _CHECKPOINT.fullmatch(path.name) is not None and path.is_file()
    if of_run or isinstance(folder_config(path).get("config"), dict):
        run = path.parent if of_run else path
        raise ConfigError(
            f"{path} is a {'checkpoint of a run' if of_run else 'run directory'}, with more than a backbone's weights; "
            f"expected its export: `samclr export {run} --out FILE.safetensors`, then name that file "
            f"(`samclr evaluate` and samclr.load_backbone take the run itself)"
        )
    if is_weights_folder(path):
        found = next((path / name for name in FOLDER_WEIGHTS if (path / name).is_file()), None)
        if found is None:
            if any((path / f"{name}{SHARDS}").is_file() for name in FOLDER_WEIGHTS):
                raise ConfigError(
                    f"{path} holds its weights in several files; expected one: load it by transformers, and write it "
                    f'by model.save_pretrained(FOLDER, max_shard_size="100GB")'
                )
            raise ConfigError(f"{path} has no {' or '.join(FOLDER_WEIGHTS)}; the folder is incomplete, fetch it again")
        return found
    if not path.is_file():
        kind = "a folder without weights" if path.is_dir() else "not a regular file" if path.exists() else "not there"
        raise ConfigError(
            f"expected weights at {path}, which is {kind}; give a .safetensors or .pth file, a folder with "
            f"{FOLDER_CONFIG} and {FOLDER_WEIGHTS[0]}, a Hugging Face id, or the name of a timm model"
        )
    return path

"""Where weights lie: a file, or a folder in Hugging Face's layout. Nothing here imports torch."""

from pathlib import Path

from samclr.errors import ConfigError, FilesError
from samclr.storage.files import read_json

ONNX = ".onnx"
FOLDER_CONFIG, FOLDER_WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")


def is_weights_folder(path: Path) -> bool:
    """Whether it is a folder as `samclr export --layout huggingface` and timm write it."""
    try:
        config = read_json(path / FOLDER_CONFIG, None) if path.is_dir() else None
    except FilesError:
        return False
    return isinstance(config, dict) and isinstance(config.get("architecture"), str)


def weights_file(path: Path) -> Path:
    """The file of weights that a path means: itself, or the one in a folder of Hugging Face's layout.

    Raises:
        ConfigError: there is none, or the file is an ONNX file.
    """
    if path.suffix == ONNX:
        raise ConfigError(
            f"{path} is an ONNX file, which holds a computation and no weights that torch can load; give the run, or "
            f"its export as timm or huggingface (`samclr evaluate` measures ONNX files, too)"
        )
    if is_weights_folder(path):
        found = next((path / name for name in FOLDER_WEIGHTS if (path / name).is_file()), None)
        if found is None:
            raise ConfigError(f"{path} has no {' or '.join(FOLDER_WEIGHTS)}; the folder is incomplete, fetch it again")
        return found
    if not path.is_file():
        kind = "a folder without weights" if path.is_dir() else "not a regular file" if path.exists() else "not there"
        raise ConfigError(
            f"expected weights at {path}, which is {kind}; give a .safetensors or .pth file of timm's names, "
            f"or a folder with {FOLDER_CONFIG} and {FOLDER_WEIGHTS[0]}"
        )
    return path

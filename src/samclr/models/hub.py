"""Models of the Hugging Face hub by their ids: in the local cache, else fetched once. Imports no torch."""

import os
import re
from pathlib import Path

from samclr.errors import ConfigError
from samclr.log import tell

REACH_S = 5.0  # for the hub to answer
FILES = ("config.json", "preprocessor_config.json", "model.safetensors", "pytorch_model.bin")
_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
ENDINGS = (".pt", ".pth", ".tar", ".bin", ".safetensors", ".onnx", ".json")


def is_hub_id(name: str) -> bool:
    """Whether a name is OWNER/NAME, and nothing here is called so: neither it nor a folder OWNER."""
    if _ID.fullmatch(name) is None or name.endswith(ENDINGS):
        return False
    return not Path(name).exists() and not Path(name.split("/")[0]).is_dir()


def cached_weights(hub_id: str) -> Path | None:
    """The folder of a model's main revision in the local Hugging Face cache, None if its weights are not there."""
    model = hub_cache() / f"models--{hub_id.replace('/', '--')}"
    main = model / "refs" / "main"
    if not main.is_file():
        return None
    folder = model / "snapshots" / main.read_text(encoding="utf-8").strip()
    there = any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))
    return folder if there and (folder / "config.json").exists() else None


def hub_cache() -> Path:
    """Where huggingface_hub keeps models, as its constants.py decides, whose import takes a while."""
    home = os.path.join(os.getenv("XDG_CACHE_HOME", os.path.join("~", ".cache")), "huggingface")
    home = _expanded(os.getenv("HF_HOME", home))
    return Path(_expanded(os.getenv("HF_HUB_CACHE", os.getenv("HUGGINGFACE_HUB_CACHE", os.path.join(home, "hub")))))


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))


def ask(hub_id: str) -> str:
    """The licence of a model, as its card has it. The hub is asked once, for at most a few seconds.

    Its client would try for a minute without a network, and say so line by line.
    """
    import huggingface_hub

    card = huggingface_hub.model_info(hub_id, timeout=REACH_S).card_data
    return card.license if card is not None and card.license else "not stated"


def weights_folder(hub_id: str) -> Path:
    """The folder of a model's config.json, preprocessor_config.json and weights, fetched if it is not cached.

    Raises:
        ConfigError: there is no network, no such model, or it may not be fetched.
    """
    cached = cached_weights(hub_id)
    if cached is not None:
        return cached
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        tell(f"fetching {hub_id} from the Hugging Face hub: licence {ask(hub_id)}")
        offered = set(huggingface_hub.list_repo_files(hub_id))
        wanted = [name for name in FILES if name in offered]
        if "model.safetensors" in wanted and "pytorch_model.bin" in wanted:
            wanted.remove("pytorch_model.bin")
        return Path(huggingface_hub.snapshot_download(hub_id, allow_patterns=wanted))
    except GatedRepoError:
        raise ConfigError(
            f"{hub_id} is gated: accept its licence on its page on the Hugging Face hub, then run `hf auth login`"
        ) from None
    except RepositoryNotFoundError:
        raise ConfigError(
            f"{hub_id} is neither a file or folder here nor a model on the Hugging Face hub, or it is private; "
            f"check the spelling"
        ) from None
    except Exception as error:  # no network: whatever the hub's client raises
        raise ConfigError(
            f"{hub_id} is not a file, folder or run here, and the Hugging Face hub cannot be reached "
            f"({type(error).__name__}); fetch its {FILES[0]}, {FILES[1]} and {FILES[2]} elsewhere, and name the folder"
        ) from None

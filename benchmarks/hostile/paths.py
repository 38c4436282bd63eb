"""Odd paths for every place of every command that takes one."""

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from options import SMALL, TINY_RUN, make_sound
from runner import samclr

HANG_S = 60
EXPLORED = ("regions", "run", "vectors", "bank")


def _device(place: Path) -> Path:
    """A device (without the right to make one, a pipe) of our own: never the machine's, which a fault would replace."""
    node = place / "null"
    if not node.exists():
        try:
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        except OSError:
            os.mkfifo(node)
    return node


def odd_paths(place: Path) -> dict[str, str]:
    """What a user may type where a path is wanted; nothing of it is what any command wants, but for `.`."""
    for name in ("missing", "empty", "new\nline", "x\x1b[2J", "x\udcff"):  # what commands before have put there
        left = place / name
        shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
    (place / "empty").mkdir()
    (place / "words.txt").write_text("words")
    (place / "loop").unlink(missing_ok=True)
    (place / "loop").symlink_to(place / "loop")
    return {
        "empty text": "",
        "missing": str(place / "missing"),
        "a file": str(place / "words.txt"),
        "a folder": str(place / "empty"),
        "inside a file": str(place / "words.txt" / "x"),
        "with a newline": str(place / "new\nline"),
        "with ESC": str(place / "x\x1b[2J"),
        "a device": str(_device(place)),
        "inside a device": str(_device(place) / "x"),
        "a loop of links": str(place / "loop"),
        "a name too long": str(place / ("x" * 300)),
        "not UTF-8": str(place / "x\udcff"),
        "inside /proc": "/proc/x/y",
    }


def places(place: Path) -> dict[str, tuple[Any, ...]]:
    """Each command with None at the place of the odd path."""
    scenes, store, shades, run, out = (place / name for name in ("scenes", "store", "shades", "run", "out"))
    vectors, page = place / "vectors", place / "page.html"
    measured = ("--image-px", 24, "--probe-epochs", 1, "--bootstrap", 100)
    pretrain = ("pretrain", "samclr", *TINY_RUN)
    return {
        "segment SCENES": ("segment", None, "--out", out),
        "segment --out": ("segment", scenes, "--out", None),
        "segment --labels": ("segment", scenes, "--segmenter", "labels", "--labels", None, "--out", out),
        "segment --segmenter": ("segment", scenes, "--segmenter", None, "--out", out),
        "pack SCENES": ("pack", None, "--bank", out),
        "pack --bank": ("pack", scenes, "--bank", None),
        "pretrain --scenes": (*pretrain, "--scenes", None, "--regions", store, "--out", out),
        "pretrain --regions": (*pretrain, "--scenes", scenes, "--regions", None, "--out", out),
        "pretrain --bank": (*pretrain, "--scenes", scenes, "--regions", store, "--bank", None, "--out", out),
        "pretrain --out": (*pretrain, "--scenes", scenes, "--regions", store, "--out", None),
        "pretrain --knn-on": (*pretrain, "--scenes", scenes, "--regions", store, "--out", out, "--knn-on", None),
        "pretrain --pretrained": (
            *pretrain,
            "--scenes",
            scenes,
            "--regions",
            store,
            "--out",
            out,
            "--pretrained",
            None,
        ),
        "pretrain from-config FILE": ("pretrain", "from-config", None, "--out", out),
        "evaluate TARGET": ("evaluate", None, "--on", shades, *measured),
        "evaluate --on": ("evaluate", "small-cnn", "--on", None, *measured),
        "evaluate --dense-on": ("evaluate", "small-cnn", "--dense-on", None, *measured),
        **{
            f"evaluate --{name}-on": ("evaluate", "small-cnn", f"--{name}-on", None, *measured)
            for name in ("multilabel", "objects", "detect")
        },
        "evaluate --out": ("evaluate", "small-cnn", "--on", shades, *measured, "--out", None),
        "export RUN": ("export", None, "--out", out),
        **{f"export {layout} --out": ("export", run, "--layout", layout, "--out", None) for layout in ("timm", "onnx")},
        "export huggingface --out": ("export", place / "resnet", "--layout", "huggingface", "--out", None),
        "embed SCENES": ("embed", None, *SMALL, "--out", out),
        "embed --regions": ("embed", scenes, *SMALL, "--regions", None, "--out", out),
        "embed --backbone": ("embed", scenes, "--backbone", None, *SMALL[2:], "--out", out),
        "embed --out": ("embed", scenes, *SMALL, "--out", None),
        "similar VECTORS": ("similar", None, "--to", "a/000.png"),
        "similar --to": ("similar", vectors, "--to", None, "--device", "cpu"),
        "similar --scenes": ("similar", vectors, "--to", "a/000.png", "--page", page, "--scenes", None),
        "similar --page": ("similar", vectors, "--to", "a/000.png", "--page", None),
        "similar --backbone": ("similar", vectors, "--to", place / "query.png", "--backbone", None, "--device", "cpu"),
        "duplicates VECTORS": ("duplicates", None, "--check", "none"),
        "duplicates --scenes": ("duplicates", vectors, "--scenes", None),
        "duplicates --out": ("duplicates", vectors, "--out", None),
        "duplicates --page": ("duplicates", vectors, "--page", None),
        "select VECTORS": ("select", None, "--num", 3, "--out", out),
        "select --scenes": ("select", vectors, "--num", 3, "--out", out, "--scenes", None),
        "select --out": ("select", vectors, "--num", 3, "--out", None),
        "explore SCENES": ("explore", None, "--port", 0),
        **{f"explore --{name}": ("explore", scenes, f"--{name}", None, "--port", 0) for name in EXPLORED},
        "report RUN": ("report", None, "--out", out),
        "report --out": ("report", run, "--out", None),
        "look STORE": ("look", None, "--scenes", scenes, "--out", out),
        "look --scenes": ("look", store, "--scenes", None, "--out", out),
        "look --out": ("look", store, "--scenes", scenes, "--out", None),
        "regions verify STORE": ("regions", "verify", None),
        "regions stats STORE": ("regions", "stats", None),
        "regions score STORE": ("regions", "score", None, "--segmentations", scenes),
        "regions score --segmentations": ("regions", "score", store, "--segmentations", None),
        "regions import FILE": ("regions", "import", None, "--scenes", scenes, "--out", out),
        "regions import --out": ("regions", "import", place / "coco.json", "--scenes", scenes, "--out", None),
        "regions export STORE": ("regions", "export", None, "--out", out),
        "regions export --out": ("regions", "export", store, "--out", None),
        "regions export sa1b --out": ("regions", "export", store, "--layout", "sa1b", "--out", None),
        "data check --root": ("data", "check", "cifar10", "--root", None),
        "study STUDY": ("study", "run", None, "--out", out, "--list"),
        "study status": ("study", "status", None),
        "study page": ("study", "page", None),
        "study --out": ("study", "run", "smoke", "--out", None, "--list"),
        "demo --out": ("demo", "--out", None, "--recipes", "nothing"),
    }


def try_paths(folder: Path, step: int = 1, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """A row of counts for each place whose name holds `kind`. A path that is refused leaves nothing half-written."""
    sound, cache = folder / "sound", folder / "cache"
    make_sound(sound, cache)
    resnet = ("--scenes", sound / "scenes", *TINY_RUN[2:], "--backbone", "resnet10t", "--out", sound / "resnet")
    assert samclr("pretrain", "simclr", *resnet, cache=cache).status == 0  # Hugging Face has no small-cnn
    samclr("regions", "export", sound / "store", "--out", sound / "coco.json", cache=cache)
    number = 0
    for name, words in places(sound).items():
        if (kind or "") not in name:
            continue
        counts = dict.fromkeys(("refused", "accepted", "silent", "hang", "crash", "unexpected"), 0)
        odd = []
        for odd_kind, path in odd_paths(sound).items():
            number += 1
            if number % step:
                continue
            shutil.rmtree(sound / "out", ignore_errors=True)
            given = [path if word is None else word for word in words]
            outcome = samclr(*given, cache=cache, hang_s=HANG_S)
            left = [one.name for one in sound.rglob("*.tmp")]
            if not _device(sound).is_char_device() and not _device(sound).is_fifo():
                left.append("the device was replaced")
                _device(sound).unlink()
            what = outcome.fault or ("accepted" if outcome.status == 0 else "refused")
            if "\x1b[2J" in outcome.text or left or (outcome.status and not outcome.text.strip()):
                what = "silent"
            counts[what] += 1
            if what in ("silent", "hang", "crash", "unexpected"):
                odd.append(f"{name}, {odd_kind}: {what}: {left} {outcome.text.strip()[-200:]}")
        yield {"what": f"paths: {name}", "tried": sum(counts.values()), **counts, "odd": odd}

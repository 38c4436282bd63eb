"""Odd values for every option of every command, as `--help` lists them."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runner import samclr
from support.instance_sets import write_instances
from support.scenes import write_labelled, write_scenes, write_shapes
from support.voc import write_voc

from samclr.config.recipes import RECIPES

ODD = ("-1", "0", "nan", "inf", "1e30", "99999999999999999999999", "", "x", "None", "../x\x1b[2J")
HUGE = "1000000000"  # what 32 bits hold, and of most things beyond what any machine can do
VALUES = (*ODD, HUGE)
OPTION = re.compile(r"^[│\s]*(?:-\w, )?(--[a-z0-9-]+)(?: ([A-Z{\[].*?))?\s*│?$", re.M)
TINY = ("--backbone", "small-cnn", "--size-px", 24, "--global-batch-size", 8, "--min-area-px", 20, "--steps", 1)
TINY_RUN = (*TINY, "--warmup-steps", 0, "--device", "cpu", "--workers", 1)
SMALL = ("--backbone", "small-cnn", "--image-px", 24, "--device", "cpu", "--workers", 1)
HANG_S = 120
PLACE_OF_KINDS = "kinds"  # of the small sets that `evaluate` measures protocols on scenes with
PROTOCOLS = {  # the options that count with a kind of sets; `evaluate` itself has the others
    "evaluate dense": ("--dense-", "--in-context", "--segment-", "--overcluster"),
    "evaluate objects": ("--objects-",),
    "evaluate several classes": ("--multilabel-",),
    "evaluate detection": ("--detect-",),
}
LASTING = {("--detect-steps", "None")}  # takes days, as it should
REFUSED = ("data check", "demo")  # as they would take long


def commands(place: Path) -> dict[str, tuple[Any, ...]]:
    """Each command in a form that works, quickly."""
    scenes, store, shades, out = place / "scenes", place / "store", place / "shades", place / "out"
    labels = place / "labels"
    pretrain = ("--scenes", scenes, "--regions", store, *TINY_RUN, "--out", out)
    measured = ("--on", shades, "--image-px", 24, "--probe-epochs", 1, "--bootstrap", 100, "--out", place / "r.json")
    return {
        "segment": ("segment", scenes, "--min-size", 20, "--out", out),
        "pack": ("pack", scenes, "--bank", out),
        **{f"pretrain {name}": ("pretrain", name, *pretrain, "--dry-run") for name in RECIPES},
        "pretrain from-config": ("pretrain", "from-config", place / "run", "--out", out, "--dry-run"),
        "evaluate": ("evaluate", "small-cnn", "--untrained", *measured),
        **evaluations(place),
        "embed": ("embed", scenes, "--regions", store, *SMALL, "--out", out),
        "similar": ("similar", place / "vectors", "--to", place / "query.png", "--device", "cpu"),
        "duplicates": ("duplicates", place / "vectors", "--out", place / "twice.txt"),
        "select": ("select", place / "vectors", "--num", 3, "--out", place / "some.txt"),
        "explore": ("explore", scenes, "--regions", store, "--vectors", place / "vectors", "--port", 0),
        "look": ("look", store, "--scenes", scenes, "--out", place / "look.html"),
        "segmenters": ("segmenters",),
        "regions verify": ("regions", "verify", store),
        "regions stats": ("regions", "stats", store),
        "regions import": ("regions", "import", place / "coco.json", "--scenes", scenes, "--out", out),
        "regions export": ("regions", "export", store, "--out", place / "coco.json"),
        "regions score": ("regions", "score", store, "--segmentations", labels),
        "export": ("export", place / "run", "--out", place / "backbone.safetensors"),
        "report": ("report", place / "run", "--out", place / "report.html"),
        "data list": ("data", "list"),
        "data check": ("data", "check", "cifar10", "--root", scenes),
        "study run": ("study", "run", "smoke", "--out", out, "--list"),
        "demo": ("demo", "--out", out, "--recipes", "nothing"),
    }


def evaluations(place: Path) -> dict[str, tuple[Any, ...]]:
    """Protocols on sets of each kind, each as quick as it may be."""
    shapes, instances = place / PLACE_OF_KINDS / "shapes", place / PLACE_OF_KINDS / "instances"
    voc = f"voc2007@{place / PLACE_OF_KINDS}"
    usual = ("evaluate", "small-cnn", "--untrained", "--bootstrap", 100, "--device", "cpu", "--out", place / "r.json")
    papers = (
        *("--dense-px", 48, "--dense-steps", 5, "--in-context", "--in-context-px", 48, "--in-context-memory", 40),
        *("--segment-linear", "--segment-px", 48, "--segment-epochs", 1, "--segment-mask-px", 20),
        *("--overcluster", 3, "--overcluster-px", 48, "--overcluster-mask-px", 20, "--overcluster-runs", 1),
    )
    detect = ("--detect-px", 64, "--detect-steps", 1, "--detect-batch-size", 1, "--detect-boxes", 4)
    few = ("--multilabel-px", 24, "--multilabel-costs", 1, "--multilabel-shots", 1)
    return {
        "evaluate dense": (*usual, "--dense-on", shapes, *papers),
        "evaluate objects": (*usual, "--objects-on", shapes, "--objects-px", 48),
        "evaluate several classes": (*usual, "--multilabel-on", voc, *few),
        "evaluate detection": (*usual, "--detect-on", instances, *detect, "--detect-num-val", 2),
    }


def options_of(words: tuple[Any, ...], cache: Path) -> list[str]:
    """Options that take a value."""
    depth = 2 if words[0] in ("pretrain", "regions", "data", "study") else 1
    text = samclr(*words[:depth], "--help", cache=cache).text
    found = {name: value for name, value in OPTION.findall(text) if value}
    return sorted(name for name in found if name not in ("--out", "--bank", "--page"))


def options_for(name: str, words: tuple[Any, ...], cache: Path) -> list[str]:
    """The options that are tried with a command; those of kinds of sets with the sets that they count with."""
    prefixes = PROTOCOLS.get(name, ())
    others = tuple(one for own in PROTOCOLS.values() for one in own) if name == "evaluate" else ()
    found = options_of(words, cache)
    return [one for one in found if (not prefixes or one.startswith(prefixes)) and not one.startswith(others or "?")]


def make_sound(sound: Path, cache: Path) -> None:
    """Scenes, labelled images, a store and a run, which the commands work on."""
    write_scenes(sound / "scenes", 8, labels=sound / "labels")
    write_labelled(sound / "shades")
    write_voc(sound / PLACE_OF_KINDS)
    write_shapes(sound / PLACE_OF_KINDS / "shapes")
    write_instances(sound / PLACE_OF_KINDS / "instances")
    samclr("segment", sound / "scenes", "--min-size", 20, "--out", sound / "store", cache=cache)
    run = ("--scenes", sound / "scenes", "--regions", sound / "store", *TINY_RUN, "--out", sound / "run")
    assert samclr("pretrain", "samclr", *run, cache=cache).status == 0
    embed = ("embed", sound / "scenes", "--regions", sound / "store", *SMALL, "--out", sound / "vectors")
    assert samclr(*embed, cache=cache).status == 0
    shutil.copyfile(next((sound / "shades").rglob("*.png")), sound / "query.png")


def values_for(option: str, turn: int, seen: set[str]) -> tuple[str, ...]:
    """All values; of an option of `pretrain` that another recipe was given before, two, at each turn others."""
    return (VALUES[turn % len(VALUES)], VALUES[(turn + 5) % len(VALUES)]) if option in seen else VALUES


def try_all(folder: Path, step: int = 1, kind: str | None = None) -> Iterator[dict[str, Any]]:
    """A row of counts for each command whose name holds `kind`."""
    sound, cache = folder / "sound", folder / "cache"
    make_sound(sound, cache)
    samclr("regions", "export", sound / "store", "--out", sound / "coco.json", cache=cache)
    seen: set[str] = set()  # by an earlier recipe of pretrain
    for turn, (name, words) in enumerate(commands(sound).items()):
        if (kind or "") not in name:
            continue
        counts = dict.fromkeys(("refused", "accepted", "silent", "hang", "crash", "unexpected"), 0)
        odd, number = [], 0
        options = options_for(name, words, cache)
        shutil.rmtree(sound / "out", ignore_errors=True)
        as_it_stands = samclr(*words, cache=cache, hang_s=HANG_S)
        if as_it_stands.status and name not in REFUSED:
            raise RuntimeError(f"{name} is refused without any odd value: {as_it_stands.text[-500:]}")
        for option in options:
            for value in values_for(option, turn, seen if words[0] == "pretrain" else set()):
                number += 1
                if number % step or (option, value) in LASTING:
                    continue
                shutil.rmtree(sound / "out", ignore_errors=True)
                outcome = samclr(*words, option, value, cache=cache, hang_s=HANG_S)
                what = outcome.fault or ("accepted" if outcome.status == 0 else "refused")
                if "\x1b[2J" in outcome.text:
                    what = "silent"
                counts[what] += 1
                if what in ("silent", "hang", "crash", "unexpected"):
                    odd.append(f"{name} {option} {value!r}: {what}: {outcome.text.strip()[-200:]}")
        seen |= set(options) if words[0] == "pretrain" else set()
        yield {"what": f"options: {name}", "tried": sum(counts.values()), **counts, "odd": odd}

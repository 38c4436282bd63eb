"""One byte of one file flipped, then the command that reads it: is that noticed, healed, without effect, or silent?"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from runner import Outcome, samclr

PRETRAIN = (
    *("--backbone", "small-cnn", "--projector-hidden", 8, "--projector-out", 8, "--size-px", 24),
    *("--global-batch-size", 8, "--min-area-px", 20, "--device", "cpu", "--num-threads", 1, "--workers", 1),
)


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of file: where it lies below the place of the sets, and a reading of it.

    read(place): runs commands; returns the last outcome and the value that a silent difference would show in.
    may_differ: raw pixels, whose bytes are checked by `pack --verify` alone.
    """

    name: str
    files: str
    read: Callable[[Path], tuple[Outcome, Any]]
    may_differ: bool = False


def make_place(place: Path) -> None:
    """Scenes, a store, banks, a run, caches, results and exports, made by the commands."""
    from support.scenes import write_labelled, write_scenes

    cache = place / "cache"
    write_scenes(place / "scenes", 12)
    write_labelled(place / "shades")
    made = [
        samclr("segment", place / "scenes", "--scale", 30, "--min-size", 20, "--out", place / "store", cache=cache),
        samclr("pack", place / "scenes", "--bank", place / "bank", cache=cache),
        samclr("pack", place / "scenes", "--bank", place / "jpeg", "--codec", "jpeg", cache=cache),
        _pretrain(place, "bank", place / "run", 3),
        samclr("evaluate", place / "run", *_evaluate(place), "--out", place / "run/results.json", cache=cache),
        samclr("export", place / "run", "--out", place / "backbone.safetensors", cache=cache),
        _embed(place),
    ]
    (place / "mapped").mkdir()
    for name in ("vectors", "scenes"):
        shutil.copytree(place / name, place / "mapped" / name)
    made.append(_search_mapped(place)[0])
    for outcome in made:
        assert outcome.status == 0, f"{outcome.words}: {outcome.text}"


def _pretrain(place: Path, bank: str, run: Path, steps: int) -> Outcome:
    words = ["--scenes", place / "scenes", "--regions", place / "store", "--bank", place / bank, "--steps", steps]
    words += ["--codec", "jpeg"] if bank == "jpeg" else []
    return samclr("pretrain", "samclr", *words, *PRETRAIN, "--out", run, cache=place / "cache")


def _evaluate(place: Path) -> tuple[Any, ...]:
    return "--on", place / "shades", "--image-px", 24, "--skip-linear", "--bootstrap", 100


def _losses(run: Path) -> list[float]:
    path = run / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return [row["loss"] for row in rows]


def _train(bank: str) -> Callable[[Path], tuple[Outcome, Any]]:
    def read(place: Path) -> tuple[Outcome, Any]:
        outcome = _pretrain(place, bank, place / "new", 2)
        return outcome, _losses(place / "new")

    return read


def _verified(place: Path) -> tuple[Outcome, Any]:
    outcome = samclr("pack", place / "scenes", "--bank", place / "bank", "--verify", cache=place / "cache")
    return outcome, _losses(place / "new") if _pretrain(place, "bank", place / "new", 2) else None


def _resume(place: Path) -> tuple[Outcome, Any]:
    outcome = _pretrain(place, "bank", place / "run", 3)
    return outcome, _losses(place / "run")


def _regions(place: Path) -> tuple[Outcome, Any]:
    outcome = samclr("regions", "export", place / "store", "--out", place / "coco.json", cache=place / "cache")
    return outcome, (place / "coco.json").read_text() if (place / "coco.json").exists() else None


def _measure(target: str) -> Callable[[Path], tuple[Outcome, Any]]:
    def read(place: Path) -> tuple[Outcome, Any]:
        out = place / "measured.json"
        outcome = samclr("evaluate", place / target, *_evaluate(place), "--out", out, cache=place / "cache")
        rows = json.loads(out.read_text())["results"] if out.exists() else []
        return outcome, [{name: row[name] for name in row if name.startswith("knn")} for row in rows]

    return read


def _report(place: Path) -> tuple[Outcome, Any]:
    outcome = samclr("report", place / "run", "--out", place / "report.html", cache=place / "cache")
    return outcome, (place / "report.html").read_text() if (place / "report.html").exists() else None


def _embed(place: Path) -> Outcome:
    words = ("--backbone", "small-cnn", "--image-px", 24, "--device", "cpu", "--workers", 1, "--out", place / "vectors")
    return samclr("embed", place / "scenes", "--regions", place / "store", *words, cache=place / "cache")


def _search(place: Path) -> tuple[Outcome, Any]:
    """What is similar, and what is twice, by the vectors alone, and a choice: the last outcome that is no success."""
    cache, vectors = place / "cache", place / "vectors"
    outcomes = [
        samclr("similar", vectors, "--to", "a/000.png", "--region", 1, "--json", cache=cache),
        samclr("duplicates", vectors, "--check", "none", "--threshold", 0.9, "--json", cache=cache),
        samclr("select", vectors, "--num", 5, "--scenes", place / "scenes", "--out", place / "some.txt", cache=cache),
    ]
    worst = next((one for one in outcomes if one.fault or one.status), outcomes[0])
    said = Outcome(words=worst.words, status=worst.status, text="\n".join(one.text for one in outcomes))
    return said, [one.text for one in outcomes]


def _search_mapped(place: Path) -> tuple[Outcome, Any]:
    """Likewise of vectors that were searched before, whose arrays lie mapped."""
    return _search(place / "mapped")


def _embed_again(place: Path) -> tuple[Outcome, Any]:
    """Resuming, then the search: healed where it was the rows."""
    outcome = _embed(place)
    if outcome.fault or outcome.status:
        return outcome, None
    said, found = _search(place)
    return Outcome(words=said.words, status=said.status, text=f"{outcome.text}\n{said.text}"), found


KINDS = (
    Kind(name="region store: part", files="store/*.parquet", read=_regions),
    Kind(name="region store: manifest", files="store/manifest.json", read=_regions),
    Kind(name="bank: rows", files="bank/*.parquet", read=_train("bank")),
    Kind(name="bank: manifest", files="bank/manifest.json", read=_train("bank")),
    Kind(name="bank: raw pixels", files="bank/*.bin", read=_train("bank"), may_differ=True),
    Kind(name="bank: raw pixels, pack --verify", files="bank/*.bin", read=_verified),
    Kind(name="bank: JPEG tiles", files="jpeg/*.bin", read=_train("jpeg")),
    Kind(name="region index", files="cache/index/*/*", read=_train("bank")),
    Kind(name="feature cache", files="cache/features/*", read=_measure("run")),
    Kind(name="checkpoint", files="run/checkpoint-*.pt", read=_measure("run")),
    Kind(name="run: config.json", files="run/config.json", read=_resume),
    Kind(name="run: metrics.jsonl", files="run/metrics.jsonl", read=_report),
    Kind(name="run: summary.json", files="run/summary.json", read=_resume),
    Kind(name="run: results.json", files="run/results.json", read=_report),
    Kind(name="vectors: part", files="vectors/b*.parquet", read=_search),
    Kind(name="vectors: part, embed again", files="vectors/b*.parquet", read=_embed_again),
    Kind(name="vectors: rows", files="vectors/rows/*.parquet", read=_search),
    Kind(name="vectors: rows, embed again", files="vectors/rows/*.parquet", read=_embed_again),
    Kind(name="vectors: manifest", files="vectors/manifest.json", read=_search),
    Kind(name="vectors: origin.json", files="vectors/origin.json", read=_search),
    Kind(name="vectors: mapped", files="mapped/vectors/mapped/*/*", read=_search_mapped),
    Kind(name="exported backbone", files="backbone.safetensors", read=_measure("backbone.safetensors")),
)


def flip_all(folder: Path, count: int, only: str | None) -> Iterator[dict[str, Any]]:
    """A row of counts for each kind of file."""
    sound = folder / "sound"
    make_place(sound)
    for kind in KINDS:
        if only is None or only in kind.name:
            yield _flip_kind(kind, sound, folder / "trial", count)


def _flip_kind(kind: Kind, sound: Path, trial: Path, count: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    _copy(sound, trial)
    reference, expected = kind.read(trial)
    assert reference.status == 0, reference.text
    counts = dict.fromkeys(("noticed", "healed", "no effect", "silent", "hang", "crash", "unexpected"), 0)
    odd: list[str] = []
    for _ in range(count):
        _copy(sound, trial)
        files = sorted(path for path in trial.glob(kind.files) if path.is_file() and path.stat().st_size)
        path = files[random.integers(len(files))]
        content = bytearray(path.read_bytes())
        place, bit = int(random.integers(len(content))), int(random.integers(8))
        content[place] ^= 1 << bit
        path.write_bytes(content)
        outcome, found = kind.read(trial)
        if outcome.fault is not None:
            what = outcome.fault
        elif outcome.status != 0:
            what = "noticed"
        elif found == expected:
            what = "healed" if "damaged" in outcome.text else "no effect"
        else:
            what = "noticed" if "damaged" in outcome.text else "silent"
        counts[what] += 1
        if what in ("silent", "hang", "crash", "unexpected"):
            odd.append(f"{path.relative_to(trial)} byte {place} bit {bit}: {what}: {outcome.text.strip()[-200:]}")
    return {"what": f"flip: {kind.name}", "tried": count, "may_differ": kind.may_differ, **counts, "odd": odd}


def _copy(sound: Path, trial: Path) -> None:
    """The sets anew, with equal stamps, at one path."""
    shutil.rmtree(trial, ignore_errors=True)
    shutil.copytree(sound, trial)

"""Evidence for `adapt`: settings chosen on validation splits, then three paired seeds of each arm on test splits.

    python benchmarks/adapt.py --camvid DIR --bsds DIR --cifar DIR --weights FILE --out OUT [--processes 8]
    python benchmarks/adapt.py --camvid DIR --bsds DIR --cifar DIR --vit-run RUN --out OUT

Backbones: EfficientNet-Lite0 with ImageNet's weights (--weights FILE in timm's layout, mean and deviation 0.5), and a
ViT-Ti/8 that `vit_pretraining` trains here with DINO on CIFAR-10's training images (--vit-run RUN, made if missing).
Scenes: the train splits of CamVid and BSDS500, with Felzenszwalb's regions. Gain: CamVid mIoU of frozen patch features,
by a linear probe and by nearest patches. Forgetting: kNN on CIFAR-10 (10,000 training images; 2,500 others of the
training split to choose by, 5,000 test images to report). Every arm gets 150 steps of 32 images, but for the one that
says otherwise.

Choosing: of each family the candidate with the highest mean of the two mIoUs on CamVid's val split, less what its kNN
loses beyond one point; seed 0. Test splits are read once, by the chosen. It resumes: what stands in results.jsonl is
not run again. On a machine with a GPU it takes minutes, on two cores a night.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import pyarrow.parquet as pq

SEEDS = (0, 1, 2)
Options = tuple[str, ...]
BUDGET = (
    *("--steps", "150", "--global-batch-size", "32", "--budget", "paper"),
    *("--optimizer", "adamw", "--weight-decay", "0.04", "--no-decay-norm-and-bias", "--warmup-steps", "30"),
)
GENTLE = ("--layer-decay", "0.75", "--head-warmup-steps", "30")
FROZEN = ("--frozen-norm", "statistics")
CONTRAST = ("detcon", "--crop-scale", "0.3", "1", *GENTLE)
IMAGES = (  # detcon's head, temperature, crops and colours, without its regions
    *("simclr", "--crop-scale", "0.3", "1", *GENTLE, "--temperature", "0.1", "--asymmetric"),
    *("--projector-hidden", "4096", "--projector-out", "256", "--jitter-saturation", "0.4"),
)
DISTILLATION = (
    *("dino", "--crop-scale", "0.3", "1", "--local-crop-scale", "0.05", "0.3", *GENTLE),
    *("--exported", "teacher", "--ema-momentum", "0.98", "--ema-momentum-end", "1"),
    *("--clip-norm", "3", "--clip-per", "parameter", "--anchor", "gram", "--anchor-warmup-steps", "30"),
)
REGIONS = ("--carried-regions", "16", "--region-weight")
MASKED = ("--masked-patch-weight", "1")
FEATURE = ("--anchor", "feature", "--anchor-feature-weight")
NO_ANCHOR = ("--anchor", "none")


def contrast(lr: str, *own: str, weight: str = "2") -> Options:
    """Region-pooled contrast with a feature anchor."""
    return (*CONTRAST, "--lr", lr, *FEATURE, weight, *own)


def images(best: Options) -> Options:
    """Whole images contrasted as gently as `best` does their regions: its rate, anchor and batch norm."""
    return (*IMAGES, *best[len(CONTRAST) :])


@dataclass(frozen=True)
class Plan:
    """What is run with one backbone.

    Attributes:
        model: options that name the backbone, beside its weights. own: options of every arm.
        cifar_px: side at which CIFAR-10 is measured.
        candidates: of each family, by their names.
    """

    name: str
    model: Options
    own: Options
    cifar_px: str
    candidates: dict[str, dict[str, Options]]

    def arms(self, chosen: dict[str, str]) -> dict[str, Options | None]:
        """What is reported, in the order in which it runs; None is the start."""
        best, other = (self.candidates[family][chosen[family]] for family in ("contrast", "distillation"))
        name = chosen["contrast"]
        found: dict[str, Options | None] = {
            "start": None,
            name: best,
            f"images contrasted{name.removeprefix('region-pooled contrast')}": images(best),
            chosen["distillation"]: other,
            "naive continuing, image views": ("simclr", "--lr", "1e-4"),
            "naive continuing, region views": ("samclr", "--lr", "1e-4"),
            f"{name}, but no anchor": (*best, *NO_ANCHOR),
        }
        if FROZEN[0] in best:
            found[f"{name}, batch norm trained"] = tuple(one for one in best if one not in FROZEN)
        without = other[: other.index(REGIONS[0])]
        found["self-distillation without regions"] = without
        found["region self-distillation without anchor"] = (*other, *NO_ANCHOR)
        found[f"{name}, 600 steps"] = (*best, "--steps", "600")
        return found


LITE = Plan(
    name="EfficientNet-Lite0",
    model=("--backbone", "tf_efficientnet_lite0", "--mean", ".5", ".5", ".5", "--std", ".5", ".5", ".5"),
    own=("--size-px", "192"),
    cifar_px="96",
    candidates={
        "contrast": {
            "region-pooled contrast, lr 1e-4": (*CONTRAST, "--lr", "1e-4", *FROZEN),
            "region-pooled contrast, lr 3e-4, feature anchor 2": contrast("3e-4", *FROZEN),
            "region-pooled contrast, lr 1e-3, feature anchor 2": contrast("1e-3", *FROZEN),
            "region-pooled contrast, lr 2e-3, feature anchor 2": contrast("2e-3", *FROZEN),
            "region-pooled contrast, lr 4e-3, feature anchor 2": contrast("4e-3", *FROZEN),
            "region-pooled contrast, lr 2e-3, feature anchor 1": contrast("2e-3", *FROZEN, weight="1"),
        },
        "distillation": {
            f"region self-distillation, lr {lr}{more}": (
                *(*DISTILLATION, "--local-size-px", "96", "--lr", lr, *FROZEN, *REGIONS, weight),
            )
            for lr, more, weight in (
                *(("1e-4", "", "1"), ("3e-4", "", "1"), ("1e-3", "", "1"), ("3e-4", ", region weight 4", "4")),
            )
        },
    },
)
VIT = Plan(
    name="ViT-Ti/8",
    model=("--backbone", "vit_tiny_patch16_224", "--model-args", "patch_size=8"),
    own=("--size-px", "128"),
    cifar_px="64",
    candidates={
        "contrast": {
            "region-pooled contrast, lr 1e-4, feature anchor 2": contrast("1e-4"),
            "region-pooled contrast, lr 3e-4, feature anchor 2": contrast("3e-4"),
            "region-pooled contrast, lr 1e-3, feature anchor 2": contrast("1e-3"),
        },
        "distillation": {
            f"region self-distillation{more}, lr {lr}": (
                *(*DISTILLATION, "--local-size-px", "64", "--lr", lr, *masked, *REGIONS, "1"),
            )
            for lr, more, masked in (*(("1e-4", "", ()), ("3e-4", "", ()), ("3e-4", " and masked patches", MASKED)),)
        },
    },
)


def vit_pretraining(cifar: Path, run: Path, precision: str) -> None:
    """The ViT's start: DINO on CIFAR-10's 50,000 training images at 64 px, 2,000 steps of 512 (20 epochs)."""
    samclr(
        *("pretrain", "dino", "--scenes", str(cifar / "train.parquet"), "--out", str(run), *VIT.model),
        *("--size-px", "64", "--local-size-px", "32", "--num-local-views", "4", "--budget", "paper"),
        *("--global-batch-size", "512", "--steps", "2000", "--warmup-steps", "200", "--optimizer", "adamw"),
        *("--lr", "1e-3", "--weight-decay", "0.04", "--no-decay-norm-and-bias", "--clip-norm", "3"),
        *("--ema-momentum", "0.996", "--ema-momentum-end", "1", "--exported", "teacher", "--precision", precision),
    )


def run_arm(
    plan: Plan, name: str, options: Options | None, seed: int, sets: dict[str, Any], split: str
) -> dict[str, Any]:
    """Pre-train, unless it is the start, and measure what the run exports."""
    start = time.perf_counter()
    run = sets["out"] / split / f"{name.replace(' ', '-').replace(',', '')}.seed{seed}"
    target = [str(sets["weights"]), *plan.model]
    if options is not None:
        recipe, *own = options
        scenes = [str(sets["camvid"] / "images" / "train"), str(sets["bsds"] / "images" / "train")]
        data = ["--scenes", *scenes, "--regions", str(sets["store"]), "--bank", str(sets["out"] / "bank")]
        model = ["--pretrained", str(sets["weights"]), *plan.model, "--seed", str(seed), "--out", str(run)]
        samclr("pretrain", recipe, *data, *model, *BUDGET, *plan.own, "--precision", str(sets["precision"]), *own)
        target = [str(run)]
    trained = time.perf_counter()
    found = run.with_name(f"{run.name}.json")
    samclr(
        *("evaluate", *target, "--on", str(sets[f"cifar-{split}"]), "--dense-on", str(sets[f"camvid-{split}"])),
        *("--image-px", plan.cifar_px, "--skip-linear", "--dense-px", "256", "--dense-steps", "1000"),
        *("--bootstrap", "100", "--out", str(found)),
    )
    results = json.loads(found.read_text())["results"]
    scores = {f"{r['protocol']} {r['variant']}".strip(): r["scores"] for r in results}
    return {
        "split": split,
        "arm": name,
        "seed": seed,
        "command": None if options is None else " ".join(("samclr pretrain", *options, *BUDGET, *plan.own)),
        "linear": scores["dense linear"]["miou"]["value"],
        "nearest": scores["dense knn"]["miou"]["value"],
        "knn": scores["knn"]["top1"]["value"],
        "train_s": trained - start,
        "measure_s": time.perf_counter() - trained,
    }


def samclr(*arguments: str) -> None:
    """A command, in this process. Raises RuntimeError if it ends with an error."""
    from samclr.cli.main import main

    try:
        status = main(list(arguments))
    except SystemExit as end:
        status = end.code
    if status:
        raise RuntimeError(f"samclr {' '.join(arguments)} ended with {status}")


def serve(number: int, tasks: Any, done: Any, out: Path) -> None:
    """A process that runs arms until there are none."""
    sys.stdout = sys.stderr = open(out / f"process-{number}.log", "a", buffering=1)  # noqa: SIM115
    for plan, name, options, seed, sets, split in iter(tasks.get, None):
        try:
            done.put(run_arm(plan, name, options, seed, sets, split))
        except Exception as error:
            done.put({"split": split, "arm": name, "seed": seed, "error": f"{type(error).__name__}: {error}"[:400]})


class Bench:
    """Processes, and the results so far."""

    def __init__(self, plan: Plan, sets: dict[str, Any], processes: int, limit_s: float) -> None:
        context = get_context("spawn")
        self.plan, self.sets, self.end = plan, sets, time.monotonic() + limit_s
        self.tasks, self.done = context.Queue(), context.Queue()
        self.file = sets["out"] / "results.jsonl"
        self.rows = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        for number in range(processes):
            arguments = (number, self.tasks, self.done, sets["out"])
            context.Process(target=serve, args=arguments, daemon=True).start()

    def run(self, wanted: list[tuple[str, Options | None, int]], split: str, limit_s: float) -> None:
        """Run what has no row yet; what is not done by the limit is left."""
        ready = {(row["split"], row["arm"], row["seed"]) for row in self.rows if "error" not in row}
        asked = [task for task in wanted if (split, task[0], task[2]) not in ready]
        for name, options, seed in asked:
            self.tasks.put((self.plan, name, options, seed, self.sets, split))
        end, left = min(self.end, time.monotonic() + limit_s), len(asked)
        while left:
            try:
                row = self.done.get(timeout=max(0.1, end - time.monotonic()))
            except Empty:
                break
            left -= row["split"] == split
            self.rows.append(row)
            with open(self.file, "a") as handle:
                handle.write(json.dumps(row) + "\n")
            print(json.dumps(row), flush=True)
        while not self.tasks.empty():  # what the limit left
            self.tasks.get()


def score(row: dict[str, Any], start: dict[str, Any]) -> float:
    """What candidates are chosen by."""
    return (row["linear"] + row["nearest"]) / 2 - max(0.0, start["knn"] - row["knn"] - 0.01)


def choose(plan: Plan, rows: list[dict[str, Any]]) -> dict[str, str]:
    """The name of the best candidate of each family on the validation splits."""
    found = {row["arm"]: row for row in rows if row["split"] == "val" and "error" not in row}
    start, chosen = found["start"], {}
    for family, candidates in plan.candidates.items():
        best = max((name for name in candidates if name in found), key=lambda name: score(found[name], start))
        print(f"chosen of {family}: {best}", flush=True)
        chosen[family] = best
    return chosen


def table(rows: list[dict[str, Any]], split: str) -> str:
    """Means over seeds, in per cent, with paired differences to the start and their 95 % intervals (Student's t)."""
    from scipy.stats import t

    columns = ("linear", "nearest", "knn")
    found = [row for row in rows if row["split"] == split and "error" not in row]
    start = next(row for row in found if row["arm"] == "start")
    lines = ["| arm | seeds | CamVid mIoU, linear | nearest patches | CIFAR-10 kNN |", "|---|---|---|---|---|"]
    for name in dict.fromkeys(row["arm"] for row in found):
        own = [row for row in found if row["arm"] == name]
        cells = []
        for column in columns:
            differences = 100 * (np.array([row[column] for row in own]) - start[column])
            text = f"{100 * start[column] + differences.mean():.1f}"
            if name != "start":
                half = t.ppf(0.975, len(own) - 1) * differences.std(ddof=1) / len(own) ** 0.5 if len(own) > 1 else None
                text += f" ({differences.mean():+.1f}{'' if half is None else f' ± {half:.1f}'})"
            cells.append(text)
        lines.append(f"| {name} | {len(own)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def make_sets(camvid: Path, bsds: Path, cifar: Path, out: Path) -> dict[str, Any]:
    """The splits: CamVid's val in its test's place; CIFAR-10's with 10,000 training images each."""
    sets = {"camvid": camvid, "camvid-test": camvid, "bsds": bsds, "out": out}
    for kind in ("images", "labels"):
        for name, split in (("train", "train"), ("test", "val")):
            place = out / "camvid-val" / kind / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to((camvid / kind / split).absolute())
    train, test = (pq.read_table(cifar / f"{split}.parquet") for split in ("train", "test"))
    order, order_of_test = (np.random.default_rng(0).permutation(len(one)) for one in (train, test))
    parts = {"val": train.take(order[10_000:12_500]), "test": test.take(order_of_test[:5_000])}
    for split, held in parts.items():
        place = out / f"cifar-{split}"
        place.mkdir(exist_ok=True)
        pq.write_table(train.take(order[:10_000]), place / "train.parquet")
        pq.write_table(held, place / "test.parquet")
    names = {"camvid-val": out / "camvid-val", "cifar-val": out / "cifar-val", "cifar-test": out / "cifar-test"}
    return sets | names | {"store": out / "store"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("camvid", "bsds", "cifar", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    start = parser.add_mutually_exclusive_group(required=True)
    start.add_argument("--weights", type=Path, help="EfficientNet-Lite0's")
    start.add_argument("--vit-run", type=Path, help="run directory of the ViT, trained here where it is missing")
    parser.add_argument("--precision", default="float32", help="bfloat16 on a GPU")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit-s", type=float, default=1e6, help="stop after so many seconds, half for choosing")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // given.processes)))
    sets = make_sets(given.camvid, given.bsds, given.cifar, given.out) | {"precision": given.precision}
    plan, sets["weights"] = LITE, given.weights
    if given.vit_run is not None:
        plan, sets["weights"] = VIT, given.out / "vit.safetensors"
        vit_pretraining(given.cifar, given.vit_run, given.precision)
        samclr("export", str(given.vit_run), "--out", str(sets["weights"]))
    scenes = [str(given.camvid / "images" / "train"), str(given.bsds / "images" / "train")]
    filters = ("--scale", "500", "--sigma", "0.8", "--min-size", "400")
    samclr("segment", *scenes, "--out", str(sets["store"]), *filters)
    samclr("pack", *scenes, "--bank", str(given.out / "bank"))
    bench = Bench(plan, sets, given.processes, given.limit_s)
    wanted = [(name, options, 0) for family in plan.candidates.values() for name, options in family.items()]
    bench.run([("start", None, 0), *wanted], "val", given.limit_s / 2)
    reported = plan.arms(choose(plan, bench.rows))
    wanted = [(name, options, seed) for seed in SEEDS for name, options in reported.items() if options or not seed]
    bench.run(wanted, "test", given.limit_s)
    for split in ("val", "test"):
        print(f"\n{split}\n\n{table(bench.rows, split)}")


if __name__ == "__main__":
    main()

"""Evidence for `adapt`: settings chosen on validation splits, then three paired seeds of each arm on test splits.

    python benchmarks/adapt.py --camvid DIR --bsds DIR --cifar DIR --weights FILE --out OUT [--processes 8]

Backbone: EfficientNet-Lite0 with ImageNet's weights (FILE in timm's layout, mean and deviation 0.5). Scenes: the train
splits of CamVid and BSDS500, with Felzenszwalb's regions. Gain: CamVid mIoU of frozen patch features, by a linear probe
and by nearest patches. Forgetting: kNN on CIFAR-10 (10,000 training images; 2,500 others of the training split to
choose by, 5,000 test images to report). Every arm gets STEPS steps of BATCH images.

Choosing: of each family the candidate with the highest mean of the two mIoUs on CamVid's val split, less what its kNN
loses beyond one point; seed 0. Test splits are read once, by the chosen. It resumes: what stands in results.jsonl is
not run again. On a machine with a GPU it takes minutes, on two cores a night.
"""

import argparse
import json
import os
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np
import pyarrow.parquet as pq

STEPS, BATCH, VIEW_PX = 150, 32, 192
SEEDS = (0, 1, 2)
MODEL = ("--backbone", "tf_efficientnet_lite0", "--mean", ".5", ".5", ".5", "--std", ".5", ".5", ".5")
BUDGET = (
    *("--steps", str(STEPS), "--global-batch-size", str(BATCH), "--size-px", str(VIEW_PX), "--budget", "paper"),
    *("--optimizer", "adamw", "--weight-decay", "0.04", "--no-decay-norm-and-bias", "--warmup-steps", "30"),
)
GENTLE = ("--frozen-norm", "statistics", "--layer-decay", "0.75", "--head-warmup-steps", "30")
CONTRAST = ("detcon", "--crop-scale", "0.3", "1", *GENTLE)
DISTILLATION = (
    *("dino", "--crop-scale", "0.3", "1", "--local-size-px", "96", "--local-crop-scale", "0.05", "0.3", *GENTLE),
    *("--exported", "teacher", "--ema-momentum", "0.98", "--ema-momentum-end", "1"),
    *("--clip-norm", "3", "--clip-per", "parameter", "--anchor", "gram", "--anchor-warmup-steps", "30"),
)
REGIONS = ("--carried-regions", "16", "--region-weight")
FEATURE = ("--anchor", "feature", "--anchor-feature-weight", "2")
NO_ANCHOR = ("--anchor", "none")

CANDIDATES: dict[str, dict[str, tuple[str, ...]]] = {
    "contrast": {
        "region-pooled contrast, lr 1e-4": (*CONTRAST, "--lr", "1e-4"),
        "region-pooled contrast, lr 3e-4, feature anchor 2": (*CONTRAST, "--lr", "3e-4", *FEATURE),
        "region-pooled contrast, lr 1e-3, feature anchor 2": (*CONTRAST, "--lr", "1e-3", *FEATURE),
    },
    "distillation": {
        "region self-distillation, lr 1e-4": (*DISTILLATION, "--lr", "1e-4", *REGIONS, "1"),
        "region self-distillation, lr 3e-4": (*DISTILLATION, "--lr", "3e-4", *REGIONS, "1"),
        "region self-distillation, lr 1e-3": (*DISTILLATION, "--lr", "1e-3", *REGIONS, "1"),
        "region self-distillation, lr 3e-4, region weight 4": (*DISTILLATION, "--lr", "3e-4", *REGIONS, "4"),
    },
}


def arms(chosen: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...] | None]:
    """What is reported, in the order in which it runs; None is the start."""
    contrast, distillation = chosen["contrast"], chosen["distillation"]
    without = distillation[: distillation.index(REGIONS[0])]
    return {
        "start": None,
        "region self-distillation": distillation,
        "naive continuing, image views": ("simclr", "--lr", "1e-4"),
        "naive continuing, region views": ("samclr", "--lr", "1e-4"),
        "self-distillation without regions": without,
        "region self-distillation without anchor": (*distillation, *NO_ANCHOR),
        "region-pooled contrast": contrast,
    }


def run_arm(name: str, options: tuple[str, ...] | None, seed: int, sets: dict[str, Any], split: str) -> dict[str, Any]:
    """Pre-train, unless it is the start, and measure what the run exports."""
    start = time.perf_counter()
    run = sets["out"] / split / f"{name.replace(' ', '-').replace(',', '')}.seed{seed}"
    target = [str(sets["weights"]), *MODEL]
    if options is not None:
        recipe, *own = options
        scenes = [str(sets["camvid"] / "images" / "train"), str(sets["bsds"] / "images" / "train")]
        data = ["--scenes", *scenes, "--regions", str(sets["store"]), "--bank", str(sets["out"] / "bank")]
        model = ["--pretrained", str(sets["weights"]), *MODEL, "--seed", str(seed), "--out", str(run)]
        samclr("pretrain", recipe, *data, *model, *BUDGET, "--precision", str(sets["precision"]), *own)
        target = [str(run)]
    trained = time.perf_counter()
    found = run.with_name(f"{run.name}.json")
    samclr(
        *("evaluate", *target, "--on", str(sets[f"cifar-{split}"]), "--dense-on", str(sets[f"camvid-{split}"])),
        *(
            "--image-px",
            "96",
            "--skip-linear",
            "--dense-px",
            "256",
            "--dense-steps",
            "1000",
            "--bootstrap",
            "100",
            "--out",
            str(found),
        ),
    )
    results = json.loads(found.read_text())["results"]
    scores = {f"{r['protocol']} {r['variant']}".strip(): r["scores"] for r in results}
    return {
        "split": split,
        "arm": name,
        "seed": seed,
        "command": None if options is None else " ".join(("samclr pretrain", *options, *BUDGET)),
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
    for name, options, seed, sets, split in iter(tasks.get, None):
        try:
            done.put(run_arm(name, options, seed, sets, split))
        except Exception as error:
            done.put({"split": split, "arm": name, "seed": seed, "error": f"{type(error).__name__}: {error}"[:400]})


class Bench:
    """Processes, and the results so far."""

    def __init__(self, sets: dict[str, Any], processes: int, limit_s: float) -> None:
        context = get_context("spawn")
        self.sets, self.count, self.end = sets, processes, time.monotonic() + limit_s
        self.tasks, self.done = context.Queue(), context.Queue()
        self.file = sets["out"] / "results.jsonl"
        self.rows = [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []
        for number in range(processes):
            arguments = (number, self.tasks, self.done, sets["out"])
            context.Process(target=serve, args=arguments, daemon=True).start()

    def run(self, wanted: list[tuple[str, tuple[str, ...] | None, int]], split: str, limit_s: float) -> None:
        """Run what has no row yet; what is not done by the limit is left."""
        ready = {(row["split"], row["arm"], row["seed"]) for row in self.rows if "error" not in row}
        asked = [task for task in wanted if (split, task[0], task[2]) not in ready]
        for name, options, seed in asked:
            self.tasks.put((name, options, seed, self.sets, split))
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


def choose(rows: list[dict[str, Any]]) -> dict[str, tuple[str, ...]]:
    """The best candidate of each family on the validation splits."""
    found = {row["arm"]: row for row in rows if row["split"] == "val" and "error" not in row}
    start, chosen = found["start"], {}
    for family, candidates in CANDIDATES.items():
        best = max((name for name in candidates if name in found), key=lambda name: score(found[name], start))
        print(f"chosen of {family}: {best}", flush=True)
        chosen[family] = candidates[best]
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


def make_sets(camvid: Path, bsds: Path, cifar: Path, weights: Path, out: Path) -> dict[str, Any]:
    """The splits: CamVid's val in its test's place; CIFAR-10's with 10,000 training images each."""
    sets = {"camvid": camvid, "camvid-test": camvid, "bsds": bsds, "weights": weights, "out": out}
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
    for name in ("camvid", "bsds", "cifar", "weights", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--precision", default="float32", help="bfloat16 on a GPU")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit-s", type=float, default=1e6, help="stop after so many seconds, a third for choosing")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // given.processes)))
    sets = make_sets(given.camvid, given.bsds, given.cifar, given.weights, given.out)
    scenes = [str(given.camvid / "images" / "train"), str(given.bsds / "images" / "train")]
    filters = ("--scale", "500", "--sigma", "0.8", "--min-size", "400")
    samclr("segment", *scenes, "--out", str(sets["store"]), *filters)
    samclr("pack", *scenes, "--bank", str(given.out / "bank"))
    bench = Bench(sets | {"precision": given.precision}, given.processes, given.limit_s)
    wanted = [(name, options, 0) for family in CANDIDATES.values() for name, options in family.items()]
    bench.run([("start", None, 0), *wanted], "val", given.limit_s / 2)
    chosen = choose(bench.rows)
    reported = arms(chosen)
    wanted = [(name, options, seed) for seed in SEEDS for name, options in reported.items() if options or not seed]
    bench.run(wanted, "test", given.limit_s)
    for split in ("val", "test"):
        print(f"\n{split}\n\n{table(bench.rows, split)}")


if __name__ == "__main__":
    main()

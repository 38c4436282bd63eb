"""Studies as a user runs them: whole, killed, stopped, spread over commands, with arms that fail or are missing."""

import csv
import json
import os
import signal
import subprocess
import time

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from support.browser import open_page
from support.command import command, samclr
from support.scenes import write_shapes
from support.study_files import IMAGE, LABELS, SAM, result, write_study_files

from samclr.config.pretrain import ModelConfig
from samclr.models.backbone import create_backbone
from samclr.runs.directory import read_metrics
from samclr.study.folder import open_study
from samclr.study.job import plan_study, run_one
from samclr.study.page import write_study
from samclr.study.runs import make_store
from samclr.study.status import status_rows
from samclr.study.tables import results_of

TABLES = ("table.csv", "table.md", "differences.csv")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study carried out run by run by its numbers, as a SLURM array does; (files, folder, plan)."""
    root = tmp_path_factory.mktemp("whole")
    os.environ["SAMCLR_CACHE"] = str(root / "cache")
    files = write_study_files(root)
    folder, plan = plan_study(files.study, str(files.file), root / "out", files.given(), parallel=2)
    outcomes = [run_one(folder, plan, number)[1] for number in range(len(plan.runs()))]
    assert outcomes == ["done", "done", "done", "missing"] * 2
    write_study(folder, plan)
    return files, folder, plan


def test_the_tables_hold_every_arm(whole):
    _, folder, _ = whole
    rows = list(csv.DictReader((folder.path / "table.csv").open()))
    assert [row["arm"] for row in rows[::3]] == ["untrained", IMAGE, LABELS, SAM]
    knn = {row["arm"]: row for row in rows if row["metric"] == "knn_top1"}
    results = json.loads((folder.runs / f"{IMAGE}.seed1" / "results.json").read_text())["results"]
    assert float(knn[IMAGE]["seed 1"]) == results[0]["scores"]["top1"]["value"]
    assert knn[IMAGE]["n"] == "2"
    assert knn[IMAGE]["quoted"] == "0.5"
    assert knn[SAM]["mean"] == ""
    assert knn[SAM]["state"] == "0 of 2 seeds"
    table = (folder.path / "table.md").read_text()
    assert "| SAMCLR, sam-hq-vit-h regions (2 of 2 seeds missing) | - | - | - |" in table
    assert "SAMCLR, ground-truth regions against SimCLR on tones by kNN: " in table
    assert f"{100 * float(knn[IMAGE]['mean']):.1f} ± {100 * float(knn[IMAGE]['deviation']):.1f} [50.0]" in table


CONTINUING = """
from dataclasses import replace

from samclr.config import EvaluationConfig, EvaluationData, FilterConfig, ProjectorConfig, ViewGroup
from samclr.config.recipes import RECIPES
from samclr.study import Study, Variant

ADAPT = RECIPES["adapt"].config
SMALL = replace(
    ADAPT,
    method=replace(ADAPT.method, projector=ProjectorConfig(projector_hidden=8, projector_out=4)),
    filter=FilterConfig(min_area_px=20),
    group=ViewGroup(size_px=24),
    optim=replace(ADAPT.optim, global_batch_size=8, steps=2, head_warmup_steps=1, warmup_steps=1, layer_decay=None),
)
STUDY = Study(
    name="continuing",
    summary="Of seconds.",
    variants=(Variant(name="adapt", title="adapt", config=SMALL),),
    continues=True,
    seeds=(0,),
    measuring=EvaluationConfig(data=EvaluationData(image_px=24)),
    device="cpu",
)
"""


@pytest.mark.slow
def test_a_study_that_continues_weights_measures_them_as_its_floor(whole, tmp_path, here):
    files, _, _ = whole
    torch.manual_seed(3)
    save_file(create_backbone(ModelConfig(backbone="small-cnn")).state_dict(), tmp_path / "weights.safetensors")
    (tmp_path / "continuing.py").write_text(CONTINUING)
    named = ["--scenes", f"boxes={files.scenes}", "--on", f"tones={files.tones}"]
    words = ["study", "run", tmp_path / "continuing.py", "--out", tmp_path / "out", *named, "--index"]
    weights = ["--pretrained", tmp_path / "weights.safetensors", "--backbone", "small-cnn"]
    weights += ["--mean", ".5", ".5", ".5", "--std", ".5", ".5", ".5"]
    assert "name them with --pretrained" in here(*words, 0).stderr
    for index, more in ((0, weights), (1, ())):  # the second time the study knows them
        done = here(*words, index, *more)
        assert done.returncode == 0, done.stderr
    target = [tmp_path / "weights.safetensors", *weights[2:], "--on", files.tones, "--image-px", 24, "--device", "cpu"]
    assert here("evaluate", *target, "--out", tmp_path / "start.json").returncode == 0
    own = json.loads((tmp_path / "start.json").read_text())["results"]
    folder, plan = open_study(tmp_path / "out")
    floor = folder.results(plan.runs()[0], plan.measurements[0])
    ours, theirs = [one.to_dict()["scores"] for one in floor], [one["scores"] for one in own]
    assert ours == theirs
    assert floor[0].backbone_fingerprint == own[0]["backbone_fingerprint"]
    page = write_study(folder, plan).with_name("table.md").read_text()
    assert "| the start |" in page
    assert "adapt against the start on tones by kNN: " in page


def test_equal_seeds_see_the_same_images_in_every_arm(whole):
    _, folder, plan = whole
    image, labels = (folder.runs / f"{name}.seed0" for name in (IMAGE, LABELS))
    first = [read_metrics(run)[0] for run in (image, labels)]
    assert first[0]["epoch"] == first[1]["epoch"]
    configs = [json.loads((run / "config.json").read_text())["config"] for run in (image, labels)]
    assert configs[0]["seed"] == configs[1]["seed"] == 0
    assert configs[0]["data"]["regions"] is None
    assert configs[1]["data"]["regions"] == str(folder.stores / plan.stores[0].name)


def test_a_store_is_made_once_and_its_cost_is_known(whole):
    _, folder, plan = whole
    state = folder.state(plan.stores[0].name)
    assert state["images"] == 12
    assert state["segment_s"] > 0
    rows = {row["arm"]: row for row in csv.DictReader((folder.path / "costs.csv").open())}
    assert rows[LABELS]["region store"] == plan.stores[0].name
    assert float(rows[IMAGE]["train hours"]) > 0
    assert rows[IMAGE]["device"] == "CPU"
    assert rows["untrained"]["steps"] == "0"
    parts = sorted((folder.stores / plan.stores[0].name).glob("*.parquet"))
    before = [part.stat().st_mtime_ns for part in parts]
    assert make_store(folder, plan, plan.stores[0]) == "done"
    assert [part.stat().st_mtime_ns for part in parts] == before


def test_the_page_says_it_all(whole):
    files, folder, _ = whole
    page = (folder.path / "page.html").read_text()
    for text in (
        *("6 of 8 runs are done", "2 missing", "quoted 50.0", "runs on request only", "Differences", "n = 2"),
        *("Accuracy of each class", "dark", "light", "CPU hours", "segmentation included"),
        f"samclr study run {files.file} --out {folder.path}",
        "--only &#39;boxes.simclr.region.sam-hq-vit-h.t0.2.c1.3&#39;",
        "samclr pretrain simclr",
        "region views, pair by pair",
    ):
        assert text in page, text
    assert "http" not in page


@pytest.mark.page
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_in_a_browser(whole, tmp_path, width):
    facts = open_page(whole[1].path / "page.html", tmp_path, width)
    assert facts["shown"] == facts["images"] == 2 * 2 * (1 + 3 * 2)  # two arms, two scenes, three pairs
    assert facts["curves"] >= 4
    assert facts["outside"] == 0
    assert facts["overflow"] <= 0
    assert facts["hidden"] == []
    assert facts["crossed"] == 0


def run_killed(arguments, signum, when, patience_s=240):
    """Start the command, wait until `when()`, signal it; its exit status and stderr."""
    process = subprocess.Popen(command(*arguments), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + patience_s
    while not when() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process.poll() is None, "it ended before the signal"
    process.send_signal(signum)
    return process.wait(timeout=120), process.stderr.read()


@pytest.mark.slow
def test_killed_and_started_again_it_ends_in_the_same_table(whole, tmp_path):
    files, folder, _ = whole
    out = tmp_path / "killed"
    arguments = ["study", "run", files.file, "--out", out, *files.flags()]
    run = out / "runs" / f"{IMAGE}.seed0"
    status, _ = run_killed(arguments, signal.SIGKILL, lambda: len(read_metrics(run)) >= 2)
    assert status == -signal.SIGKILL
    time.sleep(1.0)  # the runs' processes see that their parent is gone
    killed, plan = open_study(out)
    assert not any(killed.is_locked(one.name) for one in plan.runs())
    assert not all(killed.is_done(plan, one) for one in plan.runs() if not one.arm.missing)
    done = samclr(*arguments)
    assert done.returncode == 0, done.stderr
    for name in TABLES:
        assert (out / name).read_bytes() == (folder.path / name).read_bytes(), name
    again = samclr(*arguments)
    assert "6 done, 0 failed, 2 missing of 8 runs" in again.stderr
    assert "seed0, " not in again.stderr  # nothing was carried out again


@pytest.mark.slow
def test_sigterm_stops_all_and_a_failed_run_stops_no_other(tmp_path):
    files = write_study_files(tmp_path)
    for path in files.labels.rglob("*.png"):  # label maps of another size than their images
        Image.new("L", (9, 9)).save(path)
    out = tmp_path / "out"
    long = files.file.read_text().replace("steps=4", "steps=2000")
    files.file.write_text(long)
    arguments = ["study", "run", files.file, "--out", out, *files.flags(), "--seeds", 0]
    run = out / "runs" / f"{IMAGE}.seed0"
    status, stderr = run_killed(arguments, signal.SIGTERM, lambda: len(read_metrics(run)) >= 3)
    assert status == 143
    assert "stopped; rerun the same command to resume" in stderr
    folder, plan = open_study(out)
    steps = folder.steps_done(plan.runs()[1])
    assert 3 <= steps < 2000
    assert {row["stage"] for row in status_rows(folder, plan)} <= {"waiting", "missing", "done", "failed"}
    write_study(folder, plan)  # a page of what is there by now
    assert "not run yet" in (out / "page.html").read_text()
    done = samclr("study", "run", files.file, "--out", tmp_path / "short", *files.flags(), "--seeds", 0, "--steps", 2)
    assert done.returncode == 1
    assert "2 done, 1 failed, 1 missing of 4 runs" in done.stderr
    status = json.loads(samclr("study", "status", tmp_path / "short", "--json").stdout)["runs"]
    reasons = {row["run"]: row["reason"] for row in status if row["stage"] == "failed"}
    assert list(reasons) == [f"{LABELS}.seed0"]
    assert reasons[f"{LABELS}.seed0"].startswith("none of the 12 scenes could be segmented: ")
    page = (tmp_path / "short" / "page.html").read_text()
    assert "none of the 12 scenes could be segmented" in page


def test_a_model_that_cannot_be_had_leaves_its_arm_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # fails at once, as a missing network does after its time-outs
    files = write_study_files(tmp_path)
    folder, plan = plan_study(files.study, "tiny", tmp_path / "out", files.given(only=(SAM,)), parallel=1)
    assert not plan.arms[3].missing
    assert run_one(folder, plan, 3)[1] == "missing"
    assert folder.stage(plan, plan.runs()[3]) == "missing"
    assert "sam-hq-vit-h" in folder.reason(plan.runs()[3])
    write_study(folder, plan)
    assert "sam-hq-vit-h" in (tmp_path / "out" / "page.html").read_text()


@pytest.mark.slow
def test_ray_carries_out_the_same_study(whole, tmp_path):
    pytest.importorskip("ray")
    files, folder, _ = whole
    out = tmp_path / "ray"
    only = ["--only", IMAGE, "untrained"]
    done = samclr("study", "run", files.file, "--out", out, *files.flags(), "--engine", "ray", "--seeds", 0, *only)
    assert done.returncode == 0, done.stderr
    assert "2 done, 0 failed, 0 missing of 2 runs" in done.stderr
    other, plan = open_study(out)
    for run in plan.runs():
        if other.is_done(plan, run):
            assert results_of(other, plan, run) == results_of(folder, plan, run)
    assert other.state(f"{IMAGE}.seed0")["trained"]


def test_dense_results_stand_in_the_table_by_their_keys(tmp_path):
    files = write_study_files(tmp_path)
    given = files.given(dense_on={"camvid": write_shapes(tmp_path / "shapes")}, seeds=(0,))
    folder, plan = plan_study(files.study, "tiny", tmp_path / "out", given, parallel=1)
    knn = result("knn", "tones", top1=0.5, top5=0.9)
    linear = result("dense", "camvid", variant="linear", kind="dense", miou=0.25)
    rows = {
        "tones/labelled": {"results": [knn], "measure_s": 1.0, "per_class": {"a": 0.5}},
        "camvid/dense": {"results": [linear], "measure_s": 1.0, "per_class": {"road": 0.75}},
    }
    for run in plan.runs()[:3]:
        folder.update_state(run.name, trained=True, train_s=1.0, device="cuda", threads=4, measured=rows)
    write_study(folder, plan)
    table = (folder.path / "table.md").read_text()
    assert "| arm | tones kNN | camvid mIoU, linear |" in table
    assert "| SimCLR | 50.0 [50.0] | 25.0 |" in table
    page = (folder.path / "page.html").read_text()
    assert "camvid, IoU of the linear probe" in page
    assert "GPU hours" in page

"""A package of somebody else adds a method, a segmenter, a data set and a protocol, and no line of samclr changes.

It is installed without a network by pip and setuptools, which every environment with torch has, into a folder that
only some processes see. The commands run in one such process, since starting many takes long.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import SMALL_FLAGS, command

from samclr.errors import RunError
from samclr.regions.store import open_store
from samclr.runs.saved import load_config

PACKAGE = Path(__file__).with_name("plugin_package")
RUN_ALL = """
import contextlib, io, json, sys
from samclr.cli.main import main
light = not {"torch", "numpy", "PIL", "pyarrow"} & set(sys.modules)
done = {}
for name, words in json.load(sys.stdin).items():
    out, said = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(said):
        try:
            main(words)
        except SystemExit as ended:
            status = ended.code or 0
    done[name] = [status, out.getvalue(), said.getvalue()]
import samclr
backbone = samclr.load_backbone("run")
print(json.dumps({"light": light, "done": done, "backbone": type(backbone).__name__}))
"""
COMMANDS = {
    "segmenters": "segmenters --json",
    "data list": "data list --json",
    "segment --help": "segment --help",
    "pretrain --help": "pretrain samalign --help",
    "study --help": "demo --help",
    "data check": "data check signs --root data --download --json",
    "segment": "segment signs@data --segmenter tiles --tile-px 16 --out regions --workers 1",
    "labels": "segment signs@data --segmenter labels --out labels --workers 1",
    "not its option": "segment signs@data --tile-px 16 --out other",
    "pretrain": "pretrain samalign --scenes signs@data --regions regions --bank bank --out run --steps 2 "
    f"--uniformity 0.5 {' '.join(SMALL_FLAGS)}",
    "evaluate": "evaluate run --on signs@data --dense-on signs@data --image-px 24 --knn-k 2 --mean-most 3 "
    "--dense-px 32 --dense-steps 2 --json",
    "report": "report run --out report.html",
}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the package is installed into."""
    folder = tmp_path_factory.mktemp("installed")
    copy = folder / "source"  # pip builds in the folder, which stays as it is in the repository
    shutil.copytree(PACKAGE, copy)
    words = ["install", "--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--no-compile"]
    words += ["--disable-pip-version-check", "--target", folder / "site", copy]
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder / "site"


@pytest.fixture(scope="module")
def used(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder in which the commands ran with the package, and what they said."""
    folder = tmp_path_factory.mktemp("used")
    path = os.pathsep.join(filter(None, (str(installed), os.environ.get("PYTHONPATH"))))
    own = {"PYTHONPATH": path, "SAMCLR_CACHE": str(folder / "cache"), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL],
        input=json.dumps({name: words.split() for name, words in COMMANDS.items()}),
        cwd=folder, env=os.environ | own, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def said(used: tuple[Path, dict[str, Any]], name: str, status: int = 0) -> str:
    found, out, remarks = used[1]["done"][name]
    assert found == status, remarks
    return out if status == 0 else remarks


def test_the_commands_list_what_it_adds(used):
    rows = {row["segmenter"]: row for row in json.loads(said(used, "segmenters"))["segmenters"]}
    assert rows["tiles"]["remark"] == "a grid of boxes"
    sets = {row["name"]: row for row in json.loads(said(used, "data list"))["data_sets"]}
    assert sets["signs"]["scene_split"] == "train"
    assert sets["signs"]["splits"] == [{"split": "train", "num_images": 8}, {"split": "test", "num_images": 4}]
    assert "tiles only: side of a box. (default: 32)" in said(used, "segment --help")
    shown = said(used, "pretrain --help")
    assert "Alignment and uniformity of one region's views" in shown
    assert "--uniformity FLOAT" in shown
    assert "samalign" in said(used, "study --help")
    assert used[1]["light"]  # the specs import nothing heavy


def test_its_data_set_is_fetched_and_checked(used):
    found = json.loads(said(used, "data check"))
    assert (found["is_complete"], found["faults"]) == (True, [])
    assert [(row["split"], row["num_images"], row["num_labels"]) for row in found["splits"]] == [
        ("train", 8, 8),
        ("test", 4, 4),
    ]


def test_its_segmenter_fills_a_store(used):
    for name, folder, regions in (("segment", "regions", 9), ("labels", "labels", 1)):
        said(used, name)
        assert [len(row["regions"]) for row in open_store(used[0] / folder).read().to_pylist()] == [regions] * 8
    assert open_store(used[0] / "regions").maker == {"segmenter": "tiles", "tile_px": 16}
    refused = said(used, "not its option", status=2)
    assert refused == "samclr: error: --tile-px has no effect here: it applies only with --segmenter tiles\n"


def test_its_method_trains_and_is_measured_on_its_data_set(used):
    said(used, "pretrain")
    saved = json.loads((used[0] / "run/config.json").read_text())["config"]
    assert saved["method"] == {"name": "align", "uniformity": 0.5, "projector": saved["method"]["projector"]}
    assert "uniformity" in (used[0] / "run/metrics.jsonl").read_text()
    assert used[1]["backbone"] == "SmallCnn"
    results = json.loads(said(used, "evaluate"))["results"]
    assert {row["protocol"] for row in results} == {"knn", "linear", "class_mean", "dense"}
    for row in results:
        counts = row["counts"]
        assert (row["on"], counts["num_train"], counts["num_test"], counts["num_classes"]) == ("signs", 8, 4, 2), row
    said(used, "report")
    assert "samalign" in (used[0] / "report.html").read_text()


def test_its_protocol_measures(used):
    (mine,) = [row for row in json.loads(said(used, "evaluate"))["results"] if row["protocol"] == "class_mean"]
    assert mine["settings"]["mean_most"] == 3
    assert 0 <= mine["scores"]["top1"]["value"] <= 1


def test_without_the_package_its_run_is_refused_by_the_methods_name(used, call):
    with pytest.raises(RunError, match="'align' is not a method; expected one of barlow, byol, detcon, dino"):
        load_config(used[0] / "run")
    status, _, text = call("segment", used[0] / "data/signs/images/train", "--segmenter", "tiles", "--out", "x")
    assert (status, "no segmenter 'tiles'; give a name from `samclr segmenters`, a Hug" in text) == (2, True)


def test_a_broken_package_is_named_in_one_sentence(tmp_path):
    made = tmp_path / "samclr_broken-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: samclr-broken\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text("[samclr.segmenters]\nlost = samclr_lost:SPEC\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(command("segmenters"), env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "samclr: error: the segmenter lost of samclr-broken (samclr_lost:SPEC) cannot be imported: "
        "ModuleNotFoundError: No module named 'samclr_lost'; fix or uninstall samclr-broken\n",
    )

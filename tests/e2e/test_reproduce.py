"""Every command of docs/reproduce.md, as it stands there, on tiny data sets in the true layouts.

The studies are the ready ones with a smaller network, budget and images; sam-hq-vit-h, whose weights are not to be
had, is Felzenszwalb's segmenter under that name. Everything else is what a user gets.
"""

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from support.true_layouts import write_ade20k, write_cifar10, write_cityscapes, write_imagenette, write_stl10

from samclr.config import (
    CropProbeConfig,
    DenseConfig,
    EvaluationConfig,
    EvaluationData,
    FilterConfig,
    KnnConfig,
    OptimConfig,
    ProbeConfig,
)
from samclr.config.segmenters import SegmenterConfig
from samclr.study import Study
from samclr.study.studies import STUDIES

PAGE = Path(__file__).parents[2] / "docs/reproduce.md"
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"```\n(.*?)```", PAGE.read_text(), re.S)]
COMMANDS = [shlex.split(line)[1:] for block in BLOCKS for line in block.splitlines()]
FELZENSZWALB = SegmenterConfig(scale=100.0, sigma=0.8, min_size=20)


def made_small(study: Study) -> Study:
    """The study with its arms and sets, in seconds."""
    asked = study.measuring.of("crop_probe").is_asked
    crops = CropProbeConfig(crop_probe=asked, crop_epochs=1, crop_px=16)
    dense = DenseConfig(dense_px=48, dense_steps=5, dense_k=2)
    return replace(
        study,
        grids=tuple(replace(grid, steps=None) for grid in study.grids),
        seeds=(0,),
        optim=OptimConfig(global_batch_size=4, steps=2, lr=0.05),
        measuring=EvaluationConfig(
            data=EvaluationData(image_px=24),
            protocols=(KnnConfig(knn_k=2), ProbeConfig(probe_epochs=2), crops, dense),
        ),
        segmenters=(("sam-hq-vit-h", FELZENSZWALB), ("felzenszwalb", FELZENSZWALB)),
        filter=FilterConfig(min_area_px=20),
        backbone="small-cnn",
        stem="standard",
        size_px=24,
        local_size_px=16,
        device="cpu",
    )


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with DATA in it, in which the commands are typed."""
    root = tmp_path / "DATA"
    write_cityscapes(root / "cityscapes")
    write_ade20k(root / "ade20k")
    write_imagenette(root, "imagenette2")
    write_cifar10(root, monkeypatch)
    write_stl10(root, monkeypatch)
    fetched = "torchvision.datasets.utils.download_and_extract_archive"  # of ImageNette, which is not whole
    monkeypatch.setattr(fetched, lambda *given, **named: None)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_commands_for_every_set_and_study():
    assert [command[2] for command in COMMANDS if command[0] == "data"] == [
        "cityscapes", "ade20k", "cifar10", "stl10", "imagenette",
    ]  # fmt: skip
    assert [command[2] for command in COMMANDS if command[0] == "study"] == [
        "paper", "paper", "temperature", "controls", "padding",
    ]  # fmt: skip


FAULTS = {
    "cityscapes": ["train: 4 images, the release has 2,975", "val: 2 images, the release has 500"],
    "ade20k": ["training: 3 images, the release has 20,210", "validation: 2 images, the release has 2,000"],
    "cifar10": ["train: 20 images, the release has 50,000", "test: 4 images, the release has 10,000"],
    "stl10": ["train: 5 images, the release has 5,000", "test: 4 images, the release has 8,000"],
    "imagenette": ["train: 6 images, the release has 9,469", "val: 3 images, the release has 3,925"],
}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c[0] == "data"], ids=lambda command: command[2])
def test_checks(command, data, call):
    """Tiny sets lack images: the check counts them, says where they are got, and finds nothing else at fault."""
    status, out, err = call(*command)
    assert status == 1, out + err
    text = " ".join((out + err).split())
    for fault in FAULTS[command[2]]:
        assert fault in text
    assert "get it from: " in text


STUDY_COMMANDS = {command[4]: command for command in COMMANDS if command[0] == "study"}
LARGE = ("runs/paper", "runs/padding", "runs/controls", "runs/temperature")


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, id=name, marks=[pytest.mark.slow] * (name in LARGE)) for name, one in STUDY_COMMANDS.items()],
)
def test_studies(command, data, call, monkeypatch):
    monkeypatch.setitem(STUDIES, command[2], made_small(STUDIES[command[2]]))
    status, out, err = call(*command, "--list", "--json")
    assert status == 0, err
    runs = json.loads(out)["runs"]
    assert not [row for row in runs if row["stage"] == "missing"]
    trial = "--steps" in command
    for row in [row for row in runs if row["run"].startswith("cityscapes.simclr")] if trial else runs:
        status, out, err = call(*command, "--index", row["index"])  # in this process, as a SLURM array does
        assert status == 0, err
    folder = Path(command[command.index("--out") + 1])
    status, _, err = call("study", "page", folder)
    assert status == 0, err
    table = (folder / "table.md").read_text()
    assert "missing" not in table
    assert ("not run yet" in table) == trial
    if command[2] == "paper":
        assert "| SAMCLR |" in table
        assert re.search(r"\[63\.9\].*\[63\.4\]", table)  # Cityscapes, CIFAR-10: kNN and the probe on crops

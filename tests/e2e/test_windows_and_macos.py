"""Windows and macOS, as far as Linux can play them: see support.windows for what is played."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.batches import random_batch
from support.command import SMALL_FLAGS
from support.runs import small_config
from support.scenes import write_labelled, write_scenes
from support.windows import faults_of_names, play_windows
from torch.utils._python_dispatch import TorchDispatchMode

from samclr.config.pretrain import AugmentConfig, ModelConfig, ViewGroup, ViewsConfig
from samclr.config.registry import METHODS
from samclr.config.sam import ComputeConfig
from samclr.errors import RunError
from samclr.methods.create import create_method
from samclr.models import devices
from samclr.study import worker
from samclr.views.augment import augment_batched
from samclr.views.plan import ViewPlanner

SEGMENT_ALL = """
import samclr

print("begun", {name})
samclr.segment("scenes", out="store", segmenter="felzenszwalb", workers=2)
"""


def test_every_command_runs_without_what_windows_lacks(call, scenes, tmp_path, monkeypatch):
    """Twice, so that everything that may be replaced is replaced; all that was written is seen through."""
    labelled, out = write_labelled(tmp_path / "Labelled"), tmp_path / "out"
    monkeypatch.setenv("SAMCLR_CACHE", str(out / "cache"))
    played = play_windows(monkeypatch)
    store, run = out / "store", out / "run"
    knn = ("--image-px", "24", "--num-train", "8", "--bootstrap", "100", "--device", "cpu")
    commands = [
        ["segment", scenes, "--segmenter", "felzenszwalb", "--min-size", "20", "--workers", "1", "--out", store],
        ["pretrain", "samclr", "--scenes", scenes, "--regions", store, "--out", run, "--steps", "2", *SMALL_FLAGS],
        ["evaluate", run, "--on", labelled, *knn, "--probe-epochs", "1", "--out", out / "Results.json"],
        ["export", run, "--out", out / "backbone.safetensors"],
        ["report", run, "--out", out / "report.html"],
        ["look", store, "--scenes", scenes, "--out", out / "look.html"],
    ]
    once = ["regions", "export", store, "--out", out / "masks", "--layout", "sa1b"]
    for command in [*commands, *commands, once]:
        status, _, words = call(*command)
        assert status == 0, (command[0], words)
    assert played.refused == []
    assert faults_of_names(out) == []
    assert len(list(out.rglob("*"))) > 30


@pytest.mark.parametrize("name", ["1", "__name__"])  # the second script has the word, and no guard
def test_a_script_without_a_guard_gets_one_sentence(tmp_path, name):
    write_scenes(tmp_path / "scenes", 20)  # more than one process is given at a time
    script = tmp_path / "script.py"
    script.write_text(SEGMENT_ALL.format(name=name), encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    sentence = f'could not start: each imports {script} again, which has no `if __name__ == "__main__":`'
    assert sentence in done.stderr.splitlines()[-1]
    assert done.stderr.count("Traceback") == 1
    assert done.stdout.count("begun") == (1 if name == "1" else 3)


@pytest.mark.slow
def test_a_script_without_a_guard_that_states_no_workers_needs_none(tmp_path):
    """The guide's own blocks, one after the other in a file, where processes are spawned: as a reader pastes them."""
    write_scenes(tmp_path / "photos", 20)
    page = (Path(__file__).parents[2] / "docs/guides/own-loop.md").read_text()
    segment, loop = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[:2]
    loop = loop.replace("batch_size=256, steps=10_000", "batch_size=4, steps=1, size_px=32")
    script = tmp_path / "loop.py"
    spawned = "import multiprocessing, os\nmultiprocessing.set_start_method('spawn')\nos.cpu_count = lambda: 2\n"
    script.write_text(spawned + segment + loop, encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("images are prepared in one process, not 2; add it") == 1


@pytest.mark.slow
def test_a_studys_tasks_start_where_there_is_no_fork_server(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "START_METHOD", "spawn")
    process = worker.start_task(tmp_path / "none", tmp_path / "logs" / "a.log", "a", 1, None)
    process.join(120)
    assert process.exitcode == 1
    assert "none holds no study" in (tmp_path / "logs" / "a.log").read_text(encoding="utf-8")


def test_auto_is_mps_in_every_command(monkeypatch, tmp_path):
    from samclr.regions.segmenters.sam import compute_device, compute_precision
    from samclr.training.devices import create_fabric

    empty = torch.empty
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *given, **named: empty(*given))  # there is none to allocate on
    monkeypatch.setattr("lightning_fabric.accelerators.mps.MPSAccelerator.is_available", lambda: True)
    assert devices.choose_device("auto").type == "mps"
    assert (compute_device(ComputeConfig()).type, compute_precision(ComputeConfig())) == ("mps", "float32")
    config = small_config(tmp_path)
    on = {
        name: replace(config, runtime=replace(config.runtime, device="auto", precision=name))
        for name in ("float32", "float16", "bfloat16")
    }
    assert create_fabric(on["float32"]).device.type == "mps"
    for name in ("float16", "bfloat16"):
        with pytest.raises(RunError, match=f"precision {name} is not available on mps; give `precision` float32"):
            create_fabric(on[name])


class NoFloat64(TorchDispatchMode):
    """Refuses, as MPS does, every float64 tensor on the device: the meta device plays it."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        for one in made if isinstance(made, list | tuple) else [made]:
            if isinstance(one, torch.Tensor) and one.device.type == "meta":
                assert one.dtype != torch.float64, f"{function} makes float64, which MPS lacks"
        return made


@pytest.mark.parametrize("name", METHODS)
def test_no_method_computes_in_float64_on_the_device(name, monkeypatch):
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda kind, **named: autocast("cpu" if kind == "meta" else kind, **named))
    config = replace(METHODS[name].recipes[0].config, model=ModelConfig(backbone="small-cnn"))
    method = create_method(config, 10).to("meta")
    views, sides = ((2, 2), (16, 8)) if METHODS[name].config().has_local_views else ((2,), (16,))
    with NoFloat64():
        output = method.loss(random_batch(views=views, sides=sides, carried=config.views.carried_regions).to("meta"))
        output.loss.backward()
        method.after_step(0, output.pending)


def test_augmentation_computes_no_float64_on_the_device():
    with pytest.raises(AssertionError, match="which MPS lacks"), NoFloat64():
        torch.zeros(2, dtype=torch.float64, device="meta")  # it would be seen
    planner = ViewPlanner(
        image_hw=np.full((8, 2), 64, np.int32),
        regions=None,
        seed=0,
        images_per_step=8,
        views=ViewsConfig(strategy="image"),
        groups=(ViewGroup(size_px=24),),
        augment=AugmentConfig(solarise_prob=0.5),
    )
    plan = planner.plan(0)
    with NoFloat64():
        augment_batched(torch.zeros(8, 2, 3, 24, 24, dtype=torch.uint8, device="meta"), plan.groups[0].augment)

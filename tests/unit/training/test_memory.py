"""The micro-batch that fits into a device's memory: an estimate from what autograd saves, on faked amounts."""

from dataclasses import replace

import pytest
from lightning_fabric import Fabric
from support.runs import small_config

from samclr.config.pretrain import PretrainConfig
from samclr.config.sizing import FREE_SHARE, OPEN_SETTINGS, StepMemory, fit_folder, fit_memory
from samclr.runs.directory import read_metrics
from samclr.runs.saved import load_config
from samclr.training import memory, start
from samclr.training.memory import measure_memory
from samclr.training.pretrain import pretrain

OPEN = PretrainConfig(auto=("micro_batch_size",))


@pytest.mark.parametrize(("free_gb", "size"), [(100, None), (43, 256), (42, 128), (12.5, 64), (2.9, 8), (0.1, 2)])
def test_the_largest_power_of_two_that_fits(free_gb, size):
    step = StepMemory(fixed=10**9, a_row=10**8)  # 256 rows are 34.3 GB, of which 1.3 times 25.6 are the rows'
    rows = 256 if size is None else 300
    config = fit_memory(OPEN, rows, step, int(free_gb * 1e9))
    assert (config.runtime.micro_batch_size, config.auto) == (size, ())
    assert size in (None, 2) or step.of(size) <= FREE_SHARE * free_gb * 1e9


def test_it_is_open_on_cuda_alone_and_a_stated_one_stays():
    for kind, is_open in (("cpu", False), ("mps", False), ("cuda", True)):
        config = fit_folder(replace(OPEN, auto=OPEN_SETTINGS), 1000, kind, "bfloat16", 2)
        assert ("micro_batch_size" in config.auto) == is_open
    stated = PretrainConfig(auto=("steps",))
    assert fit_memory(stated, 256, StepMemory(fixed=0, a_row=10**12), 1) == stated


def test_what_autograd_saves_is_counted_in_proportion_to_rows(scenes):
    config = small_config(scenes, recipe="simclr")
    fabric = Fabric(accelerator="cpu", devices=1)
    whole = measure_memory(fabric, config)
    larger = measure_memory(fabric, replace(config, group=replace(config.group, size_px=2 * config.group.size_px)))
    assert 3 < larger.a_row / whole.a_row < 4.5
    wider = measure_memory(fabric, replace(config, optim=replace(config.optim, global_batch_size=64)))
    assert wider.a_row == whole.a_row
    assert wider.fixed > whole.fixed
    half = measure_memory(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"), config)
    assert half.a_row < whole.a_row


def test_a_micro_batch_is_chosen_once_told_and_stored(scenes, tmp_path, monkeypatch, caplog):
    """On a CPU that is taken for a card with little memory."""
    monkeypatch.setattr(start, "fit_folder", lambda config, *_: config)
    monkeypatch.setattr(memory, "measure_memory", lambda *_: StepMemory(fixed=1000, a_row=1000))
    monkeypatch.setattr(memory, "free_bytes", lambda *_: 8000)
    config = replace(small_config(scenes, recipe="simclr", steps=2), auto=("micro_batch_size",))
    caplog.set_level("INFO")
    for free in (8000, 10**9):  # the second call finds a finished run and changes nothing
        monkeypatch.setattr(memory, "free_bytes", lambda *_, free=free: free)
        pretrain(config, tmp_path / "run", announce=True)
        saved = load_config(tmp_path / "run")
        assert (saved.runtime.micro_batch_size, saved.auto) == (4, ())
    assert "`micro_batch_size` is 4: all 8 rows at once are estimated at" in caplog.text
    assert caplog.text.count("`micro_batch_size` is 4") == 1
    stated = replace(config, auto=(), runtime=replace(config.runtime, micro_batch_size=4))
    pretrain(stated, tmp_path / "stated")
    losses = [[row["loss"] for row in read_metrics(tmp_path / name)] for name in ("run", "stated")]
    assert losses[0] == losses[1]

"""Loggers that cannot be had."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from support.runs import small_config

from samclr.errors import UsageError
from samclr.training.loggers import open_loggers


@pytest.mark.parametrize("missing", ["wandb", "pytorch_lightning.loggers"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    config = small_config(tmp_path / "scenes")
    config = replace(config, runtime=replace(config.runtime, log=("csv", "wandb")))
    expected = rf"log` wandb needs a package \({missing}\): pip install 'samclr\[wandb\]'"
    with pytest.raises(UsageError, match=expected), open_loggers(config, tmp_path, 0):
        pass
    assert not (tmp_path / "csv").exists()


def test_a_resumed_run_goes_on_in_its_curves(tmp_path, monkeypatch):
    begun = []

    def logger(**given):
        begun.append(given)
        return SimpleNamespace(save=lambda: None, finalize=lambda status: None)

    monkeypatch.setitem(sys.modules, "pytorch_lightning.loggers", SimpleNamespace(WandbLogger=logger))
    config = small_config(tmp_path / "scenes")
    config = replace(config, runtime=replace(config.runtime, log=("wandb",)))
    for run in ("a", "b", "a"):
        (tmp_path / run).mkdir(exist_ok=True)
        with open_loggers(config, tmp_path / run, 0):
            pass
    first, other, again = (given["id"] for given in begun)
    assert first == again != other
    assert begun[0]["project"] == "samclr"
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    with open_loggers(config, tmp_path / "a", 0):
        pass
    assert begun[-1]["project"] == "mine"

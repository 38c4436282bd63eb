"""Loggers that cannot be had."""

import sys
from dataclasses import replace

import pytest
from support.runs import small_config

from samclr.errors import UsageError
from samclr.training.loggers import open_loggers


@pytest.mark.parametrize("missing", ["wandb", "pytorch_lightning.loggers"])
def test_a_missing_package_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    config = small_config(tmp_path / "scenes")
    config = replace(config, runtime=replace(config.runtime, log=("wandb",)))
    expected = rf"log` wandb needs a package \({missing}\): pip install 'samclr\[wandb\]'"
    with pytest.raises(UsageError, match=expected), open_loggers(config, tmp_path, 0):
        pass

"""Shared fixtures. Shapes in signatures are checked at run time here, and only here."""

import os
import subprocess

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes run the tests

import support.typecheck  # noqa: F401 - the hook names it
from jaxtyping import install_import_hook

import samclr.cli.commands  # classes of settings check themselves, with words of their own
import samclr.evaluation.detection.counting
import samclr.regions.column_kernels
import samclr.regions.run_lengths
import samclr.views.augment_kernel
import samclr.views.resample  # compiled functions are left as they are

with install_import_hook("samclr", "support.typecheck.check"):  # imported here so that the hook sees every module
    import samclr.demo.demo
    import samclr.pages.charts
    import samclr.pages.report
    import samclr.training.dry_run  # noqa: F401

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.scenes import write_scenes

from samclr.cli.main import main
from samclr.log import LOGGER, remarks_on_stderr


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a test goes into the user's cache."""
    monkeypatch.setenv("SAMCLR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(autouse=True)
def remarks() -> Iterator[None]:
    """Remarks of the library stand on stderr, as with the command line, and in caplog."""
    with remarks_on_stderr(with_options=False):
        LOGGER.propagate = True
        yield


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """A nested folder of twelve small scenes of coloured boxes."""
    return write_scenes(tmp_path / "scenes", 12)


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """Two real photographs that come with scikit-learn, 427x640."""
    from sklearn.datasets import load_sample_images

    return [np.asarray(image) for image in load_sample_images().images]


@pytest.fixture
def photo_folder(tmp_path: Path, photographs: list[np.ndarray]) -> Path:
    """The photographs as PNG files."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, pixels in enumerate(photographs):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command in this process: (status, stdout, stderr). Quicker than a new one, and the same code."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def here(call: Callable[..., tuple[int, str, str]]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As `call`, with the answer of support.command.samclr: for commands that need no process of their own."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(list(arguments), *call(*arguments))

    return run

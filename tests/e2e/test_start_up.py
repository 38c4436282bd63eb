"""Wrong paths and words are refused before torch is imported."""

import json
import subprocess
import sys

import pytest

CASES = {
    "evaluate, no such run": ["evaluate", "runs/none", "--on", "set"],
    "evaluate, no such backbone": ["evaluate", "resnet81", "--on", "set"],
    "evaluate, a run without a checkpoint": ["evaluate", "begun", "--on", "set"],
    "evaluate, no such set": ["evaluate", "resnet18", "--on", "none"],
    "evaluate, no such set with label maps": ["evaluate", "resnet18", "--dense-on", "none"],
    "evaluate, nothing to measure on": ["evaluate", "resnet18"],
    "evaluate, unknown option": ["evaluate", "resnet18", "--on", "set", "--none", "1"],
    "evaluate, a value out of range": ["evaluate", "resnet18", "--on", "set", "--knn-k", "0"],
    "pretrain, no such scenes": ["pretrain", "simclr", "--scenes", "none", "--out", "run"],
    "pretrain, no root of a named set": ["pretrain", "simclr", "--scenes", "cifar10@none", "--out", "run"],
    "pretrain, no regions": ["pretrain", "samclr", "--scenes", "set", "--out", "run"],
    "pretrain, no such store": ["pretrain", "samclr", "--scenes", "set", "--regions", "none", "--out", "run"],
    "pretrain, no such backbone": ["pretrain", "simclr", "--scenes", "set", "--out", "run", "--backbone", "resnet81"],
    "pretrain, no such weights": ["pretrain", "simclr", "--scenes", "set", "--out", "run", "--pretrained", "none.pth"],
    "pretrain, no set to log": ["pretrain", "simclr", "--scenes", "set", "--out", "run", "--knn-on", "none"],
    "pretrain, no such config": ["pretrain", "from-config", "none", "--out", "run"],
    "pretrain, unknown recipe": ["pretrain", "none", "--scenes", "set", "--out", "run"],
    "pretrain, unknown option": ["pretrain", "simclr", "--scenes", "set", "--out", "run", "--none", "1"],
    "pretrain, a value out of range": ["pretrain", "simclr", "--scenes", "set", "--out", "run", "--temperature", "0"],
    "pretrain, something else at --out": ["pretrain", "simclr", "--scenes", "set", "--out", "other"],
    "pretrain, --out inside the scenes": ["pretrain", "simclr", "--scenes", "set", "--out", "set/run"],
    "export, no such run": ["export", "none", "--out", "w.safetensors"],
    "report, no such run": ["report", "none"],
    "segment, no such scenes": ["segment", "none", "--out", "store"],
    "look, no such store": ["look", "none", "--scenes", "set"],
    "study, no such study": ["study", "run", "none", "--out", "study"],
    "no such command": ["none"],
}
ASK = """
import contextlib, io, json, os, sys
from samclr.cli.main import main
found = {}
for name, arguments in json.loads(sys.argv[1]).items():
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            main(arguments)
        except SystemExit as end:
            status = end.code
    heavy = sorted({"torch", "timm", "lightning_fabric", "transformers"} & set(sys.modules))
    found[name] = [status, heavy, said.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, list[str], str]]:
    """Exit status, heavy modules and words of each case, one after the other in one process."""
    folder = tmp_path_factory.mktemp("refused")
    for name in ("set/train/a", "set/test/a", "other", "begun"):
        (folder / name).mkdir(parents=True)
    (folder / "other" / "notes.txt").write_text("mine", encoding="utf-8")
    from samclr.config.pretrain import PretrainConfig
    from samclr.runs.saved import saved_config

    (folder / "begun" / "config.json").write_text(json.dumps(saved_config(PretrainConfig())), encoding="utf-8")
    command = [sys.executable, "-c", ASK, json.dumps(CASES)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("case", CASES)
def test_refused_before_torch_is_imported(case: str, refusals: dict[str, tuple[int, list[str], str]]) -> None:
    status, heavy, words = refusals[case]
    assert status in (1, 2), words
    assert "unexpected" not in words
    assert heavy == []

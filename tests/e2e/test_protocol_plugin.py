"""A protocol of another package: listed, configured, run and shown, with no edit here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.scenes import write_labelled
from support.toy_protocol import install

FIRST = Path(__file__).parents[1] / "formats" / "0.1"
SCRIPT = """
import contextlib, io, json, sys
from pathlib import Path
from samclr.cli.main import main

def call(*words):
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        main([str(word) for word in words])
    return shown.getvalue()

run, labelled = map(Path, sys.argv[1:])
found = {"help": call("evaluate", "--help"), "no torch": "torch" not in sys.modules}
command = ("evaluate", run, "--on", labelled, "--image-px", 24, "--skip-linear", "--bootstrap", 100)
found["json"] = json.loads(call(*command, "--centroids-power", 0.5, "--json"))["results"]
found["table"] = call(*command)
call("export", run, "--out", run / "out.safetensors")
call("report", run, "--out", run / "page.html")
from samclr.study import usual_metrics
found["metrics"] = [metric.key for metric in usual_metrics()]
from samclr.config import CentroidsConfig, EvaluationConfig
from samclr.config.serialise import from_dict, to_dict
config = EvaluationConfig(protocols=(CentroidsConfig(centroids_power=3.0),))
found["config"] = from_dict(EvaluationConfig, json.loads(json.dumps(to_dict(config)))) == config
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_protocol_of_another_package(tmp_path):
    site, labelled = install(tmp_path / "site"), write_labelled(tmp_path / "shades")
    run = Path(shutil.copytree(FIRST / "run", tmp_path / "run"))
    paths = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, run, labelled],
        env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert "--centroids-power FLOAT" in found["help"]
    assert "Nearest class mean of frozen features." in found["help"]
    assert found["no torch"]
    (mine,) = [row for row in found["json"] if row["protocol"] == "centroids"]
    assert mine["settings"]["centroids_power"] == 0.5
    assert mine["scores"]["top1"]["value"] == 1.0
    assert "nearest mean" in found["table"]
    assert "centroids_top1" in found["metrics"]
    assert found["config"]
    assert "| nearest mean |" in (run / "out.safetensors.md").read_text()
    assert '<th class="number">nearest mean</th>' in (run / "page.html").read_text()

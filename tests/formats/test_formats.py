"""What samclr 0.1.0 wrote (README.md beside this file) is read by this version, with the numbers it had then."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file

import samclr
from samclr.bank.bank import SceneBank
from samclr.datasets.sources import list_scenes
from samclr.errors import RunError
from samclr.regions.store import iterate_rows, open_store, row_to_regions, verify_store
from samclr.runs.directory import RESULTS_FILE, read_json, read_metrics
from samclr.runs.saved import load_config
from samclr.scenes.decode import load_scene

FIRST = Path(__file__).parent / "0.1"
reads_its_store = pytest.mark.skipif(
    int(pa.__version__.split(".")[0]) < 26, reason="Arrow before 26 cannot read its regions without a point"
)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy, since reading may write locks and leftovers."""
    return Path(shutil.copytree(FIRST, tmp_path / "old"))


def test_the_backbone_of_a_run_gives_the_features_it_gave(old):
    pixels = torch.randn(2, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    features = samclr.load_backbone(old / "run")(pixels)
    assert features.sum(1).tolist() == pytest.approx([8323.107421875, 7110.58251953125], rel=1e-4)  # by 6c81241
    exported = load_file(old / "exported" / "backbone.safetensors")
    assert all(
        torch.equal(tensor, exported[name]) for name, tensor in samclr.load_backbone(old / "run").state_dict().items()
    )


@pytest.mark.parametrize("recipe", ["simclr", "moco", "sammoco", "dino", "samdino"])
def test_a_config_takes_defaults_for_what_is_new(old, recipe):
    (old / recipe).mkdir()
    shutil.copy(old / "configs" / f"{recipe}.json", old / recipe / "config.json")
    config = load_config(old / recipe)
    assert (config.recipe, config.model.backbone, config.optim.steps) == (recipe, "small-cnn", 2)
    assert config.exported == config.model.exported == "student"  # as samclr knew no other


def test_what_a_config_does_not_know_is_refused_by_name(old):
    path = old / "run" / "config.json"
    saved = json.loads(path.read_text())
    for change, named in [
        ({"config": saved["config"] | {"colour": 1}}, "unknown setting 'colour'"),
        ({"format": 1000}, "its format is 1000"),
    ]:
        path.write_text(json.dumps(saved | change))
        with pytest.raises(RunError, match=named):
            load_config(old / "run")


def test_results_and_metrics_of_a_run(old):
    (row,) = read_json(old / "run" / RESULTS_FILE, {})["results"]
    assert (row["knn_top1"], row["num_test"]) == (1.0, 12)
    assert [row["step"] for row in read_metrics(old / "run")] == [0, 1]


@reads_its_store
def test_a_region_store(old):
    store = open_store(old / "regions")
    assert verify_store(store) == []
    found = [row_to_regions(row) for row in iterate_rows(store)]
    assert [image.image_id for image in found] == [f"{k}.png" for k in range(6)]
    assert sum(len(image.regions) for image in found) == 51
    assert found[0].mask(0).shape == (40, 48)


@pytest.mark.parametrize("name", ["bank", "bank-jpeg"])
def test_a_bank(old, name):
    refs = list_scenes([old / "scenes"])
    bank = SceneBank(old / name, refs)
    for number, ref in enumerate(refs):
        difference = bank.level(number, 0).astype(int) - load_scene(ref).pixels
        assert np.abs(difference).mean() <= (0 if name == "bank" else 10)


@reads_its_store
def test_an_old_run_is_resumed_and_not_begun_anew(old, call):
    config = json.loads((old / "run" / "config.json").read_text())["config"]
    config["data"] |= {"scenes": [str(old / "scenes")], "regions": str(old / "regions"), "bank": str(old / "bank")}
    (old / "again").mkdir()
    (old / "again" / "config.json").write_text(json.dumps({"samclr": "0.1.0", "config": config}))
    before = next((old / "run").glob("checkpoint-*.pt"))
    status, _, said = call("pretrain", "--out", old / "run", "from-config", old / "again")
    assert status == 0, said
    assert before.exists()

"""Data sets of the Hugging Face hub, with the hub's client replaced by one that serves a folder."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.true_layouts import png

from samclr.datasets.hub import is_of_split
from samclr.datasets.names import absolute
from samclr.datasets.sources import list_scenes
from samclr.errors import FilesError, ScenesError
from samclr.scenes.reading import read_bytes


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub of two branches; returns the folder of `main` and the list of fetches."""
    fetched = []

    def dataset_info(self, repo, revision, files_metadata):
        folder = tmp_path / "hub" / repo / revision.replace("/", "-")
        if not folder.is_dir():
            raise huggingface_hub.errors.RevisionNotFoundError(
                "no branch", response=SimpleNamespace(headers={}, request=None)
            )
        files = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*.*"))]
        return SimpleNamespace(sha=revision, siblings=[SimpleNamespace(rfilename=f, size=10**9) for f in files])

    def snapshot_download(repo, repo_type, revision, allow_patterns):
        fetched.append((repo, repo_type, tuple(allow_patterns)))
        folder = tmp_path / "hub" / repo / revision.replace("/", "-")
        for file in allow_patterns:
            (tmp_path / "snapshot" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / file, tmp_path / "snapshot" / file)
        return str(tmp_path / "snapshot")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return tmp_path / "hub", fetched


def add(path: Path, *seeds: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"image": [{"bytes": png(seed), "path": None} for seed in seeds]}), path)


def test_the_train_split_is_fetched_once(hub, tmp_path, capsys):
    folder, fetched = hub
    for split, seed in (("train", 0), ("test", 5)):
        add(folder / f"some/scenes/main/data/{split}-00000-of-00001.parquet", seed, seed + 1)
    refs = list_scenes([Path("hub:some/scenes")])
    assert [ref.image_id for ref in refs] == [f"data/train-00000-of-00001.parquet#{row}" for row in (0, 1)]
    assert [read_bytes(ref) for ref in refs] == [png(0), png(1)]
    assert "fetching 1 Parquet files of some/scenes, 1.00 GB" in capsys.readouterr().err
    assert list_scenes([Path("hf://datasets/some/scenes")]) == refs
    assert fetched == [("some/scenes", "dataset", ("data/train-00000-of-00001.parquet",))]
    assert len(list_scenes([Path("hub:some/scenes:all")])) == 4
    assert len(list_scenes([Path("hub:some/scenes")])) == 2  # the snapshot now holds the test files too


def test_a_note_of_an_older_version_that_has_other_splits(hub, tmp_path):
    folder, fetched = hub
    for split, seed in (("train", 0), ("train_extra", 5)):
        add(folder / f"some/scenes/main/data/{split}-00000-of-00001.parquet", seed)
    refs = list_scenes([Path("hub:some/scenes:all")])
    (note,) = (tmp_path / "cache/hub").iterdir()
    note.rename(note.with_name("some--scenes-train.json"))
    assert list_scenes([Path("hub:some/scenes")]) == refs[:1]
    assert len(fetched) == 1


def test_the_converted_branch_where_main_has_no_parquet(hub):
    folder, _ = hub
    (folder / "some/scenes/main").mkdir(parents=True)
    (folder / "some/scenes/main/README.md").write_text("")
    add(folder / "some/scenes/refs-convert-parquet/default/train/0000.parquet", 3)
    assert [ref.image_id for ref in list_scenes([Path("hub:some/scenes")])] == ["default/train/0000.parquet#0"]


def test_what_the_hub_does_not_have(hub):
    folder, _ = hub
    add(folder / "some/scenes/main/data/test-0.parquet", 1)
    with pytest.raises(ScenesError, match=r"no Parquet file of the split train; found data/test-0.parquet: type hub:"):
        list_scenes([Path("hub:some/scenes")])
    with pytest.raises(ScenesError, match="hub:scenes is not a data set of the Hugging Face hub; type hub:OWNER/NAME"):
        list_scenes([Path("hub:scenes")])


def test_without_a_network_the_local_way_is_named(monkeypatch):
    def unreachable(*arguments, **settings):
        raise OSError("no route")

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    with pytest.raises(
        ScenesError, match=r"some/scenes cannot be fetched .*\(OSError\); without a network, .* `scenes` DIR"
    ):
        list_scenes([Path("hub:some/scenes")])


def test_names_of_splits():
    assert all(is_of_split(f, "train") for f in ("train.parquet", "data/train-0-of-1.parquet", "x/train/0000.parquet"))
    assert not any(is_of_split(f, "train") for f in ("pretrain-0.parquet", "data/test-0.parquet", "training/0.parquet"))
    others = ("data/train_extra-00000-of-00001.parquet", "train_small.parquet", "train_extra/0.parquet")
    assert not any(is_of_split(f, "train") for f in others)
    assert is_of_split("data/train_00000_of_00002.parquet", "train")
    assert is_of_split(others[0], "train_extra")
    assert is_of_split("anything.parquet", "all")


def test_configurations_that_are_read_together_are_named(hub, capsys):
    folder, _ = hub
    for name in ("cropped_digits", "full_numbers"):
        add(folder / f"some/digits/main/{name}/train-00000-of-00001.parquet", 0)
    assert len(list_scenes([Path("hub:some/digits")])) == 2
    said = "has the split train in 2 folders, and all are read: cropped_digits, full_numbers; for one of them fetch"
    assert said in capsys.readouterr().err


def test_sources_of_the_hub_stay_as_they_are():
    assert absolute(Path("hub:some/scenes:all")) == Path("hub:some/scenes:all")
    assert absolute(Path("hf://datasets/some/scenes")) == Path("hf://datasets/some/scenes")


@pytest.mark.parametrize("name", ["../train-0.parquet", "/train/0.parquet", "a/../../train/x.parquet"])
def test_names_from_the_hub_stay_in_their_folder(hub, monkeypatch, name):
    def dataset_info(self, repo, revision, files_metadata):
        return SimpleNamespace(sha="main", siblings=[SimpleNamespace(rfilename=name, size=1)])

    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", dataset_info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(hub[0]))
    with pytest.raises(FilesError, match="leads out of"):
        list_scenes([Path("hub:some/odd")])


@pytest.mark.parametrize("content", ["{", "[]", '{"folder": "x", "files": ["../y"]}', "[" * 100_000])
def test_a_damaged_note_is_made_anew_and_said(hub, tmp_path, capsys, content):
    folder, _ = hub
    add(folder / "some/scenes/main/train.parquet", 0)
    list_scenes([Path("hub:some/scenes")])
    (note,) = (tmp_path / "cache/hub").glob("*.json")
    note.write_text(content)
    assert len(list_scenes([Path("hub:some/scenes")])) == 1
    assert "is damaged and is being rebuilt" in capsys.readouterr().err

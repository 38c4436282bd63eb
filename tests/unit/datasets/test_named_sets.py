"""CIFAR-10, STL-10 and ImageNette as labelled sets, read beside torchvision's readers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torchvision.datasets.utils
from support.true_layouts import png, write_camvid, write_cifar10, write_imagenette, write_stl10
from torchvision.datasets import CIFAR10, STL10, Imagenette

from samclr.datasets.catalogue import DATASETS, Split
from samclr.datasets.download import download
from samclr.datasets.labelled import open_labelled
from samclr.datasets.named import imagenette_spec
from samclr.errors import EvaluationError
from samclr.evaluation.squares import decode_square
from samclr.scenes.decode import load_scene


def same(split, reader) -> bool:
    pixels = [np.asarray(reader[number][0]) for number in range(len(reader))]
    return split.labels.tolist() == [reader[number][1] for number in range(len(reader))] and all(
        (load_scene(ref).pixels == theirs).all() for ref, theirs in zip(split.refs, pixels, strict=True)
    )


def test_cifar10(tmp_path, monkeypatch):
    root = write_cifar10(tmp_path, monkeypatch)
    found = open_labelled(Path(f"cifar10@{root}"))
    assert same(found.train, CIFAR10(str(root), train=True))
    assert same(found.test, CIFAR10(str(root), train=False))
    assert found.classes == tuple(CIFAR10(str(root)).classes)
    assert found.name == "cifar10"
    assert decode_square(found.test.refs, 128, 1).shape == (4, 3, 128, 128)
    assert len({found.train.fingerprint, found.test.fingerprint, found.train.subset(3).fingerprint}) == 3


def test_stl10(tmp_path, monkeypatch):
    root = write_stl10(tmp_path, monkeypatch)
    found = open_labelled(Path(f"stl10@{root}"))
    assert same(found.train, STL10(str(root), split="train"))
    assert same(found.test, STL10(str(root), split="test"))
    assert found.classes == tuple(f"thing{k}" for k in range(10))
    assert found.name == "stl10"


@pytest.mark.parametrize(
    ("folder", "name", "size"),
    [("imagenette2-160", "imagenette-160", "160px"), ("imagenette2-320", "imagenette-320", "320px"),
     ("imagenette2", "imagenette", "full")],
)  # fmt: skip
def test_imagenette(tmp_path, folder, name, size):
    root = write_imagenette(tmp_path, folder)
    found = open_labelled(Path(f"{name}@{root}"))
    readers = [Imagenette(str(root), split, size=size) for split in ("train", "val")]
    assert all(same(ours, theirs) for ours, theirs in zip((found.train, found.test), readers, strict=True))
    assert found.classes == ("tench", "English springer", "cassette player")
    assert open_labelled(root / folder).name == name


def test_a_set_is_known_by_the_folder_that_holds_it(tmp_path, monkeypatch):
    write_cifar10(tmp_path / "data", monkeypatch)
    for place in (tmp_path / "data", tmp_path / "data/cifar-10-batches-py"):
        assert open_labelled(place).name == "cifar10"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path / "data"))
    assert open_labelled(Path("cifar10")).name == "cifar10"
    write_stl10(tmp_path / "data", monkeypatch)
    assert open_labelled(Path("stl10")).name == "stl10"
    with pytest.raises(EvaluationError, match=r"data holds several sets: type cifar10@.*/data or stl10@.*/data"):
        open_labelled(tmp_path / "data")


def test_parquet_of_that_name_in_the_data_folder_stays_parquet(tmp_path, monkeypatch):
    (tmp_path / "cifar10").mkdir()
    features = '{"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}'
    for split in ("train", "test"):
        table = pa.table({"img": [{"bytes": png(k), "path": None} for k in range(2)], "label": [0, 1]})
        pq.write_table(table.replace_schema_metadata({"huggingface": features}), tmp_path / f"cifar10/{split}.parquet")
    monkeypatch.setenv("SAMCLR_DATA", str(tmp_path))
    found = open_labelled(Path("cifar10"))
    assert (found.name, found.classes) == ("cifar10", ("cat", "dog"))


def refuse_connections(*arguments, **settings):
    raise OSError("no route to host")


@pytest.mark.parametrize(
    ("name", "folder"), [("cifar10", "cifar-10-batches-py"), ("imagenette-160", "imagenette2-160")]
)
def test_download_without_a_network_names_the_local_way(tmp_path, monkeypatch, name, folder):
    monkeypatch.setattr(torchvision.datasets.utils.urllib.request, "urlopen", refuse_connections)
    with pytest.raises(EvaluationError, match=rf"cannot be downloaded to .*no route.*so that .*/new/{folder} is there"):
        open_labelled(Path(f"{name}@{tmp_path}/new"), download=True)


def test_download_leaves_a_whole_set_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision.datasets.utils.urllib.request, "urlopen", refuse_connections)
    root = write_stl10(tmp_path, monkeypatch)
    assert len(open_labelled(Path(f"stl10@{root}"), download=True).train.refs) == 5


@pytest.mark.parametrize(("name", "write", "file"), [
    ("imagenette-160", lambda p, patch: write_imagenette(p), "imagenette2-160/train/n01440764/n01440764_0.JPEG"),
    ("imagenette-160", lambda p, patch: write_imagenette(p), "imagenette2-160/val/n01440764/n01440764_0.JPEG"),
    ("cifar10", write_cifar10, "cifar-10-batches-py/batches.meta"),
    ("cifar10", write_cifar10, "cifar-10-batches-py/data_batch_1"),
])  # fmt: skip
def test_a_set_whose_unpacking_was_interrupted_is_fetched_again(tmp_path, monkeypatch, name, write, file):
    asked = []
    monkeypatch.setattr(
        torchvision.datasets.utils, "download_and_extract_archive", lambda url, root, **given: asked.append(root)
    )
    monkeypatch.setattr(imagenette_spec, "SPLITS", (Split(name="train", num_images=6), Split(name="val", num_images=3)))
    write(tmp_path, monkeypatch)
    download(DATASETS[name], tmp_path)
    assert asked == []
    (tmp_path / file).unlink()
    download(DATASETS[name], tmp_path)
    assert asked == [str(tmp_path)]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("cityscapes@{p}", r"Cityscapes cannot be downloaded by samclr \(only cifar10, imagenette, .*leftImg8bit_"),
        ("{p}/photos", "is not a set that can be downloaded; type NAME@ROOT, such as cifar10@data"),
        ("cifar10", r"no folder to download cifar10 to: type cifar10@DIR, or set \$SAMCLR_DATA"),
    ],
)  # fmt: skip
def test_what_cannot_be_downloaded(tmp_path, monkeypatch, source, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EvaluationError, match=message):
        open_labelled(Path(source.format(p=tmp_path)), download=True)


def harm_imagenette(root):
    (root / "imagenette2-160/val/n02979186").rename(root / "imagenette2-160/val/n00000001")


@pytest.mark.parametrize(
    ("source", "harm", "message"),
    [
        ("cifar10@{p}", lambda p: (p / "cifar-10-batches-py/test_batch").write_bytes(b"x"),
         r"does not hold the files of CIFAR-10 as released \(Dataset not found or corrupted\); samclr data check"),
        ("cifar10@{p}", lambda p: (p / "cifar-10-batches-py/data_batch_3").unlink(),
         r"the split train of CIFAR-10 lacks data_batch_3 in"),
        ("stl10@{p}", lambda p: (p / "stl10_binary/test_y.bin").write_bytes(bytes([1, 2, 3])),
         r"test_y.bin has 3 labels for 4 images, from 1 to 3; expected one from 1 to 10 each"),
        ("stl10@{p}", lambda p: (p / "stl10_binary/test_y.bin").write_bytes(bytes([0, 1, 2, 3])),
         r"test_y.bin has 4 labels for 4 images, from 0 to 3; expected"),
        ("stl10@{p}", lambda p: (p / "stl10_binary/train_y.bin").unlink(), r"STL-10 lacks .*train_y.bin; samclr"),
        ("imagenette-160@{p}", harm_imagenette, r"has folders that are not ImageNette's, or lacks some .*n00000001"),
        ("imagenette-320@{p}", lambda p: None, r"is not a root of ImageNette, 320 px: expected"),
        ("camvid@{p}/camvid", lambda p: None, r"CamVid has no class for each image; use one of cifar10, imagenette"),
    ],
)  # fmt: skip
def test_damaged_or_wrong_sets_are_named(tmp_path, monkeypatch, source, harm, message):
    for write in (write_cifar10, write_stl10):
        write(tmp_path, monkeypatch)
    write_imagenette(tmp_path)
    write_camvid(tmp_path / "camvid")
    harm(tmp_path)
    with pytest.raises(EvaluationError, match=message):
        open_labelled(Path(source.format(p=tmp_path)))

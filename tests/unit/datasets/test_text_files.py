"""Lists and tables of data sets that are damaged: each is named, whatever set it belongs to."""

import os
from pathlib import Path

import pytest
from support.open_images import write_open_images
from support.true_layouts import write_ade20k, write_camvid, write_stl10
from support.voc import write_voc

from samclr.datasets.annotation_index import indexed
from samclr.datasets.labelled import open_labelled
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.datasets.multilabel import open_multilabel
from samclr.datasets.sources import list_scenes
from samclr.datasets.text_files import read_lines, read_rows
from samclr.errors import EvaluationError, ScenesError


def own(root: Path) -> Path:
    write_camvid(root)
    (root / "classes.txt").write_text("".join(f"{k}\n" for k in range(12)))
    return root


TEXTS = [
    (write_ade20k, open_labelled_scenes, "ade20k@{p}", "objectInfo150.txt"),
    (lambda root: write_voc(root), open_labelled_scenes, "voc2007@{p}", "ImageSets/Segmentation/test.txt"),
    (lambda root: write_voc(root), open_multilabel, "voc2007@{p}", "ImageSets/Main/cat_trainval.txt"),
    (lambda root: write_stl10(root, None), open_labelled, "stl10@{p}", "class_names.txt"),
    (own, open_labelled_scenes, "{p}", "classes.txt"),
]


@pytest.mark.parametrize("damage", [b"caf\xe9\n", b"\0" * 40, b"\xff\xfea\0"])
@pytest.mark.parametrize(("write", "opens", "source", "name"), TEXTS)
def test_a_text_file_that_is_none_is_named(tmp_path, write, opens, source, name, damage):
    write(tmp_path)
    (file,) = (path for path in tmp_path.rglob(Path(name).name) if path.as_posix().endswith(name))
    file.write_bytes(damage)
    with pytest.raises(
        EvaluationError, match=rf"{Path(name).name} is not (text in UTF-8|a text file); fix or restore it"
    ):
        opens(Path(source.format(p=tmp_path)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes on this system")
@pytest.mark.parametrize("read", [read_lines, lambda path: list(read_rows(path))])
def test_what_never_ends_is_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "list.txt")
    for name, message in (("list.txt", "is a pipe; expected a regular file"), ("none.txt", "No such file")):
        with pytest.raises(ScenesError, match=rf"cannot read .*{name}.*{message}|{message}"):
            read(tmp_path / name)


def test_a_byte_order_mark_is_no_part_of_a_line(tmp_path):
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa, b\r\n\r\n c \n")
    assert read_lines(tmp_path / "list.txt") == ["a, b", "c"]
    assert list(read_rows(tmp_path / "list.txt")) == [["a", " b"], [], [" c "]]


def test_a_list_that_has_an_image_twice_is_refused(tmp_path):
    root = write_voc(tmp_path)
    (file,) = root.rglob("ImageSets/Segmentation/test.txt")
    file.write_text(file.read_text() * 2)
    with pytest.raises(EvaluationError, match=r"images twice; restore it"):
        open_labelled_scenes(Path(f"voc2007@{tmp_path}"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text + "x,y\n", r"row \d+ is 'x,y'; expected MaskPath,ImageID"),
        (lambda text: text.replace("0c0ffee000000000_m01_00000001.png", "", 1), r"row 2 is ',0c0ffee000000000"),
        (lambda text: text.replace("0c0ffee000000000_m02_00000002.png", "../../x.png", 1), r"row 3 is '\.\./\.\./x"),
        (
            lambda text: text.replace("0c0ffee000000000_m02", '"0c0ff\nee"', 1),
            r"is '0c0ff\\n|cannot read .*expected CSV",
        ),
        (lambda text: text + '"open', r"cannot read .*: a quote that is opened never closes; expected CSV in UTF-8"),
        (lambda text: "", r"has no column MaskPath, ImageID; expected"),
        (lambda text: text + "\udce9", r"cannot read .*; expected CSV in UTF-8"),
    ],
)
def test_odd_rows_of_a_table_of_masks_are_named(tmp_path, damage, message):
    root = write_open_images(tmp_path / "open-images")
    table = root / "train-annotations-object-segmentation.csv"
    table.write_bytes(damage(table.read_text()).encode("utf-8", "surrogateescape"))
    with pytest.raises(ScenesError, match=message):
        indexed(list_scenes([Path(f"open-images@{root}")]))

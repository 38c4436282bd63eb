"""Lists of images: what `select` and `duplicates` write, every --scenes takes and `pretrain --exclude` leaves out."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.scenes import write_scenes

from samclr.bank.places import default_bank, refuse_inside_scenes
from samclr.config.pretrain import DataConfig
from samclr.datasets.names import absolute, absolute_data
from samclr.datasets.scene_lists import as_list, read_list, write_list
from samclr.datasets.sources import list_data, list_scenes
from samclr.errors import ScenesError, UsageError

ODD = [
    "a b.jpg",
    "# no remark.png",
    '"quoted".jpg',
    "two\nlines.jpg",
    " spaces ",
    "<b>&amp;'.png",
    "\udcffé",
    "\x85\u2028",
    "",
]


def ids(*sources: Path | str, **data: object) -> list[str]:
    return [ref.image_id for ref in list_data(DataConfig(scenes=tuple(map(Path, sources)), **data))]


def a_list(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_every_name_comes_back(tmp_path):
    write_list(tmp_path / "some.txt", ODD, [], "made by a test")
    assert read_list(tmp_path / "some.txt") == ODD
    (tmp_path / "other.txt").write_bytes(b"\xef\xbb\xbfone.jpg\r\n\r\n# remark\r\nodd\xff.jpg")
    assert read_list(tmp_path / "other.txt") == ["one.jpg", "odd\\xff.jpg"]  # as scenes.refs.portable has it


def test_a_list_picks_from_its_scenes(scenes, tmp_path):
    every = ids(scenes)
    chosen = [every[7], every[2]]
    file = tmp_path / "some.txt"
    write_list(file, chosen, [scenes], "made by a test")
    assert ids(file) == sorted(chosen)
    assert ids(f"{a_list(tmp_path / 'plain.txt', *chosen)}@{scenes}") == sorted(chosen)
    assert ids(f"{file}@{tmp_path / 'plain.txt'}@{scenes}") == sorted(chosen)
    with pytest.raises(ScenesError, match=r"plain.txt does not say of which scenes it is; type .*plain.txt@SCENES"):
        ids(tmp_path / "plain.txt")


def test_ids_are_those_without_the_list(scenes, tmp_path):
    """So regions, banks and vectors of all scenes serve a part of them."""
    more = write_scenes(tmp_path / "more", 3)
    every = ids(scenes, more)
    file = tmp_path / "some.txt"
    write_list(file, every[:2], [scenes, more], "made by a test")
    assert ids(file) == every[:2]
    part = a_list(tmp_path / "part.txt", ids(scenes)[0])
    assert ids(f"{part}@{scenes}", more) == [*every[:3], f"scenes/{ids(scenes)[0]}"]
    assert default_bank([Path(f"{part}@{scenes}")], None) == default_bank([scenes], None)
    with pytest.raises(UsageError, match="is inside the scenes"):
        refuse_inside_scenes(scenes / "run", [Path(f"{part}@{scenes}")], "--out")


def test_paths_are_made_absolute(scenes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    a_list(tmp_path / "some.txt", "a")
    assert absolute(Path("some.txt@scenes")) == Path(f"{tmp_path}/some.txt@{scenes}")
    write_list(tmp_path / "own.txt", ["a"], [scenes], "made by a test")
    data = absolute_data(DataConfig(scenes=(Path("own.txt"),), exclude=Path("some.txt")))
    assert (data.scenes, data.exclude) == ((tmp_path / "own.txt",), tmp_path / "some.txt")


def test_what_exists_is_a_path(tmp_path):
    folder = write_scenes(tmp_path / "odd.txt@scenes", 2)
    assert as_list(folder) is None
    assert len(ids(folder)) == 2
    assert as_list(write_scenes(tmp_path / "folder.txt", 1)) is None


def test_what_is_excluded_is_left_out(scenes, tmp_path, capsys):
    every = ids(scenes)
    file = a_list(tmp_path / "out.txt", every[3], every[5], "of-nowhere.png")
    assert ids(scenes, exclude=file) == [*every[:3], every[4], *every[6:]]
    assert f"1 name in {file} is no scene's: of-nowhere.png" in capsys.readouterr().err
    with pytest.raises(ScenesError, match="leaves out all 12 scenes"):
        ids(scenes, exclude=a_list(tmp_path / "all.txt", *every))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["x.png", "y.png"], r"none of the 2 names in .* is one of the 12 scenes: it has x.png, y.png; they have "),
        ([], "names no image; expected one id a line"),
        (["# only a remark", ""], "names no image"),
        (['"open'], "line 1 of .* begins with a quote, and is not JSON"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(scenes, tmp_path, lines, words):
    file = a_list(tmp_path / "bad.txt", *lines)
    picked, excluded = DataConfig(scenes=(Path(f"{file}@{scenes}"),)), DataConfig(scenes=(scenes,), exclude=file)
    with pytest.raises(ScenesError, match=words):
        list_data(picked)
    if "names no image" not in words:
        with pytest.raises(ScenesError, match=words):
            list_data(excluded)


def test_a_list_without_duplicates_leaves_nothing_out(scenes, tmp_path, capsys):
    write_list(tmp_path / "none.txt", [], [scenes], "near-duplicates of others")
    assert ids(scenes, exclude=tmp_path / "none.txt") == ids(scenes)
    assert "none.txt names no image: nothing is left out" in capsys.readouterr().err


def test_lists_that_are_not_there_or_lead_in_a_circle_are_refused(scenes, tmp_path):
    with pytest.raises(ScenesError, match=r"the list .*none.txt cannot be read: No such file"):
        list_scenes([Path(f"{tmp_path}/none.txt@{scenes}")])
    circle = a_list(tmp_path / "circle.txt", f"# scenes: {tmp_path}/circle.txt", "a")
    with pytest.raises(ScenesError, match=r"circle\.txt, another list; name its scenes there"):
        list_scenes([circle])


def test_an_older_configuration_excludes_nothing():
    assert DataConfig().exclude is None
    assert replace(DataConfig(), exclude="list.txt").exclude == Path("list.txt")

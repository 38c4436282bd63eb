"""A damaged row of a region store, as every reader of a store meets it: a sentence with store, image and remedy."""

import shutil

import pyarrow as pa
import pytest
from support.command import SMALL_FLAGS
from support.scenes import write_scenes

from samclr.regions.store import STORE_SCHEMA, open_store
from samclr.storage.checksums import read_parquet, write_parquet

IMAGE = "a/000.png"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Scenes with label maps; their store, a run on it, and its bank are made by the first test."""
    folder = tmp_path_factory.mktemp("sound")
    write_scenes(folder / "scenes", 6, folder / "labels")
    return folder


@pytest.fixture
def made(sound, tmp_path, call):
    """A copy of all of it, whose store may be damaged."""
    if not (sound / "run").exists():
        words = ("segment", sound / "scenes", "--segmenter", "labels", "--labels", sound / "labels")
        assert call(*words, "--ignore-label", 0, "--out", sound / "store")[0] == 0
    shutil.copytree(sound, tmp_path / "made")
    return tmp_path / "made"


def change(row, **values):
    return row | values


def change_region(row, **values):
    return row | {"regions": [row["regions"][0] | values, *row["regions"][1:]]}


DAMAGES = {
    "bad RLE": lambda row: change_region(row, rle=b"99999999"),
    "RLE of another length": lambda row: change_region(row, rle=row["regions"][0]["rle"][:-1]),
    "no RLE": lambda row: change_region(row, rle=None),
    "empty box": lambda row: change_region(row, box_xyxy=[5, 5, 5, 5]),
    "no box": lambda row: change_region(row, box_xyxy=None),
    "box outside": lambda row: change_region(row, box_xyxy=[0, 0, 999, 999], area_px=1),
    "no area": lambda row: change_region(row, area_px=None),
    "score": lambda row: change_region(row, predicted_iou=float("nan")),
    "another size": lambda row: change(row, height=row["height"] + 1),
    "size zero": lambda row: change(row, height=0, width=0),
    "huge size": lambda row: change(row, height=2**31 - 1, width=2**31 - 1),
    "no size": lambda row: change(row, height=None),
    "no regions": lambda row: change(row, regions=None),
}


def readers(folder):
    scenes, store, out = folder / "scenes", folder / "store", folder / "out"
    where = ("--scenes", scenes, "--regions", store, "--bank", folder / "bank", "--steps", 1, *SMALL_FLAGS)
    return {
        "look": ("look", store, "--scenes", scenes, "--out", out / "look.html"),
        "regions export": ("regions", "export", store, "--out", out / "coco.json"),
        "regions export sa1b": ("regions", "export", store, "--layout", "sa1b", "--out", out / "sa1b"),
        "regions score": ("regions", "score", store, "--segmentations", folder / "labels"),
        "pretrain": ("pretrain", "samclr", *where, "--out", folder / "run"),
    }


READERS = ("look", "regions export", "regions export sa1b", "regions score", "pretrain")


def spoil(folder, harm):
    """Change the rows of the part that holds IMAGE, as if they had been written so."""
    store = open_store(folder / "store")
    (path,) = [path for path in store.part_paths() if IMAGE in read_parquet(path)["image_id"].to_pylist()]
    write_parquet(harm(read_parquet(path)), path)
    return path


def spoil_row(folder, harm):
    def of_table(table):
        rows = [harm(row) if row["image_id"] == IMAGE else row for row in table.to_pylist()]
        return pa.Table.from_pylist(rows, schema=STORE_SCHEMA)

    return spoil(folder, of_table)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("reader", READERS)
def test_a_damaged_row_is_one_sentence(made, call, reader, damage):
    spoil_row(made, DAMAGES[damage])
    status, _, said = call(*readers(made)[reader])
    assert status == 0, said
    (line,) = [line for line in said.splitlines() if str(made / "store") in line and "damaged" in line]
    assert line.startswith(f"1 rows of the region store {made / 'store'} are damaged and "), said
    assert IMAGE in line
    assert f"samclr regions verify {made / 'store'} names the files to delete" in line
    assert "unexpected" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("damage", ["bad RLE", "no box", "huge size"])
def test_the_remedy_works(made, call, damage):
    path = spoil_row(made, DAMAGES[damage])
    status, shown, said = call("regions", "verify", made / "store")
    assert status == 1
    assert shown.splitlines()[0].startswith(f"{IMAGE}")
    assert shown.splitlines()[0].endswith(f"; its row is in {path.name}")
    assert f"delete the files named above from {made / 'store'} and rerun the command" in said
    path.unlink()
    words = ("segment", made / "scenes", "--segmenter", "labels", "--labels", made / "labels", "--ignore-label", 0)
    assert call(*words, "--out", made / "store")[0] == 0
    assert call("regions", "verify", made / "store")[0] == 0


def without(column):
    return lambda table: table.drop_columns([column])


def retyped(column):
    def harm(table):
        place = table.column_names.index(column)
        return table.set_column(place, column, pa.array(["x"] * len(table)))

    return harm


def emptied(column):
    def harm(table):
        place = table.column_names.index(column)
        return table.set_column(place, column, pa.nulls(len(table), table.schema.field(column).type))

    return harm


COLUMNS = {
    **{f"no {name}": without(name) for name in ("image_id", "status", "height", "regions", "content_hash")},
    **{f"{name} of another type": retyped(name) for name in ("height", "regions")},
    **{f"{name} empty": emptied(name) for name in ("image_id", "status", "content_hash")},
    "regions without rle": lambda table: pa.Table.from_pylist(
        [row | {"regions": [{"area_px": 9} for _ in row["regions"] or ()]} for row in table.to_pylist()]
    ),
}


@pytest.mark.parametrize("damage", COLUMNS)
@pytest.mark.parametrize("reader", READERS)
def test_a_part_with_wrong_columns_is_one_sentence(made, call, reader, damage):
    path = spoil(made, COLUMNS[damage])
    status, _, said = call(*readers(made)[reader])
    assert status == 1, said
    last = said.splitlines()[-1]
    assert last.startswith(f"samclr: error: {path} is damaged ("), said
    assert last.endswith("delete this file and rerun the command that made the store, which redoes its rows")


@pytest.mark.parametrize("reader", READERS)
def test_an_id_that_leads_out_of_its_folder(made, call, reader):
    outside = "x/../../../OUTSIDE/a.png"
    spoil_row(made, lambda row: change(row, image_id=outside))
    status, _, said = call(*readers(made)[reader])
    assert not list(made.parent.rglob("OUTSIDE*"))
    assert not (made.parents[2] / "OUTSIDE").exists()
    expected = {
        "look": f"1 of 6 scenes have no row in the region store {made / 'store'}: {IMAGE}; ",
        "pretrain": f"1 scenes have no row in the region store {made / 'store'}: {IMAGE}; run samclr segment",
        "regions export": f"1 image ids of the region store {made / 'store'} lead out of their folder",
        "regions export sa1b": f"the name {outside!r} leads out of {made / 'out/sa1b'}: written as ",
        "regions score": f"1 images have no label map: {outside}",
    }[reader]
    assert expected in said
    assert status == (1 if reader == "pretrain" else 0), said


@pytest.mark.parametrize("reader", ["look", "pretrain"])
def test_a_row_of_another_size_is_seen_where_the_scene_is_at_hand(made, call, reader):
    """Height and width changed places: the run lengths add up still."""

    def turn(row):
        region = row["regions"][0] | {"box_xyxy": [0, 0, 8, 8], "area_px": 60}
        return row | {"height": row["width"], "width": row["height"], "regions": [region]}

    spoil_row(made, turn)
    status, _, said = call(*readers(made)[reader])
    assert status == 0, said
    assert f"1 rows of the region store {made / 'store'} are damaged and " in said
    assert IMAGE in said


@pytest.mark.parametrize("damage", ["bad RLE", "turned"])
def test_a_report_says_it_too(made, call, damage):
    assert call(*readers(made)["pretrain"])[0] == 0
    harm = DAMAGES.get(damage, lambda row: row | {"height": row["width"], "width": row["height"], "regions": []})
    spoil_row(made, harm)
    status, _, said = call("report", made / "run")
    assert status == 0, said
    lines = [line for line in said.splitlines() if f"rows of the region store {made / 'store'} are damaged" in line]
    assert lines
    assert all(IMAGE in line for line in lines)
    again = call("report", made / "run")[2]  # by now the index is in the cache
    assert f"1 rows of the region store {made / 'store'} are damaged and drawn without regions: {IMAGE}; " in again

"""Vectors as arrays in one file each, memory-mapped: made from the parts of a folder by streaming them once."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int
from numpy.lib.format import open_memmap

from samclr.embedding.store import WHOLE_IMAGE, rows_schema
from samclr.errors import PartsError
from samclr.storage.checksums import read_parquet, seal, size_without_seal
from samclr.storage.files import replacing_path, take_room
from samclr.storage.parts import OK, PartsFolder, command_of

Kind = Literal["image", "region", "all"]
SHOWN = ("id", "region", "box_xyxy", "area_px", "width_px", "height_px")  # all columns but the vectors


@dataclass(frozen=True, kw_only=True)
class Order:
    """Where the rows of each part go: images in the order of their ids, in each the whole image first.

    ids: of the images that have vectors, sorted. counts: rows of each. part_images: of each part, for each of its
    images, its number in `ids`, or -1 for one that failed or is in a later part again. part_counts: rows that the
    part's companion has of it.
    """

    ids: pa.Array
    counts: Int[np.ndarray, "n"]
    paths: list[Path]
    part_images: list[Int[np.ndarray, "_"]]
    part_counts: list[Int[np.ndarray, "_"]]


def order_of(folder: PartsFolder, paths: list[Path]) -> Order:
    """Look through the images of some parts. Raises PartsError if one cannot be read."""
    ids, counts, sizes = [], [], []
    for _, images in folder.parts(["image_id", "status", "num_regions"], paths):
        ids.append(images["image_id"].combine_chunks())
        is_ok = np.array([status == OK for status in images["status"].to_pylist()], bool)
        counts.append(np.where(is_ok, images["num_regions"].to_numpy() + 1, 0))
        sizes.append(len(images))
    everything = pa.concat_arrays(ids) if ids else pa.array([], pa.string())
    count = np.concatenate(counts) if counts else np.zeros(0, np.int64)
    places = pa.table({"id": everything, "place": np.arange(len(everything))})
    order = pc.sort_indices(places, [("id", "ascending"), ("place", "ascending")]).to_numpy()
    ordered = everything.take(pa.array(order))
    is_last = np.ones(len(order), bool)
    if len(order):
        is_last[:-1] = pc.not_equal(ordered[:-1], ordered[1:]).to_numpy(zero_copy_only=False)
    live = order[is_last & (count[order] > 0)]
    number = np.full(len(order), -1)
    number[live] = np.arange(len(live))
    ends = np.cumsum(sizes)
    return Order(
        ids=everything.take(pa.array(live)),
        counts=count[live],
        paths=paths,
        part_images=np.split(number, ends)[:-1],
        part_counts=np.split(count, ends)[:-1],
    )


def starts(order: Order, kind: Kind) -> Int[np.ndarray, "n_plus_1"]:
    """The first row of each image in an array of this kind, and the number of rows."""
    counts = {"image": np.ones_like(order.counts), "region": order.counts - 1, "all": order.counts}[kind]
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def make_rows(folder: PartsFolder, order: Order, path: Path) -> None:
    """Write the table of all rows without their vectors, as a sealed Arrow file."""
    num = int(order.counts.sum())
    boxes = np.zeros((num, 4), np.int32)
    columns: dict[str, Any] = {name: np.zeros(num, np.int32) for name in ("region", "width_px", "height_px")}
    columns["area_px"] = np.zeros(num, np.int64)
    for rows, place in _placed(folder, order, "all", list(SHOWN)):
        boxes[place] = rows["box_xyxy"].combine_chunks().flatten().to_numpy().reshape(-1, 4)
        for name, column in columns.items():
            column[place] = rows[name].to_numpy()
    columns["id"] = order.ids.take(pa.array(np.repeat(np.arange(len(order.ids)), order.counts)))
    columns["box_xyxy"] = pa.FixedSizeListArray.from_arrays(pa.array(boxes.reshape(-1)), 4)
    table = pa.table({name: columns[name] for name in SHOWN})
    with replacing_path(path, table.nbytes) as beside:
        with pa.OSFile(str(beside), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        seal(beside)


def read_rows(path: Path) -> pa.Table:
    """What `make_rows` wrote, memory-mapped."""
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_file(pa.BufferReader(file.read_buffer(size_without_seal(path)))).read_all()


def make_matrix(folder: PartsFolder, order: Order, kind: Kind, path: Path) -> None:
    """Write the rows' vectors at unit length, [n d] in the folder's own dtype, as a sealed file.

    Raises:
        PartsError: a vector is zero or not finite, or a part is damaged; the message names it.
    """
    width, dtype, num = int(folder.maker["width"]), np.dtype(folder.maker["dtype"]), int(starts(order, kind)[-1])
    with replacing_path(path, num * width * dtype.itemsize) as beside:
        if num == 0:  # an empty file cannot be mapped
            with beside.open("wb") as file:
                np.save(file, np.zeros((0, width), dtype))
            seal(beside)
            return
        whole = open_memmap(beside, "w+", dtype, (num, width))
        take_room(beside)
        for rows, place in _placed(folder, order, kind, ["id", "region", "vector"]):
            vectors = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
            whole[place] = _unit(vectors, rows, folder)
        whole.flush()
        del whole
        seal(beside)


def _unit(vectors: Float[np.ndarray, "n d"], rows: pa.Table, folder: PartsFolder) -> Float[np.ndarray, "n d"]:
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1)
    odd = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if len(odd):
        image_id, region = rows["id"][int(odd[0])].as_py(), rows["region"][int(odd[0])].as_py()
        what = image_id if region == WHOLE_IMAGE else f"{image_id}, region {region}"
        raise PartsError(f"{folder.path}: the vector of {what} is zero or not finite; make its vectors again")
    return exact / lengths[:, None]


def _placed(
    folder: PartsFolder, order: Order, kind: Kind, columns: list[str]
) -> Iterator[tuple[pa.Table, Int[np.ndarray, "_"]]]:
    """Of each part the rows that count, some columns of them, and where each goes in an array of this kind."""
    first = starts(order, kind)
    for path, images, counts in zip(order.paths, order.part_images, order.part_counts, strict=True):
        if not counts.any():
            continue
        rows = _read(folder, path, columns, counts)
        image = np.repeat(images, counts)
        rank = np.arange(len(image)) - np.repeat(np.cumsum(counts) - counts, counts)
        wanted = {"image": rank == 0, "region": rank > 0, "all": rank >= 0}[kind] & (image >= 0)
        rows, image, rank = rows.filter(pa.array(wanted)), image[wanted], rank[wanted]
        yield rows, first[image] + (rank if kind == "all" else 0 if kind == "image" else rank - 1)


def _read(folder: PartsFolder, path: Path, columns: list[str], counts: Int[np.ndarray, "_"]) -> pa.Table:
    """Rows of a part's companion, once it is seen that they are those of the part's images."""
    place = folder.companion(path.stem)
    try:
        rows = read_parquet(place, columns)
        schema = rows_schema(int(folder.maker["width"]), folder.maker["dtype"])
        if not rows.schema.equals(pa.schema([schema.field(name) for name in columns])):
            raise ValueError(f"its columns are {rows.schema.to_string()}")
        (_, images) = next(folder.parts(["image_id"], [path]))
        ids = images["image_id"].combine_chunks().take(pa.array(np.repeat(np.arange(len(counts)), counts)))
        if len(ids) != len(rows) or not pc.all(pc.equal(ids, rows["id"])).as_py():
            raise ValueError("its rows are of other images than the part says")
    except (OSError, ValueError, pa.ArrowException) as error:
        raise PartsError(
            f"{place} is damaged ({error}); delete it and rerun {command_of(folder.kind)} on the same scenes, "
            f"which makes its rows again"
        ) from None
    return rows

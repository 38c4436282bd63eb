"""Vectors for other tools: Lance (LanceDB), Faiss and FiftyOne, in `exports` beside the parts."""

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from samclr.embedding.mapped import Kind
from samclr.embedding.vectors import Vectors, open_vectors
from samclr.errors import UsageError
from samclr.log import option_of
from samclr.scenes.refs import SceneRef
from samclr.storage.files import replacing_path, write_json, write_text

NEEDED = {"lance": "lance", "faiss": "faiss"}  # the module of each that needs one, which has its extra's name
ROWS_AT_ONCE = 65_536
FOLDER = "exports"


def check_exports(names: Sequence[str]) -> None:
    """Raise UsageError, before any work, if what an export needs is not installed."""
    for name in names:
        if name in NEEDED and importlib.util.find_spec(NEEDED[name]) is None:
            raise UsageError(f"{option_of('export')} {name} needs a package: pip install 'samclr[{name}]'")


def write_exports(path: Path, names: Sequence[str], refs: Sequence[SceneRef]) -> list[str]:
    """Write the exports of a folder of vectors, each anew; returns what to say of each.

    refs: the scenes, for the places of their files.
    """
    vectors = open_vectors(path)
    writers = {"lance": _lance, "faiss": _faiss, "fiftyone": _fiftyone}
    return [line for name in dict.fromkeys(names) for line in writers[name](vectors, path / FOLDER, refs)]


def _batches(vectors: Vectors, kind: Kind) -> Iterator[pa.RecordBatch]:
    """Rows with their vectors, at unit length, in the order of `rows(kind)`."""
    rows, matrix = vectors.rows(kind), vectors.matrix(kind)
    for first in range(0, max(len(rows), 1), ROWS_AT_ONCE):
        part = matrix[first : first + ROWS_AT_ONCE]
        flat = pa.array(part.reshape(-1), pa.from_numpy_dtype(matrix.dtype))
        column = pa.FixedSizeListArray.from_arrays(flat, vectors.width)
        yield from (
            rows.slice(first, ROWS_AT_ONCE)
            .combine_chunks()
            .append_column("vector", column)
            .combine_chunks()
            .to_batches()
        )


def _schema(vectors: Vectors) -> pa.Schema:
    kind = pa.list_(pa.from_numpy_dtype(vectors.matrix("image").dtype), vectors.width)
    return pa.schema([*vectors.rows("image").schema, ("vector", kind)])


def _lance(vectors: Vectors, folder: Path, refs: Sequence[SceneRef]) -> list[str]:
    """One Lance data set with all rows, which LanceDB opens as a table."""
    import lance

    place = folder / "vectors.lance"
    with replacing_path(place) as beside:
        reader = pa.RecordBatchReader.from_batches(_schema(vectors), _batches(vectors, "all"))
        lance.write_dataset(reader, str(beside))
    return [f"wrote {len(vectors):,} rows to {place}"]


def _faiss(vectors: Vectors, folder: Path, refs: Sequence[SceneRef]) -> list[str]:
    """A flat index of inner products for images and one for regions, with a table of what their numbers stand for."""
    import faiss

    said = []
    kinds: tuple[Kind, ...] = ("image", "region")
    for kind in kinds:
        matrix = vectors.matrix(kind)
        index = faiss.IndexFlatIP(vectors.width)
        for first in range(0, len(matrix), ROWS_AT_ONCE):
            index.add(matrix[first : first + ROWS_AT_ONCE].astype("float32"))
        with replacing_path(folder / f"{kind}.faiss") as beside:
            faiss.write_index(index, str(beside))
        with replacing_path(folder / f"{kind}.parquet") as beside:
            pq.write_table(vectors.rows(kind), beside)
        said.append(f"wrote {len(matrix):,} rows to {folder / f'{kind}.faiss'}; {kind}.parquet beside it names them")
    return said


def _fiftyone(vectors: Vectors, folder: Path, refs: Sequence[SceneRef]) -> list[str]:
    """A script that makes a FiftyOne data set of the images' files, with regions as detections, and what it reads."""
    place = folder / "fiftyone"
    files = {ref.image_id: str(Path(ref.path).absolute()) for ref in refs if ref.row is None and "://" not in ref.path}
    ids = vectors.rows("image")["id"].to_pylist()
    known = {image_id: files[image_id] for image_id in ids if image_id in files}
    write_json(place / "files.json", known)
    with replacing_path(place / "vectors.parquet") as beside, pq.ParquetWriter(beside, _schema(vectors)) as writer:
        for batch in _batches(vectors, "all"):
            writer.write_batch(batch)
    write_text(place / "load_in_fiftyone.py", Path(__file__).with_name("load_in_fiftyone.py").read_text())
    without = len(ids) - len(known)
    said = f"; {without:,} images that are not files of their own are left out" if without else ""
    return [f"wrote {place}: python {place / 'load_in_fiftyone.py'} NAME makes the data set{said}"]

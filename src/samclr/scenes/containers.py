"""Files that hold many images: Parquet, tar shards, CIFAR-10's batches, STL-10's binary files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from samclr.scenes.notes import ListingNotes
from samclr.scenes.refs import SceneRef, file_stamp, image_suffixes

PARQUET_SUFFIX, TAR_SUFFIX = ".parquet", ".tar"


def list_file(ref: SceneRef, image_column: str | None = None, notes: ListingNotes | None = None) -> Iterator[SceneRef]:
    """The images of one file: itself, or every one of a file of many.

    image_column: that of a Parquet file; by default the one that `parquet.choose_column` finds. Its name stands in the
    ids unless it is the one that samclr 0.1 took, so that rows of two columns never pass for each other.
    notes: takes what was passed over or had to be chosen.

    Raises:
        ScenesError: a Parquet file has no images in `image_column`.
    """
    notes = ListingNotes() if notes is None else notes
    if ref.path.lower().endswith(TAR_SUFFIX):
        yield from _list_tar(ref, notes)
        return
    if ref.path.lower().endswith(image_suffixes()):
        yield ref
        return
    import pyarrow as pa

    try:
        count = _container(ref.path).count(ref.path, file_stamp(ref)[1])
        if ref.path.lower().endswith(PARQUET_SUFFIX):
            ref = _with_column(ref, image_column, count, notes)
    except (OSError, ValueError, pa.ArrowException):
        yield replace(ref, row=0)
        return
    width = len(str(max(count - 1, 0)))
    for row in range(count):
        yield replace(ref, image_id=f"{ref.image_id}#{row:0{width}d}", row=row)


def _with_column(ref: SceneRef, wanted: str | None, count: int, notes: ListingNotes) -> SceneRef:
    """The file's ref with its image column, in the id too if that is not the first column of bytes."""
    from samclr.scenes.parquet import choose_column

    column = choose_column(ref.path, file_stamp(ref)[1], wanted)
    notes.take_column(ref.image_id, column.name, column.others, count)
    image_id = ref.image_id if column.is_first else f"{ref.image_id}:{column.name}"
    return replace(ref, image_id=image_id, column=column.name)


def read_contained(ref: SceneRef) -> bytes:
    """Bytes of one of many images in a file. Raises OSError, ValueError or pyarrow's errors."""
    if ref.span is not None:
        from samclr.scenes.tars import read_span

        return read_span(ref.path, ref.span)
    return _container(ref.path).read(ref, file_stamp(ref)[1])


@dataclass(frozen=True, kw_only=True)
class _Container:
    """A kind of file that holds many images by number. Both functions get the file's time stamp for their caches."""

    count: Callable[[str, int], int]
    read: Callable[[SceneRef, int], bytes]


def _container(path: str) -> _Container:
    from samclr.scenes.arrays import cifar_image_bytes, num_cifar_images, num_stl_images, stl_image_bytes
    from samclr.scenes.parquet import num_parquet_rows, parquet_image_bytes
    from samclr.scenes.tars import damaged_tar

    suffix = PurePath(path).suffix.lower()
    if suffix == PARQUET_SUFFIX:
        return _Container(
            count=num_parquet_rows,
            read=lambda ref, mtime_ns: parquet_image_bytes(ref.path, ref.row or 0, mtime_ns, ref.column),
        )
    if suffix == TAR_SUFFIX:
        return _Container(
            count=lambda path, mtime_ns: 0, read=lambda ref, mtime_ns: damaged_tar(ref.path, ref.row or 0, mtime_ns)
        )
    if suffix == ".bin":
        return _Container(
            count=num_stl_images, read=lambda ref, mtime_ns: stl_image_bytes(ref.path, ref.row or 0, mtime_ns)
        )
    return _Container(
        count=num_cifar_images, read=lambda ref, mtime_ns: cifar_image_bytes(ref.path, ref.row or 0, mtime_ns)
    )


def _list_tar(ref: SceneRef, notes: ListingNotes) -> Iterator[SceneRef]:
    from samclr.scenes.tars import index_tar

    index = index_tar(ref.path, file_stamp(ref)[1])
    notes.members.update(dict(index.passed_over))
    for row, (name, span) in enumerate(zip(index.names, index.spans, strict=True)):
        yield replace(ref, image_id=f"{ref.image_id}#{name}", row=row, span=span)
    if index.fault is not None:
        yield replace(ref, row=len(index.names))

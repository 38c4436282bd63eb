"""Files that hold many images: Parquet, tar shards, CIFAR-10's batches, STL-10's binary files."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePath

from samclr.scenes.refs import IMAGE_SUFFIXES, SceneRef, file_stamp

PARQUET_SUFFIX, TAR_SUFFIX = ".parquet", ".tar"


def list_file(ref: SceneRef) -> Iterator[SceneRef]:
    """The images of one file: itself, or every one of a file of many."""
    if ref.path.lower().endswith(TAR_SUFFIX):
        yield from _list_tar(ref)
        return
    if ref.path.lower().endswith(IMAGE_SUFFIXES):
        yield ref
        return
    import pyarrow as pa

    try:
        count = _container(ref.path).count(ref.path, file_stamp(ref)[1])
    except (OSError, ValueError, pa.ArrowException):
        yield replace(ref, row=0)
        return
    width = len(str(max(count - 1, 0)))
    for row in range(count):
        yield replace(ref, image_id=f"{ref.image_id}#{row:0{width}d}", row=row)


def read_contained(ref: SceneRef) -> bytes:
    """Bytes of one of many images in a file. Raises OSError, ValueError or pyarrow's errors."""
    if ref.span is not None:
        from samclr.scenes.tars import read_span

        return read_span(ref.path, ref.span)
    return _container(ref.path).read(ref.path, ref.row or 0, file_stamp(ref)[1])


@dataclass(frozen=True, kw_only=True)
class _Container:
    """A kind of file that holds many images by number. Both functions get the file's time stamp for their caches."""

    count: Callable[[str, int], int]
    read: Callable[[str, int, int], bytes]


def _container(path: str) -> _Container:
    from samclr.scenes.arrays import cifar_image_bytes, num_cifar_images, num_stl_images, stl_image_bytes
    from samclr.scenes.parquet import num_parquet_rows, parquet_image_bytes
    from samclr.scenes.tars import damaged_tar

    suffix = PurePath(path).suffix.lower()
    if suffix == PARQUET_SUFFIX:
        return _Container(count=num_parquet_rows, read=parquet_image_bytes)
    if suffix == TAR_SUFFIX:
        return _Container(count=lambda path, mtime_ns: 0, read=damaged_tar)
    if suffix == ".bin":
        return _Container(count=num_stl_images, read=stl_image_bytes)
    return _Container(count=num_cifar_images, read=cifar_image_bytes)


def _list_tar(ref: SceneRef) -> Iterator[SceneRef]:
    from samclr.scenes.tars import index_tar

    index = index_tar(ref.path, file_stamp(ref)[1])
    for row, (name, span) in enumerate(zip(index.names, index.spans, strict=True)):
        yield replace(ref, image_id=f"{ref.image_id}#{name.removeprefix('./')}", row=row, span=span)
    if index.fault is not None:
        yield replace(ref, row=len(index.names))

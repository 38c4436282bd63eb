"""The bytes of one image, wherever it is, and their hash."""

import hashlib

from samclr.scenes.containers import read_contained
from samclr.scenes.refs import SceneRef, file_stamp
from samclr.scenes.remote import as_uri, read_remote
from samclr.storage.files import regular

MAX_FILE_BYTES = 1 << 32  # of one encoded image: more than decode.MAX_IMAGE_PX pixels of 16 bits take unpacked


def read_bytes(ref: SceneRef) -> bytes:
    """Return the encoded image. Raises OSError, ValueError or pyarrow's errors for what cannot be read."""
    if ref.row is not None:
        return read_contained(ref)
    if ref.image_id.endswith("/"):  # see `list_scenes`
        raise OSError(f"the folder {ref.path} cannot be listed; see to its permissions")
    if file_stamp(ref)[0] > MAX_FILE_BYTES:
        raise ValueError(f"the file has {file_stamp(ref)[0]:,} bytes, over the limit of {MAX_FILE_BYTES:,}")
    return regular(ref.path).read_bytes() if as_uri(ref.path) is None else read_remote(ref.path)


def content_hash(encoded: bytes) -> str:
    """128-bit BLAKE2b of the encoded image, as hex."""
    return hashlib.blake2b(encoded, digest_size=16).hexdigest()

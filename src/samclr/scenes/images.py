"""The only way to open an encoded image: from memory or a regular file, as one of the formats listed here."""

import importlib
import io
from functools import cache
from pathlib import Path

from PIL import Image

from samclr.scenes.refs import PLUGIN_SUFFIXES
from samclr.storage.files import regular

# Pillow knows more; some of those start other programs (EPS runs Ghostscript) or cannot be told apart by their bytes.
FORMATS = (
    *("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "AVIF", "JPEG2000", "PPM"),
    *("HEIF", "JXL"),  # of plugins
)
MAX_IMAGE_PX = 400_000_000
Image.MAX_IMAGE_PIXELS = None  # the callers' own limits replace Pillow's warning


def open_image(source: bytes | Path) -> Image.Image:
    """An image whose header is read and whose pixels are not; the caller closes it.

    Raises:
        PIL.UnidentifiedImageError: the bytes are none of FORMATS.
        OSError: the path does not lead to a regular file, or Pillow misreads its kind.
        Exception: whatever Pillow raises on a broken header.
    """
    opened = io.BytesIO(source) if isinstance(source, bytes) else regular(source)
    image = Image.open(opened, formats=_formats())
    if image.format == "BMP" and image.mode == "1" and (bits := _bits_of_bmp(image)) != 1:  # read as if it were one
        image.close()
        raise OSError(f"a BMP of {bits} bits with a palette of black and white, which Pillow misreads; save it as PNG")
    return image


def _bits_of_bmp(image: Image.Image) -> int:
    image.fp.seek(0)  # type: ignore[attr-defined]
    header = image.fp.read(30)  # type: ignore[attr-defined]
    return int.from_bytes(header[24:26] if header[14] == 12 else header[28:30], "little")  # 12: the header of OS/2


@cache
def _formats() -> tuple[str, ...]:
    """Those of FORMATS that can be read here."""
    Image.init()
    for module in set(PLUGIN_SUFFIXES.values()):
        try:
            plugin = importlib.import_module(module)
        except ImportError:  # not installed, or not for this Pillow
            continue
        getattr(plugin, "register_heif_opener", lambda: None)()  # pillow_jxl registers itself
    return tuple(name for name in FORMATS if name in Image.OPEN)

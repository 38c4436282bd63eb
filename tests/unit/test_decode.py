import io

import numpy as np
import pytest
from PIL import Image

from samclr.scenes import decode
from samclr.scenes.decode import DecodeError, decode_rgb


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_exif_rotation_is_applied():
    image = Image.new("RGB", (6, 4), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    assert decode_rgb(encode(image, "JPEG", exif=exif)).shape == (6, 4, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP"])
def test_every_format_decodes(kind):
    image = Image.new("RGB", (20, 10), (200, 100, 50))
    pixels = decode_rgb(encode(image, kind))
    assert pixels.shape == (10, 20, 3)
    assert np.abs(pixels.astype(int) - [200, 100, 50]).max() <= 4


def test_grey_and_palette_become_rgb():
    assert (decode_rgb(encode(Image.new("L", (3, 3), 77))) == 77).all()
    palette = Image.new("RGB", (3, 3), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (decode_rgb(encode(palette)) == [10, 20, 30]).all()
    assert (decode_rgb(encode(Image.new("1", (3, 3), 1))) == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_lies_over_white(mode):
    clear = Image.new(mode, (2, 2), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    assert (decode_rgb(encode(clear)) == 255).all()
    half = Image.new("RGBA", (2, 2), (0, 0, 0, 128))
    assert np.abs(decode_rgb(encode(half)).astype(int) - 127).max() <= 1


def test_a_transparent_palette_colour_lies_over_white():
    image = Image.new("P", (2, 2), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert (decode_rgb(encode(image, transparency=0)) == 255).all()


def test_cmyk_becomes_rgb():
    pixels = decode_rgb(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"))
    assert pixels[..., 0].min() > 200
    assert pixels[..., 1:].max() < 60


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_divided_by_257(kind):
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    expected = np.round(values / 257).astype(np.uint8)
    assert (decode_rgb(encode(Image.fromarray(values), kind))[..., 0] == expected).all()


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "the file is empty"),
        (b"not an image at all", "cannot decode: no image format that samclr reads"),
        (encode(Image.effect_noise((64, 64), 50))[:700], "cannot decode"),
        (encode(Image.effect_noise((64, 64), 50), "JPEG")[:500], "truncated"),
        (encode(Image.fromarray(np.zeros((3, 3), np.float32)), "TIFF"), "floating-point pixels have no agreed range"),
        (encode(Image.fromarray(np.full((3, 3), 70000, np.int32)), "TIFF"), "outside 0 to 65535"),
    ],
)
def test_what_cannot_be_used_says_why(encoded, message):
    with pytest.raises(DecodeError, match=message):
        decode_rgb(encoded)


def test_absurd_sizes_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(decode, "MAX_IMAGE_PX", 99)
    with pytest.raises(DecodeError, match="10x10 px, over the limit of 99 px"):
        decode_rgb(encode(Image.new("RGB", (10, 10))))

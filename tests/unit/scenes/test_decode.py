import io
import re
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from samclr.scenes import decode
from samclr.scenes.decode import DecodeError, decode_rgb
from samclr.scenes.refs import SceneRef


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
        (b"not an image at all", "cannot decode: not an image format that samclr reads"),
        (encode(Image.effect_noise((64, 64), 50))[:700], "cannot decode"),
        (encode(Image.effect_noise((64, 64), 50), "JPEG")[:500], "truncated"),
        (encode(Image.fromarray(np.zeros((3, 3), np.float32)), "TIFF"), "floating-point pixels have no agreed range"),
        (encode(Image.fromarray(np.full((3, 3), 70000, np.int32)), "TIFF"), "outside 0 to 65535"),
    ],
    ids=["empty", "text", "png", "jpeg", "float", "large"],  # their bytes are drawn
)
def test_what_cannot_be_used_says_why(encoded, message):
    with pytest.raises(DecodeError, match=message):
        decode_rgb(encoded)


def test_absurd_sizes_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr(decode, "MAX_IMAGE_PX", 99)
    with pytest.raises(DecodeError, match="10x10 px, over the limit of 99 px"):
        decode_rgb(encode(Image.new("RGB", (10, 10))))


def tiff(values: np.ndarray, photometric: int, order: str = "<", bits: int | None = None, **tags: object) -> bytes:
    """A TIFF written byte by byte: a strip of [h w] integers, further tags as name=(number, values of 16 bits)."""
    height, width = values.shape
    body = values.astype(f"{order}u{values.dtype.itemsize}").tobytes() if bits is None else tags.pop("body")
    maps = [(number, items) for number, items in tags.values()]
    entries = [(256, 4, [width]), (257, 4, [height]), (258, 3, [bits or values.dtype.itemsize * 8]), (259, 3, [1])]
    entries += [(262, 3, [photometric]), (273, 4, [8]), (277, 3, [1]), (278, 4, [height]), (279, 4, [len(body)])]
    entries += [(number, 3, items) for number, items in maps]
    directory, far = 8 + len(body) + len(body) % 2, b""
    start = directory + 2 + 12 * len(entries) + 4
    out = struct.pack(f"{order}H", len(entries))
    for number, kind, items in sorted(entries):
        packed = struct.pack(f"{order}{len(items)}{'H' if kind == 3 else 'I'}", *items)
        if len(packed) > 4:
            place, far = start + len(far), far + packed
            packed = struct.pack(f"{order}I", place)
        out += struct.pack(f"{order}HHI", number, kind, len(items)) + packed.ljust(4, b"\0")
    head = b"II*\0" if order == "<" else b"MM\0*"
    return head + struct.pack(f"{order}I", directory) + body + bytes(len(body) % 2) + out + bytes(4) + far


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("photometric", [0, 1])
def test_white_is_zero_or_black_is_zero(kind, photometric):
    values = np.linspace(0, np.iinfo(kind).max, 24).astype(kind).reshape(4, 6)
    expected = np.rint(values / np.iinfo(kind).max * 255).astype(np.uint8)
    expected = expected if photometric == 1 else 255 - expected
    assert (decode_rgb(tiff(values, photometric))[..., 1] == expected).all()


def test_one_bit_with_white_as_zero():
    body = bytes([0b10110000])
    pixels = decode_rgb(tiff(np.zeros((1, 4), np.uint8), 0, bits=1, body=body))
    assert pixels[0, :, 0].tolist() == [0, 255, 0, 0]


def test_twelve_bits_have_their_own_white():
    pixels = decode_rgb(tiff(np.zeros((1, 2), np.uint16), 1, bits=12, body=bytes([0xFF, 0xF8, 0x00])))
    assert pixels[0, :, 0].tolist() == [255, 128]


def test_big_endian_sixteen_bits():
    values = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert decode_rgb(tiff(values, 1, ">"))[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("factor", [1, 257])  # colours of 16 bits, as the format has them, or of 8, as some write them
def test_palettes_of_tiff(factor):
    colours = np.zeros((3, 256), int)
    colours[:, :3] = [[0, 128, 255], [10, 20, 30], [1, 2, 3]]
    encoded = tiff(np.array([[0, 1, 2]], np.uint8), 3, colours=(320, (colours * factor).ravel().tolist()))
    assert decode_rgb(encoded)[0].tolist() == colours[:, :3].T.tolist()


def test_colours_of_print_and_of_the_eye():
    from skimage.color import rgb2lab

    rgb = np.random.default_rng(0).integers(30, 220, (8, 8, 3)).astype(np.uint8)
    lab = rgb2lab(rgb)
    packed = np.stack([lab[..., 0] * 2.55, lab[..., 1] % 256, lab[..., 2] % 256], -1).astype(np.uint8)
    pixels = decode_rgb(encode(Image.frombytes("LAB", (8, 8), packed.tobytes()), "TIFF"))
    assert np.abs(pixels.astype(int) - rgb).mean() < 4
    assert np.abs(decode_rgb(encode(Image.fromarray(rgb).convert("YCbCr"), "TIFF")).astype(int) - rgb).max() <= 4
    cmyk = Image.fromarray(255 - rgb).convert("RGB")
    printed = Image.merge("CMYK", (*cmyk.split(), Image.new("L", (8, 8))))
    assert (decode_rgb(encode(printed, "TIFF")) == rgb).all()


def test_a_clear_value_of_sixteen_bits_lies_over_white():
    image = Image.fromarray(np.array([[0, 30000, 65535]], np.uint16))
    assert decode_rgb(encode(image, transparency=30000))[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO", "AVIF"])
def test_the_first_of_several_pages_counts_and_is_told(kind, tmp_path):
    pages = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    for number, more in enumerate(([], pages[1:])):
        path = tmp_path / f"{number}.png"
        path.write_bytes(encode(pages[0], kind, **({"save_all": True, "append_images": more} if more else {})))
        scene = decode.load_scene(SceneRef(image_id="x", path=str(path)))
        assert scene.has_more_pages == bool(more)
        assert np.abs(scene.pixels.astype(int) - [255, 0, 0]).max() <= 4


def test_heic_is_read_where_its_plugin_is_installed():
    heif = pytest.importorskip("pillow_heif", reason="the extra samclr[heif] is not installed")
    decode_rgb(encode(Image.new("L", (8, 8))))  # registers what is installed
    assert heif is not None
    assert np.abs(decode_rgb(encode(Image.new("RGB", (64, 64), "red"), "HEIF")).astype(int) - [255, 0, 0]).max() <= 4


@pytest.mark.parametrize(
    "head",
    [
        *(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"SIMPLE  =                    T", b"%PDF-1.7\n"),
        *(b"8BPS\0\1", b"\xd7\xcd\xc6\x9a\0\0", b"\x0a\x05\x01\x08", b"P7 332\n", b"/* XPM */\n"),
        b"#define im_width 8\n",
    ],
)
def test_formats_that_are_not_listed_are_not_even_looked_at(head, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    with pytest.raises(DecodeError, match="not an image format that samclr reads"):
        decode_rgb(head + bytes(2000))


def test_one_function_opens_images():
    sources = Path(decode.__file__).parents[1]
    found = [
        path.name
        for path in sources.rglob("*.py")
        if re.search(r"(?<!exif_transpose\()Image\.open\(", path.read_text())
    ]
    assert found == ["images.py"]

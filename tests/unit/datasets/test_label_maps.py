"""Which label map is an image's, and what its values are: one answer of all that read label maps."""

import struct
import unicodedata
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.scenes import box_scene

from samclr import log
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.label_maps import LabelError, match_people, read_label_regions, read_values
from samclr.datasets.labelled_scenes import open_labelled_scenes
from samclr.datasets.sources import list_scenes
from samclr.errors import EvaluationError, ScenesError
from samclr.regions.score import score_store
from samclr.regions.segment import segment_scenes
from samclr.regions.store import iterate_rows, row_to_regions
from samclr.scenes.fill import FillOptions

LABELS = SegmenterConfig(segmenter="labels")
NFC, NFD = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
TWINS = [
    ("street", "street_1"),
    ("a", "a.b"),
    ("a", "a.png"),
    (NFC, NFD),
    ("Street", "street"),
    ("x", "[x]"),
    ("a", "*"),
    ("a", "?_1"),
]


def map_of(number):
    """A label map of which every other has other pieces: a bar of its own width."""
    labels = np.zeros((48, 64), np.uint8)
    labels[:, : 8 * (number + 1)] = 1
    return labels


class Twins:
    """Two images and their label maps in the layouts of all readers, below one folder each."""

    def __init__(self, root, names, labelled):
        self.names, self.root = names, root
        for split in ("train", "test"):
            for kind in ("images", "labels", "segmentations"):
                (root / kind / split).mkdir(parents=True)
            for number, name in enumerate(names):
                Image.fromarray(box_scene(number)[0]).save(root / "images" / split / f"{name}.png")
                if number in labelled:
                    for kind in ("labels", "segmentations"):
                        Image.fromarray(map_of(number)).save(root / kind / split / f"{name}.png")

    def own(self, image_id):
        return map_of(next(k for k, name in enumerate(self.names) if image_id == f"train/{name}.png"))


def segmented(refs, folder, config=LABELS):
    store, report = segment_scenes(refs, config, folder, FillOptions())
    regions = {row["image_id"]: row_to_regions(row) for row in iterate_rows(store) if row["status"] == "ok"}
    return store, regions, report.errors


def is_partition(regions, labels):
    masks = {regions.mask(k).tobytes() for k in range(len(regions.regions))}
    return masks == {(labels == value).tobytes() for value in np.unique(labels)}


@pytest.mark.parametrize("names", TWINS, ids=ascii)
def test_twins_keep_their_own_label_maps(tmp_path, names):
    twins = Twins(tmp_path / "set", names, labelled=(0, 1))
    ids = {f"train/{name}.png" for name in names}
    refs = [ref for ref in list_scenes([twins.root / "images"]) if ref.image_id in ids]
    own_set = {ref.image_id: ref for ref in list_scenes([Path(f"bsds500@{twins.root}")])}
    given = SegmenterConfig(segmenter="labels", labels=twins.root / "labels")
    store, regions, errors = segmented(refs, tmp_path / "store", given)
    assert errors == {}
    for image_id in ids:
        assert is_partition(regions[image_id], twins.own(image_id))
        assert (read_label_regions(own_set[image_id].label, (48, 64)) == twins.own(image_id)).all()
    score = score_store(store, twins.root / "labels")
    assert (score["num_images"], score["num_human_segmentations"], score["best_covering"]) == (2, 2, 1.0)
    dense, _ = open_labelled_scenes(Path(f"camvid@{twins.root}"))
    assert all((dense.label_map(k) == twins.own(ref.image_id)).all() for k, ref in enumerate(dense.refs))


@pytest.mark.parametrize("names", TWINS, ids=ascii)
def test_a_label_map_serves_no_other_image(tmp_path, names, capsys):
    twins = Twins(tmp_path / "set", names, labelled=(1,))
    lonely, served = (f"train/{name}.png" for name in names)
    refs = [ref for ref in list_scenes([twins.root / "images"]) if ref.image_id in (lonely, served)]
    given = SegmenterConfig(segmenter="labels", labels=twins.root / "labels")
    for listed, config in ((refs, given), (list_scenes([Path(f"bsds500@{twins.root}")]), LABELS)):
        store, regions, errors = segmented(listed, tmp_path / f"store of {len(list(tmp_path.iterdir()))}", config)
        assert errors == {lonely: "no label map for this image"}
        assert is_partition(regions[served], twins.own(served))
    score = score_store(store, twins.root / "labels")
    assert (score["num_images"], score["num_images_without_label_map"]) == (1, 1)
    with pytest.raises(EvaluationError, match="1 of 2 images of CamVid, split train, have no label map"):
        open_labelled_scenes(Path(f"camvid@{twins.root}"))


def test_annotators_in_the_layout_that_has_several(tmp_path, capsys):
    root = tmp_path / "bsds"
    for name in ("street", "street_1", "yard", "10", "hall"):
        (root / "images/train").mkdir(parents=True, exist_ok=True)
        Image.fromarray(box_scene(0)[0]).save(root / f"images/train/{name}.jpg")
    (root / "segmentations/train").mkdir(parents=True)
    for name in ("street_1", "street_2", "yard_10", "yard_9", "10_0", "10_1", "hall", "hall_0", "hall_1.5"):
        Image.fromarray(map_of(0)).save(root / f"segmentations/train/{name}.png")
    refs = list_scenes([Path(f"bsds500@{root}")])
    found = {Path(ref.image_id).stem: ref.label and Path(ref.label.path).stem for ref in refs}
    assert found == {"street": None, "street_1": "street_1", "yard": "yard_9", "10": "10_0", "hall": "hall"}
    assert "1 label maps in" in (said := capsys.readouterr().err)
    assert "street_2.png (of another image, or of train/street?)" in said
    people = match_people(root / "segmentations", [ref.image_id for ref in refs])
    assert people.strays == ["hall_1.5.png"]


def test_the_layout_without_its_segmentations_has_images(tmp_path):
    (tmp_path / "images/train").mkdir(parents=True)
    Image.fromarray(box_scene(0)[0]).save(tmp_path / "images/train/1.jpg")
    assert [ref.label for ref in list_scenes([Path(f"bsds500@{tmp_path}")])] == [None]


@pytest.mark.parametrize(("name", "kind"), [("camvid", "labels"), ("bsds500", "segmentations")])
def test_two_images_of_one_stem_do_not_share_a_label_map(tmp_path, name, kind):
    twins = Twins(tmp_path / "set", ("a", "b"), labelled=(0, 1))
    Image.fromarray(box_scene(2)[0]).save(twins.root / "images/train/a.jpg")
    with pytest.raises(ScenesError, match=r"match several images each: train/a.jpg and train/a.png \(stem train/a\)"):
        list_scenes([Path(f"{name}@{twins.root}")])
    (twins.root / kind / "train/a.png").unlink()
    assert len(list_scenes([Path(f"{name}@{twins.root}")])) == 3


# ---- values ----

BITS_1 = (np.indices((48, 64)).sum(0) // 8 % 2).astype(np.uint8)
BITS_2 = (np.indices((48, 64)).sum(0) // 8 % 4).astype(np.uint8)
BITS_4 = (np.indices((48, 64)).sum(0) // 8 % 11).astype(np.uint8)
PALETTE = np.random.default_rng(0).integers(0, 256, 768).tolist()


def bits_of(values, bits, reverse=False):
    """Rows of values, so many bits each."""
    each = np.unpackbits(values[..., None], axis=2)[..., 8 - bits :].reshape(len(values), -1)
    return np.packbits(each, axis=1, bitorder="little" if reverse else "big").tobytes()


def png(values, bits, kind=0, size=None):
    """A PNG of grey (kind 0) or of whole bytes of another kind, as its header says, not as Pillow would write it."""
    height, width = size or values.shape[:2]
    rows = bits_of(values, bits) if bits < 8 else values.astype(">u2" if bits == 16 else np.uint8).tobytes()
    step = len(rows) // len(values)
    lines = b"".join(b"\0" + rows[k * step : (k + 1) * step] for k in range(len(values)))
    chunks = (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)), (b"IDAT", zlib.compress(lines))
    packed = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (*chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def tiff(values, bits, photometric=1, fill=1, samples=1, signed=False, size=None):
    height, width = size or values.shape[:2]
    rows = bits_of(values, bits, fill == 2) if bits < 8 else values.tobytes()
    tags = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 266: fill, 273: 8, 277: samples}
    tags |= {278: height, 279: len(rows), 339: 2 if signed else 1}
    if samples > 1:  # two values fit where an offset would stand
        tags |= {258: bits | bits << 16, 338: 0}
    long = (256, 257, 273, 278, 279)
    entries = b"".join(
        struct.pack("<HHII", tag, 4 if tag in long else 3, samples if tag == 258 else 1, value)
        for tag, value in sorted(tags.items())
    )
    return struct.pack("<2sHI", b"II", 42, 8 + len(rows)) + rows + struct.pack("<H", len(tags)) + entries + bytes(4)


def bmp(values, bits, greys):
    """A BMP whose palette is these greys."""
    height, width = values.shape
    rows = values[::-1].tobytes() if bits == 8 else bits_of(values[::-1], bits)
    start = 54 + 4 * len(greys)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, 0, len(rows), 0, 0, len(greys), 0)
    palette = b"".join(bytes((grey, grey, grey, 0)) for grey in greys)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + header + palette + rows


def written(image, **options):
    """By Pillow."""

    def write(path):
        image.save(path, **options)

    return write


def palette(values, **options):
    image = Image.fromarray(values, "P")
    image.putpalette(PALETTE)
    return written(image, **options)


GOOD = {
    "1 bit.png": (BITS_1, png(BITS_1, 1)),
    "2 bits.png": (BITS_2, png(BITS_2, 2)),
    "4 bits.png": (BITS_4, png(BITS_4, 4)),
    "8 bits.png": (BITS_4, png(BITS_4, 8)),
    "16 bits.png": (BITS_4, png(BITS_4, 16)),
    **{f"palette of {bits} bits.png": (values, palette(values, bits=bits))
       for bits, values in ((1, BITS_1), (2, BITS_2), (4, BITS_4), (8, BITS_4))},
    "palette.tif": (BITS_4, palette(BITS_4)),
    **{f"{bits} bits, order {fill}.tif": (values, tiff(values, bits, fill=fill))
       for bits, values in ((1, BITS_1), (2, BITS_2), (4, BITS_4)) for fill in (1, 2)},
    "8 bits.tif": (BITS_4, tiff(BITS_4, 8)),
    "signed.tif": (BITS_4, tiff(BITS_4, 8, signed=True)),
    "16 bits.tif": (BITS_4, tiff(BITS_4.astype("<u2"), 16)),
    "I;16B.tif": (BITS_4, written(Image.frombytes("I;16B", (64, 48), BITS_4.astype(">u2").tobytes()))),
    "32 bits.tif": (BITS_4, tiff(BITS_4.astype("<u4"), 32)),
    "lzw.tif": (BITS_4, written(Image.fromarray(BITS_4), compression="tiff_lzw")),
    "1 bit.bmp": (BITS_1, bmp(BITS_1, 1, (0, 255))),
    "1 bit, white first.bmp": (BITS_1, bmp(BITS_1, 1, (255, 0))),
    "8 bits.bmp": (BITS_4, bmp(BITS_4, 8, range(11))),
    "palette.bmp": (BITS_4, palette(BITS_4)),
}  # fmt: skip
ODD = {
    "float.tif": (written(Image.fromarray(BITS_4.astype(np.float32))), "floating-point numbers; expected one channel"),
    "rgb.png": (png(np.stack([BITS_4] * 3, 2), 8, kind=2), r"3 channels \(RGB\); expected one channel"),
    "rgba.png": (png(np.stack([BITS_4] * 4, 2), 8, kind=6), r"4 channels \(RGBA\)"),
    "grey and alpha.png": (png(np.stack([BITS_4] * 2, 2), 8, kind=4), r"2 channels \(LA\)"),
    "two samples.tif": (tiff(np.stack([BITS_4] * 2, 2), 8, samples=2), "2 channels"),
    "jpeg.png": (written(Image.fromarray(BITS_4), format="JPEG"), r"has lossy compression \(JPEG\)"),
    "jpeg.tif": (written(Image.fromarray(BITS_4), compression="jpeg"), r"has lossy compression \(TIFF\)"),
    "white is 0.tif": (tiff(BITS_4, 8, photometric=0), "counts from white"),
    "white is 0, 1 bit.tif": (tiff(BITS_1, 1, photometric=0), "counts from white"),
    "negative.tif": (tiff(BITS_4.astype(np.int8) - 1, 8, signed=True), "has the value -1; expected ids"),
    "beyond 31 bits.tif": (tiff(BITS_4.astype("<u4") + 2**31, 32), "has the value -2147483648; expected ids"),
    "pages.tif": (written(Image.fromarray(BITS_4), save_all=True, append_images=[Image.fromarray(BITS_4)]), "2 pages"),
    "misread.bmp": (bmp(BITS_1, 8, (0, 255)), "a BMP of 8 bits with a palette of black and white"),
    "4 grey bits.bmp": (bmp(BITS_4, 4, range(16)), "cannot decode label map"),
    "bomb.png": (png(BITS_4, 8, size=(60_000, 60_000)), "60000x60000 px"),
    "bomb.tif": (tiff(BITS_4, 8, size=(60_000, 60_000)), "60000x60000 px"),
    "cut.png": (png(BITS_4, 8)[:-60], "cannot decode label map"),
    "empty.png": (b"", "cannot decode label map"),
    "text.png": (b"no image", "cannot decode label map"),
}


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """One image in CamVid's layout, whose label map is replaced; and the store of its values as regions."""
    root = tmp_path_factory.mktemp("values") / "camvid"
    for split in ("train", "test"):
        for kind in ("images", "labels"):
            (root / kind / split).mkdir(parents=True)
        Image.fromarray(box_scene(0)[0]).save(root / "images" / split / "a.jpg")
        (root / "labels" / split / "a.png").write_bytes(png(BITS_4, 8))
    return Reader(root)


class Reader:
    def __init__(self, root):
        self.root, self.folder, self.count = root, root / "labels/train", 0
        (root / "classes.txt").write_text("\n".join(f"thing {k}" for k in range(11)))

    def place(self, name, content):
        for old in self.folder.iterdir():
            old.unlink()
        path = self.folder / f"a{Path(name).suffix}"
        content(path) if callable(content) else path.write_bytes(content)

    def segment(self):
        refs, self.count = list_scenes([self.root / "images/train"]), self.count + 1
        given = SegmenterConfig(segmenter="labels", labels=self.folder)
        return segmented(refs, self.root.parent / f"store {self.count}", given)

    def score(self, values):
        """Against a store whose regions are all pixels of a value."""
        for old in self.folder.iterdir():
            kept = old.rename(self.root.parent / old.name)
        (self.folder / "a.png").write_bytes(png(values, 8))
        store, _, errors = self.segment()
        assert errors == {}
        (self.folder / "a.png").unlink()
        kept.rename(self.folder / kept.name)
        return score_store(store, self.folder)

    def dense(self):
        return open_labelled_scenes(self.root)[0].label_map(0)


@pytest.mark.parametrize("name", GOOD)
def test_every_reader_has_the_values(reader, name):
    values, content = GOOD[name]
    reader.place(name, content)
    assert (reader.dense() == values).all()
    _, regions, errors = reader.segment()
    assert errors == {}
    found = regions["a.jpg"]
    pieces = np.zeros(values.shape, int)
    for k in range(len(found.regions)):
        mask = found.mask(k)
        assert len(np.unique(values[mask])) == 1
        pieces += mask
    assert (pieces == 1).all()
    assert len(found.regions) == 14  # diagonal stripes, of which no two of one value touch
    score = reader.score(values)
    reader.place("a.png", png(values, 8))
    assert score == reader.score(values)


@pytest.mark.parametrize("name", ODD)
def test_every_reader_says_what_it_cannot_use(reader, name):
    content, message = ODD[name]
    reader.place(name, content)
    _, regions, errors = reader.segment()
    assert regions == {}
    with pytest.raises(LabelError, match=message) as raised:
        read_values(next(reader.folder.iterdir()), (48, 64))
    assert errors == {"a.jpg": str(raised.value)}
    with pytest.raises(EvaluationError, match=message):
        reader.dense()
    with pytest.raises(ScenesError, match=rf"no label map in .* can be used: .*{message}"):
        reader.score(BITS_4)


def test_a_bomb_is_refused_where_the_image_s_size_is_unknown(tmp_path):
    (tmp_path / "a.png").write_bytes(png(BITS_4, 8, size=(60_000, 60_000)))
    with pytest.raises(LabelError, match="60000x60000 px; at most 400,000,000 px are read"):
        read_values(tmp_path / "a.png", None)


def test_a_label_map_that_is_turned_itself_is_refused(tmp_path):
    for orientation in (0, 1):
        save_turned(np.zeros((4, 6), np.uint8), tmp_path / "a.png", orientation)
        assert read_values(tmp_path / "a.png", (4, 6)).shape == (4, 6)
    save_turned(np.zeros((4, 6), np.uint8), tmp_path / "a.png", 3)
    with pytest.raises(LabelError, match=r"label map a.png has the EXIF orientation 3: .*save it upright"):
        read_values(tmp_path / "a.png", (4, 6))


@pytest.mark.parametrize(("orientation", "is_said"), [(1, False), (3, True)])
def test_photos_whose_rotation_does_not_show_are_said(tmp_path, capsys, monkeypatch, orientation, is_said):
    twins = Twins(tmp_path / "set", ("a",), labelled=(0,))
    save_turned(box_scene(0)[0], twins.root / "images/train/a.png", orientation)
    refs = list_scenes([twins.root / "images/train"])
    given = SegmenterConfig(segmenter="labels", labels=twins.root / "labels/train")
    for read in (
        lambda: open_labelled_scenes(Path(f"camvid@{twins.root}"))[0].label_map(0),
        lambda: segmented(refs, tmp_path / "store", given),
    ):
        monkeypatch.setattr(log, "_SAID", set())
        capsys.readouterr()
        read()
        assert ("label maps are taken as made for the upright photo" in capsys.readouterr().err) is is_said


def save_turned(pixels, path, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif)


def test_three_channels_have_8_bits_each(tmp_path):
    (tmp_path / "a_seg.png").write_bytes(png(np.stack([BITS_4] * 3, 2), 16, kind=2))
    with pytest.raises(LabelError, match="16 bits a channel; expected 8"):
        read_values(tmp_path / "a_seg.png", (48, 64), num_channels=3)
    (tmp_path / "a_seg.png").write_bytes(png(np.stack([BITS_4] * 3, 2), 8, kind=2))
    assert (read_values(tmp_path / "a_seg.png", (48, 64), num_channels=3) == BITS_4[..., None]).all()


def test_a_turned_tiff_fits_its_upright_label_map(tmp_path):
    twins = Twins(tmp_path / "set", ("a",), labelled=(0,))
    turned = Image.fromarray(box_scene(0)[0]).transpose(Image.Transpose.ROTATE_90)
    (twins.root / "images/train/a.png").unlink()
    turned.save(twins.root / "images/train/a.tif", tiffinfo={274: 6})
    dense, _ = open_labelled_scenes(Path(f"camvid@{twins.root}"))
    assert (dense.label_map(0) == map_of(0)).all()

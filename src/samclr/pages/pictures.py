"""Pages of pictures: what is like an image or object, and groups of near-duplicates."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from samclr._version import __version__
from samclr.embedding.lookup import Place
from samclr.embedding.vectors import REPLACED
from samclr.pages.render import render
from samclr.scenes.decode import DecodeError, load_scene
from samclr.scenes.refs import SceneRef
from samclr.storage.files import write_text

SHOWN_PX = 320  # longer side of a picture on the page
MAX_PICTURES = 600  # on a page, so that it can be opened
NEAR = 1.0  # of an object's longer side, shown around it


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture to show: an image, or an object with its surroundings, and what is written under it."""

    place: Place
    text: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """Pictures under one title."""

    title: str
    pictures: Sequence[Shown]


def write_pictures(
    title: str, verdict: str, rows: Sequence[Row], refs: Mapping[str, SceneRef], out: Path, hashes: Mapping[str, str]
) -> int:
    """Write a self-contained page; returns how many pictures it shows, at most MAX_PICTURES.

    refs: the scenes by id; a picture that is not among them, or cannot be read, is a grey field that says so.
    hashes: those of the files when they were embedded, by id; a picture of another file says so.
    """
    shown, left = [], MAX_PICTURES
    for row in rows:
        if left <= 0:
            break
        pictures = [_picture(one, refs, hashes) for one in row.pictures[:left]]
        left -= len(pictures)
        shown.append({"title": row.title, "pictures": pictures})
    wanted = sum(len(row.pictures) for row in rows)
    note = f"The page shows the first {MAX_PICTURES} of {wanted:,} pictures." if wanted > MAX_PICTURES else ""
    page = render("pictures.html.j2", title=title, verdict=verdict, note=note, rows=shown, version=__version__)
    write_text(out, page)
    return min(wanted, MAX_PICTURES)


def _picture(one: Shown, refs: Mapping[str, SceneRef], hashes: Mapping[str, str]) -> dict[str, Any]:
    place, fault = one.place, None
    x0, y0, x1, y1 = place.box_xyxy
    image = Image.new("RGB", (x1 - x0, y1 - y0) if place.region is None else (max(x1, 1), max(y1, 1)), (128, 128, 128))
    if place.id in refs:
        try:
            scene = load_scene(refs[place.id])
            image = Image.fromarray(scene.pixels)
            fault = REPLACED if hashes.get(place.id) not in (None, "", scene.content_hash) else None
        except DecodeError as error:
            fault = str(error)
    else:
        fault = "not among the scenes"
    is_object = (x0, y0, x1, y1) != (0, 0, *image.size)
    window = _window(place.box_xyxy, image.size) if is_object else (0, 0, *image.size)
    scale = min(1.0, SHOWN_PX / max(window[2] - window[0], window[3] - window[1]))
    size = tuple(max(1, round((window[side + 2] - window[side]) * scale)) for side in (0, 1))
    box = [round((x0 - window[0]) * scale, 1), round((y0 - window[1]) * scale, 1)]
    box += [round((x1 - x0) * scale, 1), round((y1 - y0) * scale, 1)]
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS, box=window).save(buffer, "JPEG", quality=82)  # type: ignore[arg-type]
    name = place.id if place.region is None else f"{place.id}, region {place.region}"
    return {
        "picture": f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}",
        "width": size[0],
        "height": size[1],
        "box": box if is_object else None,
        "name": name if fault is None else f"{name} ({fault})",
        "text": one.text,
    }


def _window(box_xyxy: tuple[int, int, int, int], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """An object's box with what is around it."""
    x0, y0, x1, y1 = box_xyxy
    margin = round(NEAR * max(x1 - x0, y1 - y0))
    return max(x0 - margin, 0), max(y0 - margin, 0), min(x1 + margin, size[0]), min(y1 + margin, size[1])

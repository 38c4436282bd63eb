"""Labelled images as squares of one size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from samclr.errors import EvaluationError, name_some
from samclr.log import say_once
from samclr.scenes.decode import DecodeError, load_scene, pages_text
from samclr.scenes.refs import SceneRef


def decode_square(refs: Sequence[SceneRef], image_px: int, num_threads: int) -> UInt8[np.ndarray, "n 3 s s"]:
    """Decode images, resize the shorter side to `image_px` and crop the centre; say how many have more pages.

    Raises:
        EvaluationError: an image is broken; a result over other images than those named would be no result.
    """
    pixels = np.empty((len(refs), 3, image_px, image_px), np.uint8)
    more_pages = np.zeros(len(refs), bool)

    def work(number: int) -> str | None:
        try:
            scene = load_scene(refs[number])
        except DecodeError as error:
            return f"{refs[number].image_id} ({error})"
        image, more_pages[number] = Image.fromarray(scene.pixels), scene.has_more_pages
        scale = image_px / min(image.size)
        size = (max(round(image.width * scale), image_px), max(round(image.height * scale), image_px))
        if image.size != size:
            image = image.resize(size, Image.Resampling.BILINEAR)
        left, top = (size[0] - image_px) // 2, (size[1] - image_px) // 2
        square = np.asarray(image.crop((left, top, left + image_px, top + image_px)))
        pixels[number] = square.transpose(2, 0, 1)
        return None

    with ThreadPoolExecutor(num_threads) as pool:
        broken = [fault for fault in pool.map(work, range(len(refs))) if fault]
    if broken:
        raise EvaluationError(f"{len(broken)} labelled images cannot be read: {name_some(broken)}; fix or remove them")
    if more_pages.any():
        say_once(pages_text(int(more_pages.sum())))
    return pixels

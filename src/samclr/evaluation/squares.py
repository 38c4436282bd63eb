"""Labelled images as squares of one size."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from samclr.datasets.labelled_split import refuse_broken
from samclr.log import say_once
from samclr.scenes.decode import DecodeError, load_scene, pages_text
from samclr.scenes.refs import SceneRef

SQUARE = "torchvision's Resize and CenterCrop, bilinear"  # what `square` does; caches are named by it


def square(pixels: UInt8[np.ndarray, "h w 3"], image_px: int) -> UInt8[np.ndarray, "3 s s"]:
    """Resize the shorter side to `image_px` (bilinear, antialiased) and crop the centre.

    Sizes are rounded as by torchvision's Resize and CenterCrop, so that the image processor of an export gives the
    same pixels (docs/decisions/0023-exports.md).
    """
    image = Image.fromarray(pixels)
    long_px = int(image_px * max(image.size) / min(image.size))
    size = (image_px, long_px) if image.width <= image.height else (long_px, image_px)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (round((side - image_px) / 2) for side in size)
    return np.array(image.crop((left, top, left + image_px, top + image_px))).transpose(2, 0, 1)


def decode_square(refs: Sequence[SceneRef], image_px: int, num_threads: int) -> UInt8[np.ndarray, "n 3 s s"]:
    """Decode images and make them `square`; say how many have more pages.

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
        more_pages[number] = scene.has_more_pages
        pixels[number] = square(scene.pixels, image_px)
        return None

    with ThreadPoolExecutor(num_threads) as pool:
        broken = [fault for fault in pool.map(work, range(len(refs))) if fault]
    refuse_broken(broken)
    if more_pages.any():
        say_once(pages_text(int(more_pages.sum())))
    return pixels

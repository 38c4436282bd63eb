"""Generated photographs, and copies of them as they come to lie in a folder twice."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image


def photograph(seed: int, height: int = 120, width: int = 160) -> Image.Image:
    """Light that falls off, patches of texture, and some things in front, all drawn by the seed."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (4, 5, 3)).astype(np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image).astype(np.float32)
    fine = np.asarray(Image.fromarray(random.integers(0, 256, (30, 40)).astype(np.uint8)).resize((width, height)))
    pixels += (fine.astype(np.float32) - 128)[:, :, None] * 0.25
    for _ in range(12):
        y, x = random.integers(0, height - 10), random.integers(0, width - 10)
        h, w = random.integers(6, height // 3), random.integers(6, width // 3)
        pixels[y : y + h, x : x + w] = random.integers(0, 256, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def copies(image: Image.Image, seed: int = 0) -> Iterator[tuple[str, Image.Image]]:
    """Re-encodings, resizes and crops of it, and what each is."""
    random, (width, height) = np.random.default_rng(seed), image.size
    for quality in (90, 60, 30):
        yield f"jpeg {quality}", jpeg(image, quality)
    for scale in (0.5, 0.75, 1.5):
        size = round(width * scale), round(height * scale)
        yield f"size {scale}", jpeg(image.resize(size, Image.Resampling.LANCZOS), 90)
    for share in (0.95, 0.9, 0.8):
        size = round(width * share), round(height * share)
        x, y = random.integers(0, width - size[0] + 1), random.integers(0, height - size[1] + 1)
        yield f"crop {share}", jpeg(image.crop((x, y, x + size[0], y + size[1])), 90)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    """As it comes back from a JPEG file."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue()))

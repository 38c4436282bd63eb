"""How many planted copies `samclr duplicates` finds among photographs, and how many distinct ones it merges.

    python benchmarks/near_duplicates.py --images DIR --backbone TARGET [--untrained] [--image-px 112] [--planted 100]
    python benchmarks/near_duplicates.py --frames VECTORS [--seconds 10]

Of some photographs of DIR thirteen copies each are planted: JPEG of quality 90 to 30, resizes by 0.33 to 1.5, crops of
97 to 80 % of each side at a random place. Each line: the threshold; pairs of vectors over it, which are compared; found
copies, by kind; groups with two photographs of DIR. The last lines go by the vectors alone (--check none).

The second form looks at frames of video, whose names end in the film and the frame's number at 30 a second: what is
grouped, how many groups are of two films, and of stretches over --seconds apart, which are rarely one sight.
"""

import argparse
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import samclr
from samclr.config.embedding import EmbedConfig
from samclr.datasets.sources import list_scenes
from samclr.embedding.copies import find_copies
from samclr.embedding.duplicates import pairs_over
from samclr.embedding.own_scenes import refs_of

THRESHOLDS = (0.9, 0.95, 0.98)
FRAME = re.compile(r"([^/]*?)_[a-z]?(\d+)\.\w+$")
FRAMES_PER_S = 30


def copies(image: Image.Image, random: np.random.Generator) -> Iterator[tuple[str, Image.Image, int]]:
    """Name, picture and JPEG quality of each copy."""
    width, height = image.size
    for quality in (90, 70, 50, 30):
        yield f"jpeg-{quality}", image, quality
    for scale in (0.33, 0.5, 0.75, 1.5):
        size = round(width * scale), round(height * scale)
        yield f"size-{scale}", image.resize(size, Image.Resampling.LANCZOS), 90
    for share in (0.97, 0.95, 0.9, 0.85, 0.8):
        size = round(width * share), round(height * share)
        x, y = random.integers(0, width - size[0] + 1), random.integers(0, height - size[1] + 1)
        yield f"crop-{share}", image.crop((x, y, x + size[0], y + size[1])), 90


def plant(images: Path, folder: Path, num: int) -> dict[str, tuple[str, str]]:
    """Link the photographs into the folder and write copies of some; of each copy its photograph and kind."""
    random = np.random.default_rng(0)
    files = sorted(images.rglob("*.jpg"))
    planted = {}
    for number, file in enumerate(files):
        (folder / f"{number:05d}.jpg").symlink_to(file.resolve())
    for number in sorted(random.choice(len(files), min(num, len(files)), replace=False).tolist()):
        with Image.open(files[number]) as image:
            for kind, copy, quality in copies(image.convert("RGB"), random):
                name = f"{number:05d}-{kind}.jpg"
                copy.save(folder / name, quality=quality)
                planted[name] = f"{number:05d}.jpg", kind
    return planted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--backbone")
    parser.add_argument("--untrained", action="store_true")
    parser.add_argument("--image-px", type=int, default=112)
    parser.add_argument("--planted", type=int, default=100)
    parser.add_argument("--frames", type=Path, metavar="VECTORS")
    parser.add_argument("--seconds", type=float, default=10)
    arguments = parser.parse_args()
    if arguments.frames is not None:
        look_at_frames(samclr.open_vectors(arguments.frames), arguments.seconds)
        return
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "scenes"
        folder.mkdir()
        planted = plant(arguments.images, folder, arguments.planted)
        vectors = samclr.embed(
            folder,
            arguments.backbone,
            out=Path(base) / "vectors",
            untrained=arguments.untrained,
            config=EmbedConfig(image_px=arguments.image_px),
            workers=1,
        )
        refs = list_scenes([folder])
        for compared in (refs, None):
            for threshold in THRESHOLDS:
                show(vectors, planted, threshold, compared)


def show(
    vectors: samclr.Vectors, planted: dict[str, tuple[str, str]], threshold: float, refs: list[object] | None
) -> None:
    start = time.perf_counter()
    found = find_copies(vectors, threshold=threshold, refs=refs, max_group=len(vectors))
    took_s = time.perf_counter() - start
    group_of = {place.id: number for number, group in enumerate(found.groups) for place in group}
    hits, all_of = Counter(), Counter(kind for _, kind in planted.values())
    for name, (original, kind) in planted.items():
        hits[kind] += name in group_of and group_of[name] == group_of.get(original)
    merged = sum(sum(place.id not in planted for place in group) > 1 for group in found.groups)
    pairs = sum(len(first) for first, _, _ in pairs_over(vectors.matrix("image"), threshold))
    missed = ", ".join(f"{kind} {hits[kind]}/{num}" for kind, num in all_of.items() if hits[kind] < num)
    share = sum(hits.values()) / len(planted)
    print(
        f"{'pictures' if refs else 'vectors alone'}, threshold {threshold}: {pairs:,} pairs, {took_s:.1f} s; found "
        f"{sum(hits.values())} of {len(planted)} ({share:.1%}){f', {missed}' if missed else ''}"
        f"; {merged} groups merge photographs",
        flush=True,
    )


def look_at_frames(vectors: samclr.Vectors, seconds: float) -> None:
    _, refs = refs_of(vectors, (), None, "pictures are compared")
    for compared in (refs, None):
        for threshold in THRESHOLDS:
            groups = find_copies(vectors, threshold=threshold, refs=compared).groups
            mixed = apart = 0
            for group in groups:
                frames = sorted(FRAME.search(place.id).groups() for place in group)
                mixed += len({film for film, _ in frames}) > 1
                steps = np.diff(sorted(int(number) for _, number in frames))
                apart += len({film for film, _ in frames}) == 1 and steps.max() > seconds * FRAMES_PER_S
            print(
                f"{'pictures' if compared else 'vectors alone'}, threshold {threshold}: {len(groups)} groups, "
                f"{sum(len(group) - 1 for group in groups)} of {len(refs)} left out; {mixed} groups of two films, "
                f"{apart} of stretches over {seconds:g} s apart; largest {[len(group) for group in groups[:5]]}",
                flush=True,
            )


if __name__ == "__main__":
    main()

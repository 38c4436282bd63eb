"""The report's pictures: scenes with their regions, and what the two strategies show the model of them."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from samclr.bank.bank import SceneBank
from samclr.config.cache import cache_folder
from samclr.config.normalisation import UNCHANGED
from samclr.config.pretrain import PretrainConfig, Strategy
from samclr.errors import RunError
from samclr.log import say
from samclr.regions.coarsest import coarsest
from samclr.regions.index import RegionIndex, open_index
from samclr.regions.records import ImageRegions
from samclr.regions.store import damaged_text, open_store, read_bucket, read_regions
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import OK, PartsFolder, bucket_of_part
from samclr.views.augment import augment
from samclr.views.crop import ViewCropper
from samclr.views.data import bank_path
from samclr.views.plan import ViewPlanner

NUM_SCENES, PAIRS_PER_SCENE = 6, 3
SCENE_WIDTH_PX, SCENE_HEIGHT_PX, MIN_VIEW_PX = 420, 630, 96
COLOURS = (
    (230, 80, 60),
    (60, 140, 230),
    (70, 180, 90),
    (240, 170, 40),
    (160, 90, 210),
    (40, 190, 190),
    (235, 110, 170),
)


@dataclass(frozen=True, kw_only=True)
class GalleryScene:
    """One scene of the gallery; pictures are data URIs."""

    image_id: str
    picture: str
    num_regions: int
    num_kept: int
    pairs: dict[str, list[tuple[str, str]]]  # strategy -> pairs of views


@dataclass(frozen=True, kw_only=True)
class Gallery:
    """Scenes, and of how many they were drawn: more than were trained on where a bank serves other sets too."""

    scenes: tuple[GalleryScene, ...]
    drawn_from: int


def make_gallery(
    config: PretrainConfig, num_scenes: int = NUM_SCENES, strategies: Sequence[Strategy] | None = None
) -> Gallery:
    """Scenes spread over the set, each with pairs of the strategies: by default image, and region if there are any.

    They are those of the bank, and of the store where there is one: the scenes themselves may be gone.

    Raises RunError without a bank, or with one that has no scene of the store; and as SceneBank and open_store.
    """
    path = bank_path(config)
    if not path.exists():
        raise RunError(f"the scene bank {path} is gone; rebuild it with samclr pack")
    store = None if config.data.regions is None else open_store(config.data.regions)
    ids = SceneBank(path).image_ids
    if store is not None:
        known = set(store.image_ids())
        ids = [image_id for image_id in ids if image_id in known]
    if not ids:
        raise RunError(f"no scene of the bank {path} is in the region store {config.data.regions}")
    count = min(num_scenes, len(ids))
    shown = [ids[number * len(ids) // count] for number in range(count)]
    bank = SceneBank(path, [SceneRef(image_id=image_id, path=str(path)) for image_id in shown])
    index = None if store is None else open_index(bank, store, config.filter, cache_folder())
    found = {} if store is None else _regions_of(store, bank)
    kinds = strategies or (["image"] if index is None else ["image", "region"])
    scenes = [_gallery_scene(config, bank, index, image, found.get(one), kinds) for image, one in enumerate(shown)]
    return Gallery(scenes=tuple(scenes), drawn_from=len(ids))


def _gallery_scene(
    config: PretrainConfig,
    bank: SceneBank,
    index: RegionIndex | None,
    image: int,
    found: ImageRegions | None,
    strategies: Sequence[Strategy],
) -> GalleryScene:
    kept = [] if found is None else coarsest(found, config.filter)
    picture = Image.fromarray(np.asarray(bank.level(image, 0)))
    if found is not None:
        picture = _draw_regions(picture, found, kept)
    scale = min(SCENE_WIDTH_PX / picture.width, SCENE_HEIGHT_PX / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return GalleryScene(
        image_id=bank.image_ids[image],
        picture=_data_uri(picture.resize(size, Image.Resampling.LANCZOS)),
        num_regions=0 if found is None else len(found.regions),
        num_kept=len(kept),
        pairs={strategy: _view_pairs(config, bank, index, image, strategy) for strategy in strategies},
    )


def _regions_of(store: PartsFolder, bank: SceneBank) -> dict[str, ImageRegions]:
    """What the store has of the bank's images, where their sizes agree; damaged rows are reported."""
    ids = bank.image_ids
    native_hw = dict(zip(ids, bank.native_hw.tolist(), strict=True))
    buckets = {bucket_of_part(stem) for stem, numbers, _ in store.rows_of(ids, []) if len(numbers)}
    regions, damaged = dict[str, ImageRegions](), list[str]()
    for row in (row for bucket in sorted(buckets) for row in read_bucket(store, bucket).to_pylist()):
        if row["image_id"] not in native_hw or row["status"] != OK:
            continue
        found = read_regions(row)
        if isinstance(found, ImageRegions) and [found.height, found.width] == native_hw[found.image_id]:
            regions[found.image_id] = found
        else:
            damaged.append(row["image_id"])
    if damaged:
        say(damaged_text(store, damaged, "drawn without regions"))
    return regions


def _draw_regions(picture: Image.Image, found: ImageRegions, kept: list[int]) -> Image.Image:
    """Tint each kept region and outline its box."""
    pixels = np.asarray(picture.resize((found.width, found.height))).astype(np.float32)
    for number, region in enumerate(kept):
        colour = np.array(COLOURS[number % len(COLOURS)], np.float32)
        mask = found.mask(region)
        pixels[mask] = 0.6 * pixels[mask] + 0.4 * colour
    drawn = Image.fromarray(pixels.astype(np.uint8))
    pen = ImageDraw.Draw(drawn)
    width = max(round(found.width / SCENE_WIDTH_PX), 1)
    for number, region in enumerate(kept):
        x0, y0, x1, y1 = found.regions[region].box_xyxy
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=COLOURS[number % len(COLOURS)], width=width)
    return drawn


def _view_pairs(
    config: PretrainConfig, bank: SceneBank, index: RegionIndex | None, image: int, strategy: Strategy
) -> list[tuple[str, str]]:
    """Pairs as training would draw them from this one image at the first steps."""
    planner = ViewPlanner(
        image_hw=bank.native_hw[image : image + 1],
        regions=None if index is None else index.of_image(image),
        seed=config.seed + image,
        images_per_step=PAIRS_PER_SCENE,
        views=replace(config.views, strategy=strategy, regions_per_image=1, carried_regions=0),
        groups=(replace(config.group, num_views=2),),
        augment=config.augment,
    )
    plan = planner.plan(0)
    group = plan.groups[0]
    crops = ViewCropper(bank).crop(np.full(PAIRS_PER_SCENE, image), group.boxes_xyxy, group.size_px)
    views = augment(torch.from_numpy(crops), group.augment, UNCHANGED).numpy()
    return [(_view_uri(pair[0]), _view_uri(pair[1])) for pair in views]


def _view_uri(view: Float[np.ndarray, "3 h w"]) -> str:
    pixels: UInt8[np.ndarray, "h w 3"] = (np.clip(view.transpose(1, 2, 0), 0, 1) * 255).round().astype(np.uint8)
    image = Image.fromarray(pixels)
    if image.width < MIN_VIEW_PX:
        image = image.resize((MIN_VIEW_PX, MIN_VIEW_PX), Image.Resampling.NEAREST)
    return _data_uri(image)


def _data_uri(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"

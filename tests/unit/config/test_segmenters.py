"""Segmenters are declared once; their settings stand side by side on the command line, and alone in Python."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from samclr.cli.segmenters import chosen_segmenter, options_class
from samclr.config.registry import SEGMENTERS
from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterConfig, SegmenterSpec, segmenter_spec
from samclr.config.serialise import Count, Positive, Settings, from_dict, to_dict
from samclr.errors import ConfigError, PluginError, UsageError
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.create import build_segmenter, default_workers, maker_of


@dataclass(frozen=True, kw_only=True)
class TilesConfig(Settings):
    """Tiles.

    Attributes:
        tile_px: side of a tile.
    """

    tile_px: Count = 8


TILES = SegmenterSpec(name="tiles", summary="squares", config=TilesConfig, build=f"{__name__}:nothing")


@pytest.fixture
def tiles(monkeypatch):
    segmenter_spec("labels")  # fills the registry
    monkeypatch.setitem(SEGMENTERS._specs, "tiles", TILES)


OF_0_1 = {  # as every study.json of 0.1 has it: the settings of all segmenters
    "segmenter": "labels", "scale": 500.0, "sigma": 0.8, "min_size": 400, "labels": "maps", "ignore_label": [0, 255],
    "masks": to_dict(MaskConfig(points_per_side=9)), "compute": to_dict(ComputeConfig()),
}  # fmt: skip


def test_files_of_0_1_load():
    found = from_dict(SegmenterConfig, OF_0_1)
    assert found == SegmenterConfig(segmenter="labels", labels=Path("maps"), ignore_label=(0, 255))
    new = {"annotations": None, "crowds": False}
    assert to_dict(found) == {"segmenter": "labels", "labels": "maps", "ignore_label": [0, 255]} | new
    sam = from_dict(SegmenterConfig, OF_0_1 | {"segmenter": "sam-digits"})
    assert sam == SegmenterConfig(segmenter="sam-digits", masks=MaskConfig(points_per_side=9))
    assert from_dict(SegmenterConfig, to_dict(sam)) == sam
    with pytest.raises(ConfigError, match="config has the unknown setting 'scales'"):
        from_dict(SegmenterConfig, OF_0_1 | {"scales": 1})
    with pytest.raises(ConfigError, match="config: no segmenter 'gone'"):
        from_dict(SegmenterConfig, {"segmenter": "gone"})


def test_makers_are_those_of_0_1():
    felzenszwalb = SegmenterConfig(scale=3, min_size=2)
    assert maker_of(felzenszwalb) == {"segmenter": "felzenszwalb", "scale": 3.0, "sigma": 0.8, "min_size": 2}
    own = {"segmenter": "labels", "ignore_label": [0], "labels": "the data set's own"}
    assert maker_of(SegmenterConfig(segmenter="labels", ignore_label=(0,))) == own
    given = SegmenterConfig(segmenter="labels", ignore_label=(0,), annotations="panoptic", crowds=True)
    assert maker_of(given) == own | {"annotations": "panoptic", "crowds": True}
    elsewhere = SegmenterConfig(segmenter="labels", labels=Path("x"))
    assert maker_of(elsewhere) == {"segmenter": "labels", "ignore_label": []}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"segmenter": "labels", "scale": 3}, "scale has no effect here: it applies only with segmenter felzenszwalb"),
        (
            {"masks": MaskConfig()},
            "masks has no effect here: it applies only with segmenter sam-digits or another SAM",
        ),
        ({"scales": 3}, "scales is not a setting of felzenszwalb; expected scale, sigma, min_size"),
        ({"scale": 0}, "scale is 0; expected a number over 0"),
        ({"options": MaskConfig()}, "expected FelzenszwalbConfig"),
    ],
)
def test_wrong_settings_are_refused(given, message):
    with pytest.raises(ConfigError, match=message):
        SegmenterConfig(**given)


def test_options_lead_past_the_groups():
    masks, compute = MaskConfig(points_per_side=8), ComputeConfig(device="cpu", precision="float32")
    given = {"points_per_side": 8, "device": "cpu", "precision": "float32"}
    found = SegmenterConfig.with_options("sam-digits", given)
    assert found == SegmenterConfig(segmenter="sam-digits", masks=masks, compute=compute)
    assert SegmenterConfig.with_options("felzenszwalb", {"scale": 3}) == SegmenterConfig(scale=3)
    with pytest.raises(ConfigError, match="points_per_side is not a setting of felzenszwalb"):
        SegmenterConfig.with_options("felzenszwalb", given)


def test_settings_are_replaced_alone():
    config = SegmenterConfig(scale=3)
    assert replace(config, sigma=1) == SegmenterConfig(scale=3, sigma=1)
    with pytest.raises(ConfigError, match=r"options is .*; expected LabelsConfig"):
        replace(config, segmenter="labels")


def test_another_segmenter_brings_its_options(tiles):
    made = options_class(list(SEGMENTERS.values()))
    assert "tile_px: tiles only: side of a tile." in made.__doc__
    assert chosen_segmenter(made(segmenter="tiles", tile_px=3)).options == TilesConfig(tile_px=3)
    with pytest.raises(ConfigError, match="--tile-px has no effect here: it applies only with --segmenter tiles"):
        chosen_segmenter(made(tile_px=3))
    masks, compute = MaskConfig(points_per_side=9), ComputeConfig(device="cpu")
    with pytest.raises(ConfigError, match="--points-per-side, --device have no effect here: they apply only with"):
        chosen_segmenter(made(segmenter="tiles", masks=masks, compute=compute))
    assert default_workers(SegmenterConfig(segmenter="tiles")) is None
    with pytest.raises(UsageError, match=r"no segmenter 'tile'; did you mean tiles\? Otherwise give a name from `"):
        SegmenterConfig(segmenter="tile")
    with pytest.raises(PluginError, match="test_segmenters:nothing cannot be imported"):
        build_segmenter(SegmenterConfig(segmenter="tiles"))


def test_options_of_one_name_mean_one_thing():
    @dataclass(frozen=True, kw_only=True)
    class Alike(Settings):
        scale: Positive = 500.0
        compute: ComputeConfig = field(default_factory=ComputeConfig)

    @dataclass(frozen=True, kw_only=True)
    class Unlike(Settings):
        points_per_side: Count = 5

    alike, unlike = (replace(TILES, name="other", config=kind) for kind in (Alike, Unlike))
    assert options_class([*SEGMENTERS.values(), alike])().scale == 500.0
    with pytest.raises(PluginError, match="segmenters SAM and other both have an option --points-per-side, with diff"):
        options_class([*SEGMENTERS.values(), unlike])


def test_a_builder_must_name_a_segmenter(tiles, monkeypatch):
    wrong = replace(TILES, build="samclr.regions.segmenters.create:maker_of")
    monkeypatch.setitem(SEGMENTERS._specs, "tiles", wrong)
    with pytest.raises(PluginError, match="which tiles names, is not a samclr"):
        build_segmenter(SegmenterConfig(segmenter="tiles"))
    with pytest.raises(TypeError, match="Segmenter segments nothing"):
        Segmenter("tiles", TilesConfig()).segment([])

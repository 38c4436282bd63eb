"""The job and the command `samclr embed`: what it makes, how it is resumed, what it refuses."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from support.scenes import write_scenes

import samclr
from samclr.config import FilterConfig
from samclr.config.embedding import EmbedConfig
from samclr.datasets.sources import list_scenes
from samclr.embedding import work as module
from samclr.embedding.work import EmbedJob, EmbedWork, embed_scenes
from samclr.errors import PartsError, ScenesError
from samclr.regions.records import ImageRegions, region_from_mask
from samclr.regions.store import STORE_SCHEMA, regions_to_row
from samclr.scenes.decode import load_scene
from samclr.scenes.fill import FillOptions
from samclr.scenes.refs import file_stamp
from samclr.storage.checksums import read_parquet, write_parquet
from samclr.storage.parts import PartsFolder

SMALL = ("--backbone", "small-cnn", "--image-px", 32, "--device", "cpu", "--workers", 1)
CONFIG = EmbedConfig(image_px=32, dtype="float32")


@pytest.fixture
def store(scenes, tmp_path):
    return store_of(scenes, tmp_path / "regions")


def store_of(scenes, path, empty=()):
    """Regions of the scenes: what is not grey, left and right half; none for ids in `empty`, an error for `broken`."""
    refs = list_scenes([scenes], None)
    folder = PartsFolder.create_or_open(path, "region store", {"segmenter": "made-up"}, len(refs))
    for ref in refs:
        size, mtime = file_stamp(ref)
        row = {"image_id": ref.image_id, "file_size": size, "mtime_ns": mtime, "content_hash": "", "segment_s": 0.0}
        row |= {"height": 0, "width": 0, "regions": []}
        try:
            scene = load_scene(ref)
            height, width = scene.pixels.shape[:2]
            drawn = (scene.pixels != 90).any(-1)
            sides = [drawn & (np.arange(width) < width // 2), drawn & (np.arange(width) >= width // 2)]
            regions = tuple(map(region_from_mask, sides if ref.image_id not in empty else []))
            row |= regions_to_row(
                ImageRegions(
                    image_id=ref.image_id,
                    content_hash=scene.content_hash,
                    height=height,
                    width=width,
                    regions=regions,
                )
            )
        except ValueError as error:
            row["status"] = str(error)
        with folder.lock(bucket := folder.bucket_of(ref.locality_key)):
            folder.publish(bucket, lambda _, row=row: pa.Table.from_pylist([row], schema=STORE_SCHEMA))
    return path


def everything(path):
    opened = samclr.open_vectors(path)
    return opened.rows().to_pylist(), np.array(opened.matrix()), opened.errors


def same(one, other):
    assert one[0] == other[0]
    np.testing.assert_array_equal(one[1], other[1])
    assert one[2] == other[2]


def test_one_vector_an_image_and_a_region(call, scenes, store, tmp_path):
    status, out, said = call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v", "--json")
    assert status == 0, said
    assert "backbone: small-cnn (untrained) on cpu, vectors of width 128" in said
    assert "regions/s" in said
    assert f"embedded 12 of 12 images into {tmp_path / 'v'}" in said
    assert '"num_new": 12' in out
    opened = samclr.open_vectors(tmp_path / "v")
    assert [len(opened.rows(kind)) for kind in ("image", "region", "all")] == [12, 24, 36]
    assert opened.matrix("region").dtype == np.float16
    assert opened.manifest["settings"] == {"image_px": 32, "regions_by": "pool", "window_cells": 1.0}
    assert opened.manifest["regions"] == {"segmenter": "made-up"}
    regions = samclr.open_regions(store)
    for row in opened.rows("region").to_pylist():
        region = regions[row["id"]].regions[row["region"]]
        assert (tuple(row["box_xyxy"]), row["area_px"]) == (region.box_xyxy, region.area_px)
        assert (row["width_px"], row["height_px"]) == (64, 48)
    status, _, said = call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v")
    assert (status, "(0 new)" in said) == (0, True)


def test_python_gives_the_same_without_regions_and_with_a_filter(scenes, store, tmp_path):
    images = samclr.embed(scenes, "small-cnn", out=tmp_path / "images", config=CONFIG, workers=1)
    assert [len(images.rows(kind)) for kind in ("image", "region")] == [12, 0]
    areas = [region.area_px for found in samclr.open_regions(store).values() for region in found.regions]
    largest = samclr.embed(
        scenes, "small-cnn", regions=store, out=tmp_path / "few", config=CONFIG, workers=1,
        filter=FilterConfig(min_area_px=250, containment_frac=1.0),
    )  # fmt: skip
    assert len(largest.rows("region")) == sum(area >= 250 for area in areas) > 0
    np.testing.assert_allclose(images.matrix("image"), largest.matrix("image"), atol=1e-6)


def test_any_number_of_processes_and_any_interruption_give_the_same(scenes, store, tmp_path, monkeypatch):
    refs = list_scenes([scenes], None)
    job = EmbedJob(target="small-cnn", device="cpu", config=CONFIG, regions=store)
    embed_scenes(refs, job, tmp_path / "whole", FillOptions())
    embed_scenes(refs[:5], job, tmp_path / "parts", FillOptions())
    calls = iter(range(100))
    true = EmbedWork._embed

    def killed(self, *given):
        if next(calls) == 3:
            raise MemoryError("as if it were killed")
        return true(self, *given)

    monkeypatch.setattr(EmbedWork, "_embed", killed)
    with pytest.raises(MemoryError):
        embed_scenes(refs, job, tmp_path / "parts", FillOptions())
    monkeypatch.setattr(EmbedWork, "_embed", true)
    embed_scenes(refs, job, tmp_path / "parts", FillOptions(num_workers=2))
    same(everything(tmp_path / "parts"), everything(tmp_path / "whole"))
    assert not list((tmp_path / "parts").glob("*.tmp"))


def test_failures_are_recorded_named_and_retried(call, scenes, tmp_path):
    (scenes / "a/broken.png").write_bytes(b"no image")
    store = store_of(scenes, tmp_path / "regions", empty=("a/000.png",))
    status, _, said = call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v")
    assert status == 0, said
    assert "failed: a/broken.png: cannot decode" in said
    opened = samclr.open_vectors(tmp_path / "v")
    assert list(opened.errors) == ["a/broken.png"]
    assert [len(opened.rows(kind)) for kind in ("image", "region")] == [12, 22]
    Image.open(scenes / "a/000.png").save(scenes / "a/broken.png")
    status, _, said = call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v", "--retry-errors")
    assert "failed: a/broken.png: its regions: cannot decode" in said
    assert call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v", "--strict")[0] == 1


def test_scenes_that_changed_since_they_were_segmented(call, scenes, store, tmp_path):
    (scenes / "a/000.png").write_bytes((scenes / "b/001.png").read_bytes())
    said = call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v")[2]
    assert "failed: a/000.png: it was replaced since it was segmented; run samclr segment with --replace-chang" in said
    (scenes / "a/002.png").write_bytes((scenes / "b/003.png").read_bytes())
    status, _, said = call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v")
    assert status == 1
    assert "a/002.png; run samclr embed with --replace-changed" in said
    (scenes / "a/new.png").write_bytes((scenes / "b/003.png").read_bytes())
    status, _, said = call("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v")
    assert "1 scenes have no row in the region store" in said


def test_regions_that_were_redone_since_are_noticed_image_by_image(call, tmp_path):
    scenes, labels, store = (tmp_path / name for name in ("scenes", "labels", "regions"))
    write_scenes(scenes, 4, labels)
    segment = ("segment", scenes, "--segmenter", "labels", "--labels", labels, "--out", store, "--workers", 1)
    embed = ("embed", scenes, *SMALL, "--regions", store, "--out", tmp_path / "v")
    assert call(*segment)[0] == call(*embed)[0] == 0
    before = samclr.open_vectors(tmp_path / "v").rows("region").to_pylist()
    labelled = np.asarray(Image.open(labels / "a/000.png"))
    Image.fromarray(np.where(labelled == 2, labelled, 0).astype(np.uint8)).save(labels / "a/000.png")
    assert call(*segment, "--replace-changed")[0] == 0
    status, _, said = call(*embed)
    assert status == 1
    assert "1 images or their regions were replaced since" in said
    assert "a/000.png (its regions); run samclr embed with --replace-changed" in said
    assert "(1 new)" in call(*embed, "--replace-changed")[2]
    after = samclr.open_vectors(tmp_path / "v").rows("region").to_pylist()
    found = samclr.open_regions(store)["a/000.png"].regions
    boxes = [tuple(row["box_xyxy"]) for row in after if row["id"] == "a/000.png"]
    assert sorted(boxes) == sorted(region.box_xyxy for region in found)
    assert [row for row in after if row["id"] != "a/000.png"] == [row for row in before if row["id"] != "a/000.png"]
    assert "(0 new)" in call(*embed)[2]


def test_a_store_that_was_copied_is_the_same_and_another_one_of_its_settings_is_not(call, scenes, store, tmp_path):
    embed = ("embed", scenes, *SMALL, "--out", tmp_path / "v", "--regions")
    assert call(*embed, store)[0] == 0
    (copy := tmp_path / "copy").mkdir()
    for path in store.glob("*.*"):
        (copy / path.name).write_bytes(path.read_bytes())
    assert "(0 new)" in call(*embed, copy)[2]
    other = store_of(scenes, tmp_path / "other", empty=("a/000.png",))
    status, _, said = call(*embed, other)
    assert status == 1
    assert "1 images or their regions were replaced since" in said


def test_vectors_of_older_versions_say_nothing_of_regions(call, scenes, store, tmp_path):
    embed = ("embed", scenes, *SMALL, "--out", tmp_path / "v", "--regions")
    assert call(*embed, store)[0] == 0
    for part in (tmp_path / "v").glob("b*.parquet"):
        write_parquet(read_parquet(part).drop_columns(["label_file"]), part)
    status, _, said = call(*embed, store_of(scenes, tmp_path / "other", empty=("a/000.png",)))
    assert (status, "(0 new)" in said) == (0, True)
    assert len(samclr.open_vectors(tmp_path / "v").rows("region")) == 24


@pytest.mark.parametrize("name", ["segment", "embed"])
def test_python_redoes_the_rows_of_replaced_images_too(scenes, tmp_path, name):
    how = {"segment": {"segmenter": "felzenszwalb"}, "embed": {"backbone": "small-cnn", "config": CONFIG}}[name]

    def call(**more):
        return getattr(samclr, name)(scenes, out=tmp_path / "out", workers=1, **how, **more)

    call()
    (scenes / "a/000.png").write_bytes((scenes / "b/001.png").read_bytes())
    said = rf"1 images were replaced .*a/000.png; call samclr\.{name} with replace_changed=True to redo their rows"
    with pytest.raises(ScenesError, match=said):
        call()
    call(replace_changed=True)
    call()


def test_other_settings_are_refused_in_one_sentence(call, scenes, store, tmp_path):
    common = ("embed", scenes, "--out", tmp_path / "v", "--device", "cpu", "--workers", 1)
    assert call(*common, "--backbone", "small-cnn", "--image-px", 32)[0] == 0
    for more, text in (
        (("--backbone", "small-cnn", "--image-px", 40), "made with image_px 32, now asked for 40; name another folder"),
        (("--backbone", "small-cnn", "--image-px", 32, "--dtype", "float32"), "dtype float16, now asked for float32"),
        (("--backbone", "small-cnn", "--image-px", 32, "--seed", 3), "fingerprint "),
        (("--backbone", "small-cnn", "--image-px", 32, "--regions", store), "no regions, now asked for some"),
    ):
        status, _, said = call(*common, *more)
        assert status == 1
        assert text in said.splitlines()[-1]
    status, _, said = call("embed", scenes, *SMALL, "--out", store)
    assert "is a region store of format 1; expected a folder of vectors" in said


def test_an_empty_store_and_a_store_of_images_without_regions(scenes, tmp_path):
    refs = list_scenes([scenes], None)
    none = store_of(scenes, tmp_path / "none", empty={ref.image_id for ref in refs})
    made = samclr.embed(scenes, "small-cnn", regions=none, out=tmp_path / "v", config=CONFIG, workers=1)
    assert [len(made.rows(kind)) for kind in ("image", "region")] == [12, 0]
    PartsFolder.create_or_open(tmp_path / "empty", "region store", {"segmenter": "made-up"}, 1)
    with pytest.raises(PartsError, match=r"12 scenes have no row in the region store .*run samclr segment"):
        samclr.embed(scenes, "small-cnn", regions=tmp_path / "empty", out=tmp_path / "w", config=CONFIG, workers=1)


def test_damaged_vectors_are_made_again(scenes, store, tmp_path):
    refs = list_scenes([scenes], None)
    job = EmbedJob(target="small-cnn", device="cpu", config=CONFIG, regions=store)
    embed_scenes(refs, job, tmp_path / "v", FillOptions())
    before = everything(tmp_path / "v")
    part = sorted((tmp_path / "v" / "rows").iterdir())[0]
    part.write_bytes(part.read_bytes()[:-20])
    _, report = embed_scenes(refs, job, tmp_path / "v", FillOptions())
    assert list(report.healed.values()) == [next(iter(report.healed.values()))]
    assert "its vectors cannot be read" in next(iter(report.healed.values()))
    same(everything(tmp_path / "v"), before)


def test_crops_take_backbones_without_maps_and_pooling_says_so(call, scenes, store, tmp_path):
    status, _, said = call(
        "embed", scenes, "--backbone", "mixer_s32_224", "--untrained", "--out", tmp_path / "v",
        "--device", "cpu", "--workers", 1,
    )  # fmt: skip
    assert status == 1
    assert "pooled vectors need a backbone of any size, such as a ViT or a ResNet, or give --regions-by crop" in said
    crops = EmbedConfig(image_px=32, regions_by="crop", dtype="float32")
    made = samclr.embed(scenes, "small-cnn", regions=store, out=tmp_path / "crops", config=crops, workers=1)
    assert (made.width, len(made)) == (512, 36)
    assert "window_cells" not in made.manifest["settings"]


@pytest.mark.parametrize(("value", "dtype", "text"), [
    (0.0, "float32", "the vector of the image is zero"),
    (np.nan, "float32", "the vector of the image is not finite"),
    (1e6, "float16", "the vector of the image is not finite in float16; `dtype` float32 holds more"),
])  # fmt: skip
def test_vectors_without_direction_are_failures(scenes, tmp_path, monkeypatch, value, dtype, text):
    monkeypatch.setattr(module, "pooled_vectors", lambda backbone, items, *_: [np.full((1, 128), value)] * len(items))
    job = EmbedJob(target="small-cnn", device="cpu", config=EmbedConfig(image_px=32, dtype=dtype))
    _, report = embed_scenes(list_scenes([scenes], None), job, tmp_path / "v", FillOptions())
    assert report.is_in_vain
    assert set(report.errors.values()) == {text}


def test_weights_that_change_meanwhile_end_the_job(scenes, tmp_path):
    work = EmbedWork(job=EmbedJob(target="small-cnn", device="cpu", config=CONFIG), fingerprint="another")
    with pytest.raises(PartsError, match="small-cnn has other weights than when this began"):
        work(list_scenes([scenes], None), tmp_path / "companion")


def test_an_architecture_is_named_by_its_own_option(call, scenes, tmp_path):
    from safetensors.numpy import save_file

    save_file({"some.weight": np.zeros((2, 2), np.float32)}, tmp_path / "weights.safetensors")
    weights = ("--backbone", tmp_path / "weights.safetensors", "--out", tmp_path / "v")
    status, _, said = call("embed", scenes, *weights, "--device", "cpu")
    assert status == 2
    assert "does not say which backbone its weights belong to; name it with --architecture" in said


def test_rows_that_another_run_made_meanwhile_are_left_out_on_ray(scenes, tmp_path):
    work = EmbedWork(job=EmbedJob(target="small-cnn", device="cpu", config=CONFIG), fingerprint="")
    object.__setattr__(work, "fingerprint", module._maker(work.job)["fingerprint"])
    refs = list_scenes([scenes], None)[:3]
    work(refs, tmp_path / "companion")
    work.keep_only(tmp_path / "companion", {refs[1].image_id})
    assert pq.read_table(tmp_path / "companion")["id"].to_pylist() == [refs[1].image_id]

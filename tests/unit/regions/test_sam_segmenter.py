"""SAM as a segmenter: names, loading, what is said when it cannot be had, and what a store keeps of it."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.sam_models import KINDS, save_sam, tiny_sam

from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterConfig, segmenter_spec
from samclr.datasets.sources import list_scenes
from samclr.demo.data import DATA_SEED
from samclr.demo.scenes import PLAIN, VARIED, compose_scene
from samclr.errors import ConfigError, PartsError, UsageError
from samclr.regions import ray_engine
from samclr.regions.records import ImageRegions
from samclr.regions.sam import model as sam_model
from samclr.regions.sam.catalogue import KNOWN, hub_id_or_folder, sam_rows
from samclr.regions.sam.model import load_sam
from samclr.regions.sam.published import RESIZING
from samclr.regions.segment import segment_scenes
from samclr.regions.segmenters import sam
from samclr.regions.segmenters.create import build_segmenter, maker_of
from samclr.regions.segmenters.felzenszwalb_spec import FelzenszwalbConfig
from samclr.regions.segmenters.sam_spec import SamConfig
from samclr.regions.store import KIND, open_store, store_stats, verify_store
from samclr.scenes.decode import Scene
from samclr.scenes.fill import FillOptions, FillReport
from samclr.storage.parts import PartsFolder

ON_CPU = ComputeConfig(device="cpu")
DIGITS = SegmenterConfig(segmenter="sam-digits", masks=MaskConfig(points_per_side=8), compute=ON_CPU)
CPU = torch.device("cpu")


def scenes(number, style=PLAIN):
    from sklearn.datasets import load_digits

    strokes = [image / 16.0 for image in load_digits().images[:200]]
    made = [compose_scene(strokes, np.random.default_rng([DATA_SEED, 99, k]), style) for k in range(number)]
    return [Scene(image_id=f"{k}.png", pixels=pixels, content_hash=f"{k:032x}", label_map=labels.astype(np.int64))
            for k, (pixels, labels) in enumerate(made)]  # fmt: skip


@pytest.mark.parametrize(("style", "least_iou", "least_found"), [(PLAIN, 0.85, 0.9), (VARIED, 0.75, 0.8)])
def test_sam_digits_finds_the_digits_of_the_demo_s_scenes(style, least_iou, least_found):
    found = build_segmenter(DIGITS).segment(scenes(12, style))
    best = []
    for scene, answer in zip(scenes(12, style), found, strict=True):
        assert isinstance(answer, ImageRegions)
        masks = [answer.mask(k) for k in range(len(answer.regions))]
        for digit in range(1, 6):
            ink = scene.label_map == digit
            best.append(max((np.sum(ink & m) / np.sum(ink | m) for m in masks), default=0.0))
        for region in answer.regions:
            assert region.predicted_iou > 0.88
            assert region.stability_score >= 0.95
    assert np.mean(best) > least_iou  # the model card's figures are over far more scenes, and plain ones
    assert np.mean(np.array(best) > 0.5) > least_found


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_of_any_class_is_a_segmenter(kind, tmp_path):
    folder = save_sam(tiny_sam(kind), tmp_path / kind)
    masks = MaskConfig(points_per_side=4, pred_iou_thresh=0.0, stability_score_thresh=0.0)
    config = SegmenterConfig(segmenter=str(folder), masks=masks, compute=ComputeConfig(device="cpu"))
    image = Scene(
        image_id="a", pixels=np.random.default_rng(0).integers(0, 255, (40, 60, 3)).astype(np.uint8), content_hash=""
    )
    (found,) = build_segmenter(config).segment([image])
    assert (found.height, found.width) == (40, 60)
    assert len(found.regions) > 0
    model = load_sam(str(folder), CPU)
    assert model.resizing == RESIZING[kind]
    assert two_way_epsilons(model.net) == {1e-5}  # whatever layer_norm_eps the folder states
    if kind == "sam3_tracker":
        backbone = model.net.vision_encoder.backbone
        assert {m.eps for m in backbone.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-5}
    if kind in ("sam", "sam_hq"):
        assert model.net.vision_encoder.layers[0].layer_norm1.eps == 1e-6


def two_way_epsilons(net):
    return {
        getattr(layer, f"layer_norm{number}").eps
        for layer in net.mask_decoder.transformer.layers
        for number in (1, 2, 3, 4)
    }


def test_a_network_that_was_trained_with_another_epsilon_states_it(tmp_path):
    net = tiny_sam("sam")
    net.config.samclr_two_way_eps = 1e-6
    assert two_way_epsilons(load_sam(str(save_sam(net, tmp_path / "own")), CPU).net) == {1e-6}
    assert two_way_epsilons(load_sam("sam-digits", CPU).net) == {1e-6}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"samclr_two_way_eps": "1e-6"}, r"samclr_two_way_eps in the config.json of .* is '1e-6'; expected a number"),
        ({"samclr_two_way_eps": 0}, "is 0; expected a number between 0 and 1, such as 1e-06"),
        ({"samclr_two_way_eps": -1e-6}, "is -1e-06"),
        ({"samclr_two_way_eps": True}, "is True"),
        ({"samclr_two_way_eps": None}, "is None"),
        ({"samclr_two_way_eps": float("nan")}, "is nan"),
        (
            {"samclr_twoway_eps": 1e-6},
            "the key samclr_twoway_eps; expected at its top level, if any, samclr_two_way_eps",
        ),
        ({"samclr_encoder_eps": 1e-6}, "the key samclr_encoder_eps; .* for a model of type 'sam'"),
        ({"mask_decoder_config": {"samclr_two_way_eps": 1e-6}}, "the key mask_decoder_config.samclr_two_way_eps;"),
    ],
)
def test_a_key_of_our_own_that_means_nothing_is_refused(keys, message, tmp_path):
    folder = save_sam(tiny_sam("sam"), tmp_path / "sam")
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved | keys))
    with pytest.raises(UsageError, match=message):
        load_sam(str(folder), CPU)
    with pytest.raises(UsageError, match=message):
        maker_of(replace(DIGITS, segmenter=str(folder)))


def test_loaded_weights_are_those_saved(tmp_path):
    saved = tiny_sam("sam2")
    loaded = load_sam(str(save_sam(saved, tmp_path / "m")), CPU).net.state_dict()
    for name, weight in saved.state_dict().items():
        assert torch.equal(loaded[name], weight), name


def test_names(tmp_path, monkeypatch):
    assert segmenter_spec("felzenszwalb").config is FelzenszwalbConfig
    for name in ("sam-hq-vit-h", "someone/some-sam"):
        assert segmenter_spec(name).config is SamConfig
    assert hub_id_or_folder("sam-hq-vit-h") == "syscv-community/sam-hq-vit-huge"
    assert hub_id_or_folder("sam2.1-base-plus") == "facebook/sam2.1-hiera-base-plus"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        UsageError, match=r"no segmenter 'samm'; .* a name from `samclr segmenters`, a Hugging Face id .*\./samm"
    ):
        segmenter_spec("samm")
    with pytest.raises(UsageError, match=r"no such folder: \./samm"):
        hub_id_or_folder("./samm")
    (tmp_path / "samm").mkdir()
    assert segmenter_spec("samm").config is SamConfig


def test_the_table_names_size_licence_and_what_is_here(tmp_path, monkeypatch):
    model = tmp_path / "models--facebook--sam-vit-base"
    snapshot = model / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    for name in ("config.json", "model.safetensors"):
        (snapshot / name).write_text("{}")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    rows = {row["segmenter"]: row for row in sam_rows()}
    assert set(rows) == set(KNOWN)
    assert rows["sam-vit-b"]["is_here"]
    assert rows["sam-digits"]["is_here"]
    assert not rows["sam-vit-l"]["is_here"]
    assert "SAM License" in rows["facebook/sam3"]["licence"]


# ---- models that cannot be had ----


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """The hub's own offline mode with an empty cache: as on a machine without a network, but at once."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_without_a_network_the_local_way_is_named(no_network, capsys):
    with pytest.raises(UsageError) as caught:
        load_sam("sam-hq-vit-b", CPU)
    text = str(caught.value)
    assert text.startswith("syscv-community/sam-hq-vit-base is not on this machine and the Hugging Face hub cannot be")
    assert "`segmenter` PATH, a folder" in text
    assert text.endswith("or felzenszwalb, which needs no model")
    assert "\n" not in text
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["sam-vit-b", "someone/some-sam"])
def test_a_hub_that_cannot_be_reached_is_asked_once(name, no_network, monkeypatch):
    import huggingface_hub
    import transformers

    class ConnectError(Exception):
        """As the hub's client raises: no OSError."""

    asked = []

    def refuse(repo, timeout):
        asked.append((repo, timeout <= 10))
        raise ConnectError("[Errno -2] Name or service not known")

    monkeypatch.setattr(huggingface_hub, "model_info", refuse)
    monkeypatch.setattr(transformers.PretrainedConfig, "get_config_dict", lambda *_: pytest.fail("it is tried again"))
    with pytest.raises(UsageError, match="the Hugging Face hub cannot be reached"):
        load_sam(name, CPU)
    assert asked == [(hub_id_or_folder(name), True)]


def test_a_model_in_the_cache_needs_no_network(no_network, tmp_path):
    model = tmp_path / "hub/models--someone--some-sam"
    save_sam(tiny_sam("sam"), model / "snapshots/abc")
    (model / "refs").mkdir()
    (model / "refs/main").write_text("abc")
    assert load_sam("someone/some-sam", CPU).image_px > 0


def test_a_hub_that_cannot_be_reached_is_no_unexpected_error(tmp_path, monkeypatch):
    def unreachable(name):
        raise RuntimeError("Name or service not known")  # of the hub's HTTP client, which has a tree of its own

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.model_info", unreachable)
    with pytest.raises(UsageError, match="owner/model is not on this machine and the Hugging Face hub cannot be"):
        load_sam("owner/model", CPU)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("GatedRepoError", "is gated: accept its licence"),
        ("RepositoryNotFoundError", "there is no model facebook/sam3"),
    ],
)
def test_what_the_hub_refuses_is_said(fault, message, monkeypatch, tmp_path, capsys):
    import huggingface_hub.errors
    import transformers

    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    kind = getattr(huggingface_hub.errors, fault)
    error = kind.__new__(kind)  # without the HTTP answer that its constructor wants

    def refuse(*args, **kwargs):
        raise OSError("You are trying to access a gated repo.") from error

    monkeypatch.setattr(huggingface_hub, "model_info", lambda repo, timeout: SimpleNamespace(card_data=None))
    monkeypatch.setattr(transformers.PretrainedConfig, "get_config_dict", refuse)
    with pytest.raises(UsageError, match=message):
        load_sam("facebook/sam3", CPU)
    assert "SAM License" in capsys.readouterr().err


def test_a_folder_that_is_no_sam_or_lacks_a_file(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(
        UsageError, match=r"expected config.json, preprocessor_config.json and model.safetensors.*nothing"
    ):
        load_sam(str(empty), CPU)
    folder = save_sam(tiny_sam("sam"), tmp_path / "sam")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(UsageError, match=r"it holds config.json, model.safetensors"):
        load_sam(str(folder), CPU)
    (empty / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UsageError, match="a model of type 'bert'; expected one of sam, sam_hq, sam2"):
        load_sam(str(empty), CPU)


def test_a_checkpoint_with_missing_weights_is_refused(tmp_path):
    from safetensors.torch import load_file, save_file

    folder = save_sam(tiny_sam("sam"), tmp_path / "sam")
    weights = load_file(folder / "model.safetensors")
    del weights["mask_decoder.iou_token.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        UsageError, match=r"lack mask_decoder.iou_token.weight and 0 more; expected a complete checkpoint"
    ):
        load_sam(str(folder), CPU)


@pytest.mark.parametrize("kind", ["sam", "sam2", "sam3_tracker"])
def test_places_are_never_encoded_at_random(kind, tmp_path):
    """The authors have one encoding for pixels and points. transformers' SAM 2 has two copies, and draws what lacks."""
    from safetensors.torch import load_file, save_file

    net = tiny_sam(kind)
    folder = save_sam(net, tmp_path / kind)
    weights = load_file(folder / "model.safetensors")
    copies = [name for name in weights if name.endswith("_embedding.positional_embedding")]
    for lacking in [copies[:1], copies[1:], copies] if len(copies) == 2 else [copies]:
        rest = {name: weight for name, weight in weights.items() if name not in lacking}
        save_file(rest, folder / "model.safetensors", metadata={"format": "pt"})
        if lacking == copies:
            with pytest.raises(
                UsageError, match=r"lack prompt_encoder.shared_embedding.positional_embedding and 1 more"
            ):
                load_sam(str(folder), CPU)
            continue
        loaded = load_sam(str(folder), CPU).net
        for place in (loaded.shared_image_embedding, loaded.prompt_encoder.shared_embedding):
            assert torch.equal(place.positional_embedding, net.shared_image_embedding.positional_embedding)


# ---- device and settings ----


def test_a_device_that_is_not_there(monkeypatch):
    config = replace(DIGITS, compute=ComputeConfig(device="cuda:7"))
    with pytest.raises(UsageError, match=r"device 'cuda:7' cannot be used .*; try `device` cpu"):
        build_segmenter(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box_nms_thresh": 1.5}, "box_nms_thresh is 1.5; expected a number from 0 to 1"),
        ({"crop_n_layers": -1}, "crop_n_layers is -1; expected a whole number from 0 to 6"),
        (
            {"points_per_side": 2, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
            "leaves no point for crop layer 2",
        ),
    ],
)
def test_settings_out_of_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        MaskConfig(**settings)


# ---- stores ----


def test_a_store_says_which_weights_made_it_and_refuses_others(tmp_path, monkeypatch):
    from support.scenes import write_scenes

    folder = save_sam(tiny_sam("sam", seed=1), tmp_path / "sam")
    config = replace(DIGITS, segmenter=str(folder))
    refs = list_scenes([write_scenes(tmp_path / "scenes", 3)])
    segment_scenes(refs, config, tmp_path / "store", FillOptions())
    manifest = json.loads((tmp_path / "store" / "manifest.json").read_text())
    assert manifest["maker"] == maker_of(config)
    assert len(manifest["maker"]["weights"]) == 16
    assert manifest["maker"]["precision"] == "float32"
    save_sam(tiny_sam("sam", seed=2), folder)  # another checkpoint under the same name
    with pytest.raises(PartsError, match="name another folder"):
        segment_scenes(refs, config, tmp_path / "store", FillOptions())
    with pytest.raises(PartsError, match="name another folder"):
        segment_scenes(refs, SegmenterConfig(), tmp_path / "store", FillOptions())


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("sam", {"two_way_eps": 1e-5}),
        ("sam_hq", {"two_way_eps": 1e-5}),
        ("sam2", {"resizing": "floats"}),
        ("edgetam", {"resizing": "floats"}),
        ("sam3_tracker", {"resizing": "rounded floats", "encoder_eps": 1e-5}),
    ],
)
def test_a_store_that_0_1_began_is_not_continued_by_another_network(kind, said, tmp_path):
    """0.1 wrote neither key, and made other masks of the same weights."""
    from support.scenes import write_scenes

    config = replace(DIGITS, segmenter=str(save_sam(tiny_sam(kind), tmp_path / kind)))
    maker = maker_of(config)
    first = {name: value for name, value in maker.items() if name not in said}
    assert maker == first | said
    assert list(first)[-2:] == ["weights", "precision"]
    PartsFolder.create_or_open(tmp_path / "store", KIND, first, 3)
    refs = list_scenes([write_scenes(tmp_path / "scenes", 3)])
    with pytest.raises(
        PartsError, match=r"store was begun with .* as samclr 0\.1 ran it, .* name another folder, or delete"
    ):
        segment_scenes(refs, config, tmp_path / "store", FillOptions())
    segment_scenes(refs, config, tmp_path / "new", FillOptions())
    segment_scenes(refs, config, tmp_path / "new", FillOptions())  # and is continued by its own kind


@pytest.mark.parametrize("stated", ["layer_norm_eps", "samclr_two_way_eps"])
def test_a_store_of_a_network_that_computes_as_in_0_1_is_continued(stated, tmp_path):
    net = tiny_sam("sam")
    if stated == "layer_norm_eps":  # transformers built this one as published
        net.config.mask_decoder_config.layer_norm_eps = 1e-5
    else:
        net.config.samclr_two_way_eps = 1e-6
    maker = maker_of(replace(DIGITS, segmenter=str(save_sam(net, tmp_path / "sam"))))
    assert "two_way_eps" not in maker


def test_the_maker_of_sam_digits_is_that_of_0_1():
    assert maker_of(DIGITS) == {
        "segmenter": "sam-digits", "points_per_side": 8, "pred_iou_thresh": 0.88, "stability_score_thresh": 0.95,
        "stability_score_offset": 1.0, "box_nms_thresh": 0.7, "crop_n_layers": 0, "crop_nms_thresh": 0.7,
        "crop_overlap_ratio": 512 / 1500, "crop_n_points_downscale_factor": 1, "min_mask_region_area": 0,
        "weights": "c9f1b205568a8d1b", "precision": "float32",
    }  # fmt: skip


@pytest.mark.parametrize("num_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_digits_through_the_store_in_one_process_or_two(num_workers, tmp_path):
    from PIL import Image

    folder = tmp_path / "scenes"
    folder.mkdir()
    for scene in scenes(20):
        Image.fromarray(scene.pixels).save(folder / scene.image_id)
    (folder / "broken.png").write_bytes(b"no image")
    store, report = segment_scenes(
        list_scenes([folder]), DIGITS, tmp_path / "store", FillOptions(num_workers=num_workers)
    )
    assert (report.num_new, list(report.errors)) == (21, ["broken.png"])
    assert verify_store(store) == []
    stats = store_stats(open_store(tmp_path / "store"))
    assert stats["num_regions"] == report.tally["masks"] > 80
    assert {"stage_encoder", "stage_decoder", "stage_masks", "stage_rle"} <= set(report.tally)


def test_where_float16_overflows_float32_is_used_and_said(capsys):
    whole = build_segmenter(DIGITS).segment(scenes(2))
    segmenter = build_segmenter(replace(DIGITS, compute=replace(ON_CPU, precision="float16")))
    half = segmenter.segment(scenes(2))
    assert [len(one.regions) for one in half] == [len(one.regions) for one in whole]
    assert half != whole  # float16 was at work
    assert capsys.readouterr().err == ""
    attention = segmenter.generator.model.net.vision_encoder.layers[0].attn
    width = attention.proj.in_features
    with torch.no_grad():  # the same function, with values past float16's 65,504 on the way
        attention.qkv.weight[2 * width :] *= 2.0**20
        attention.qkv.bias[2 * width :] *= 2.0**20
        attention.proj.weight *= 2.0**-20
    for _ in range(2):
        assert segmenter.segment(scenes(2)) == whole
    assert capsys.readouterr().err.count("float16 overflows near 0.png: such scenes are segmented in float32") == 1


def test_a_poisoned_image_costs_one_row(tmp_path, monkeypatch):
    from PIL import Image

    folder = tmp_path / "scenes"
    folder.mkdir()
    for scene in scenes(4):
        Image.fromarray(scene.pixels).save(folder / scene.image_id)
    encode = sam_model.SamModels.encode

    def poisoned(self, prepared):
        encoded = encode(self, prepared)
        for number, crop in enumerate(prepared):
            if crop.float().mean() < 1:
                encoded.embedding[number] = float("nan")
        return encoded

    monkeypatch.setattr(sam_model.SamModels, "encode", poisoned)
    Image.new("RGB", (96, 96)).save(folder / "black.png")
    _, report = segment_scenes(list_scenes([folder]), DIGITS, tmp_path / "store", FillOptions())
    assert list(report.errors) == ["black.png"]
    assert "scores are not finite" in report.errors["black.png"]
    assert report.tally["images"] == 4


def test_a_line_of_pixels_is_an_image():
    """Scaled to the model's side it would have no rows; it has one, as the smallest that there is."""
    pixels = np.random.default_rng(0).integers(0, 255, (3, 700, 3)).astype(np.uint8)
    scene = Scene(image_id="line.png", pixels=pixels, content_hash="0" * 32, label_map=None)
    (found,) = build_segmenter(DIGITS).segment([scene])
    assert isinstance(found, ImageRegions)
    assert (found.height, found.width) == (3, 700)


@pytest.mark.parametrize(
    ("gpus", "compute", "precision"),
    [
        (0, ComputeConfig(), "float32"),
        (4, ComputeConfig(), "float16"),
        (4, ComputeConfig(device="cuda"), "float16"),
        (4, ComputeConfig(device="cpu"), "float32"),
        (4, ComputeConfig(precision="bfloat16"), "bfloat16"),
    ],
)
@pytest.mark.parametrize("driver", ["cpu", "cuda"])
def test_on_ray_the_actors_settle_the_precision(gpus, compute, precision, driver, monkeypatch, tmp_path):
    """Not the machine that starts the job: the store's manifest has what its masks are made with."""
    sent = []

    def fill(ray, store, refs, work, options, title):
        sent.append(work.config.options.compute)
        return FillReport(num_images=len(refs))

    monkeypatch.setattr(ray_engine, "join_cluster", lambda: SimpleNamespace(cluster_resources=lambda: {"GPU": gpus}))
    monkeypatch.setattr(ray_engine, "fill_on_ray", fill)
    monkeypatch.setattr(
        sam, "compute_device", lambda compute: torch.device(driver if compute.device != "cpu" else "cpu")
    )
    config = SegmenterConfig(segmenter="sam-digits", compute=compute)
    store, _ = ray_engine.segment_scenes_on_ray([], config, tmp_path / "store", FillOptions())
    assert store.maker["precision"] == precision
    assert sent == [replace(compute, precision=precision)]

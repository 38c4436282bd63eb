"""Grids become arms; what is missing stays visible."""

from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from support.study_files import IMAGE, LABELS, SAM, write_study_files

from samclr.config.model import ModelConfig
from samclr.config.pretrain import OptimConfig
from samclr.config.recipes import RECIPES
from samclr.config.registry import METHODS, PROTOCOLS
from samclr.config.serialise import from_dict, to_dict
from samclr.errors import ConfigError, UsageError
from samclr.study.compare import pairs_of
from samclr.study.load import load_study
from samclr.study.plan import Given, Plan
from samclr.study.planning import make_plan, with_paths_of
from samclr.study.recipe import ANY, Evaluation, Grid, Study, Variant, usual_metrics
from samclr.study.studies import ADAPT, CONTROLS, PADDING, PAPER, SETS, STUDIES, TEMPERATURE

PATHS = {name: (Path("/data") / name,) for name in ("cityscapes", "ade20k", "imagenette")}
ON = {name: Path("/data") / name for name in SETS}
PHOTOS = Given(scenes={"photos": (Path("/p"),)}, on={"set": Path("/s")}, labels={"photos": Path("/l")})


@pytest.fixture
def files(tmp_path):
    return write_study_files(tmp_path)


def plan_of(study, given):
    return make_plan(study, study.name, given, num_threads=1)


def test_the_paper_s_grid_and_its_numbers():
    plan = plan_of(PAPER, Given(scenes=PATHS, on=ON))
    kinds = [(arm.scenes, arm.method, arm.strategy) for arm in plan.arms if arm.scenes]
    expected = [
        (scenes, method, strategy)
        for scenes in PATHS
        for method, strategy in [("moco", "image"), ("dino", "image"), ("simclr", "image"), ("simclr", "region")]
        if (scenes, method) != ("imagenette", "moco")
    ]
    assert kinds == expected
    steps = {arm.scenes: arm.config.optim.steps for arm in plan.arms if arm.scenes}
    assert steps == {"cityscapes": 17_600, "ade20k": 19_500, "imagenette": 28_800}
    assert all([m.set for m in plan.measurements_of(arm)] == ["imagenette"] for arm in plan.arms[-3:])
    temperatures = {(arm.method, arm.strategy): arm.temperature for arm in plan.arms}
    assert temperatures[("simclr", "image")] == 0.5
    assert temperatures[("simclr", "region")] == 0.07
    matched = [[arm.name for arm in plan.arms if fnmatchcase(arm.name, r.arm)] for r in plan.references]
    assert [len(names) for names, r in zip(matched, plan.references, strict=True) if not r.title] == [1] * 54
    assert [names for names, r in zip(matched, plan.references, strict=True) if r.title] == [[], []]  # SwAV
    by_place = {(r.arm, r.set, r.key): r.value for r in plan.references}
    assert by_place["cityscapes.simclr.region.*", "imagenette", "crop_probe_top1_best"] == 0.675
    assert by_place["ade20k.moco.image.*", "stl10", "knn_top1"] == 0.619


def test_without_one_of_its_scenes_the_paper_shows_what_is_missing():
    plan = plan_of(PAPER, Given(scenes={"ade20k": PATHS["ade20k"]}, on={"stl10": ON["stl10"]}))
    missing = {arm.scenes: (arm.missing, arm.adds) for arm in plan.arms if arm.missing}
    assert missing == {
        name: (f"no scenes named {name} were given", f"--scenes {name}=PATH") for name in ("cityscapes", "imagenette")
    }
    assert [(m.set, m.path) for m in plan.measurements if m.path is None] == [("cifar10", None), ("imagenette", None)]


def test_controls_vary_views_alone():
    plan = plan_of(CONTROLS, PHOTOS)
    assert [arm.views for arm in plan.arms[1:]] == [
        *("image", "random-box felzenszwalb", "region felzenszwalb", "region sam-hq-vit-h", "region labels"),
    ]
    settings = [arm.config.settings() for arm in plan.arms[1:]]
    for one in settings:
        del one["views"], one["recipe"]
    assert all(one == settings[0] for one in settings)
    stores = {arm.views: arm.store for arm in plan.arms}
    assert stores["random-box felzenszwalb"] == stores["region felzenszwalb"]
    assert len(plan.stores) == 3


def test_temperature_and_padding_vary_that_alone():
    arms = plan_of(TEMPERATURE, PHOTOS).arms[1:]
    assert [(arm.title, arm.temperature) for arm in arms] == [
        ("SimCLR, temperature 0.07", 0.07),
        ("SimCLR, temperature 0.5", 0.5),
        ("SAMCLR, temperature 0.07", 0.07),
        ("SAMCLR, temperature 0.5", 0.5),
    ]
    arms = plan_of(PADDING, PHOTOS).arms[1:]
    assert [arm.config.filter.padding for arm in arms] == [1.0, 1.15, 1.3, 1.5, 1.75, 2.0]
    assert len({arm.store for arm in arms}) == 1


def test_every_method_is_an_arm_by_its_name():
    study = Study(name="all", summary="", grids=(Grid(methods=tuple(METHODS), strategies=("image", "random-box")),))
    arms = plan_of(study, PHOTOS).arms[1:]
    expected = [(name, strategy) for name in METHODS for strategy in ("image", "random-box")]
    assert [(arm.method, arm.strategy) for arm in arms] == expected
    assert all(arm.config.method.name == arm.method and arm.title.startswith(METHODS[arm.method].title) for arm in arms)


def test_a_plan_comes_back_from_json(files):
    for study, given in [(PAPER, Given(scenes=PATHS, on=ON)), (files.study, files.given())]:
        plan = plan_of(study, given)
        assert from_dict(Plan, to_dict(plan)) == plan


def test_a_user_s_file(files):
    plan = plan_of(files.study, files.given())
    assert [(arm.name, arm.title) for arm in plan.arms] == [
        ("untrained", "before any training"),
        (IMAGE, "SimCLR"),
        (LABELS, "SAMCLR, ground-truth regions"),
        (SAM, "SAMCLR, sam-hq-vit-h regions"),
    ]
    assert [run.name for run in plan.runs()][:5] == [
        *("untrained.seed0", f"{IMAGE}.seed0", f"{LABELS}.seed0", f"{SAM}.seed0", "untrained.seed1"),
    ]
    assert "runs on request only" in plan.arms[3].missing
    assert plan.arms[3].adds == f"--only '{SAM}'"
    assert not plan_of(files.study, files.given(only=("*sam-hq*",))).arms[3].missing
    without = plan_of(files.study, files.given(labels={}))
    assert (without.arms[2].missing, without.arms[2].adds) == (
        "no label maps of boxes were given",
        "--labels boxes=DIR",
    )


def test_budget_and_seeds_of_the_command(files):
    plan = plan_of(files.study, files.given(steps=7, seeds=(5,)))
    assert {arm.config.optim.steps for arm in plan.arms} == {7}
    assert plan.seeds == (5,)
    assert plan.runs()[1].config(Path("/stores")).seed == 5
    assert plan.runs()[2].config(Path("/stores")).data.regions == Path("/stores") / plan.arms[2].store


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"scenes": {}, "labels": {}}, "has no scenes to train on: add --scenes SCENES=PATH"),
        ({"on": {}}, "has no set to measure on: add --on SET=PATH"),
        ({"labels": {"streets": Path("/l")}}, "--labels streets=... names no scenes; add --scenes streets=PATH"),
        ({"scenes": {"boxes": (), "Boxes": ()}}, "--scenes boxes=... and Boxes=... differ in capitals alone"),
        (
            {"scenes": {"aux": ()}, "labels": {}},
            "--scenes aux=... would name a folder that Windows does not take; rename it",
        ),
        ({"image_columns": {"streets": "x"}}, "--image-column streets=... names no scenes; add --scenes streets=PATH"),
    ],
)
def test_what_a_command_lacks(files, given, message):
    with pytest.raises(UsageError, match=message.replace("*", r"\*").replace(".", r"\.")):
        plan_of(files.study, files.given(**given))


def test_names_that_a_study_does_not_know():
    with pytest.raises(UsageError, match="study paper has no --scenes named 'kitti'; it knows ade20k, cityscapes"):
        plan_of(PAPER, Given(scenes={"kitti": (Path("/k"),)}, on=ON))
    with pytest.raises(UsageError, match="study paper has no --on named 'mnist'; it knows cifar10, imagenette, stl10"):
        plan_of(PAPER, Given(scenes=PATHS, on={"mnist": Path("/m")}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "has no study: expected STUDY = Study"),
        ("STUDY = 3", "found int"),
        ("import nothing_of_that_name", "cannot be run: ModuleNotFoundError"),
        ("STUDY = (", "cannot be run: SyntaxError"),
    ],
)
def test_files_that_hold_no_study(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_study(str(tmp_path / "mine.py"))


def test_a_name_that_is_no_study(tmp_path):
    with pytest.raises(UsageError, match="no study 'papr'; did you mean paper"):
        load_study("papr")
    with pytest.raises(UsageError, match="no such file"):
        load_study(str(tmp_path / "none.py"))


def test_studies_that_make_no_sense():
    grid = Grid()
    with pytest.raises(ConfigError, match="needs at least one grid"):
        Study(name="x", summary="", grids=())
    with pytest.raises(ConfigError, match="a seed twice"):
        Study(name="x", summary="", grids=(grid,), seeds=(1, 1))
    with pytest.raises(ConfigError, match="its grids begin with random ones; give them as variants"):
        Study(name="x", summary="", grids=(grid,), continues=True)
    with pytest.raises(ConfigError, match="counted in steps"):
        Study(name="x", summary="", grids=(grid,), optim=OptimConfig(epochs=3))
    with pytest.raises(ConfigError, match="segmenters of a grid is empty"):
        replace(grid, segmenters=())


def test_ready_studies_have_a_question_each():
    assert list(STUDIES) == [
        *("paper", "temperature", "controls", "padding", "scenes", "adapt", "smoke", "dense-smoke")
    ]
    assert all(study.name == name and study.summary for name, study in STUDIES.items())


WEIGHTS = ModelConfig(backbone="auto", pretrained="weights.safetensors")


def test_variants_continue_the_weights_that_the_command_names():
    plan = plan_of(ADAPT, replace(PHOTOS, start=WEIGHTS))
    assert [arm.name for arm in plan.arms] == ["untrained", *(f"photos.{one.name}" for one in ADAPT.variants)]
    assert plan.arms[0].title == "the start"
    assert {(arm.config.model.backbone, arm.config.model.pretrained) for arm in plan.arms} == {
        ("auto", "weights.safetensors")
    }
    budgets = {(arm.config.optim.steps, arm.config.optim.global_batch_size) for arm in plan.arms}
    assert budgets == {(600, 64)}
    assert {arm.variant for arm in plan.arms if arm.store} == {
        *("naive.region", "adapt", "no-anchor", "norm-trained", "one-rate")
    }
    by_name = {arm.variant: arm.config for arm in plan.arms}
    assert by_name["adapt"].model.frozen_norm == "statistics"
    assert by_name["norm-trained"].model.frozen_norm == "none"
    pairs = [(pair.arm.variant, pair.baseline.variant) for pair in pairs_of(plan)]
    others = [one.name for one in ADAPT.variants if one.name != "adapt"]
    assert pairs[: len(others)] == [("adapt", name) for name in others]
    assert pairs[len(others) :] == [(one.name, "") for one in ADAPT.variants]  # the start
    assert from_dict(Plan, to_dict(plan), "plan") == plan


def test_the_floor_is_that_of_arms_with_its_backbone():
    config = RECIPES["simclr"].config
    vit = replace(config, model=replace(config.model, backbone="vit_tiny_patch16_224"))
    begun = replace(config, model=replace(config.model, pretrained="timm"))
    named = {"resnet": config, "vit": vit, "longer": config, "begun": begun}
    study = Study(
        name="mine",
        summary="",
        variants=tuple(Variant(name=name, title=name, config=config) for name, config in named.items()),
    )
    plan = plan_of(study, PHOTOS)
    assert [pair.arm.variant for pair in pairs_of(plan) if pair.differing == ("training",)] == ["resnet", "longer"]
    assert plan.arms[0].title == "before any training (resnet18)"
    alone = plan_of(replace(study, variants=study.variants[-1:]), PHOTOS)
    assert alone.arms[0].title == "the start"
    assert [pair.arm.variant for pair in pairs_of(alone)] == ["begun"]


@pytest.mark.parametrize(("steps", "warmup"), [(4, 0), (60, 6), (1200, 120)])
def test_warm_ups_keep_their_share_of_other_steps(steps, warmup):
    plan = plan_of(ADAPT, replace(PHOTOS, start=WEIGHTS, steps=steps))
    optim = next(arm.config.optim for arm in plan.arms if arm.variant == "adapt")
    assert (optim.steps, optim.warmup_steps, optim.head_warmup_steps) == (steps, warmup, warmup)
    assert with_paths_of(Given(), plan).start == WEIGHTS


def test_measured_sets_of_older_studies_lose_the_scenes_split():
    study = replace(CONTROLS, evaluations=(Evaluation(set=ANY),))
    sets = {"stl10": Path("stl10:unlabeled@/data"), "cifar10": Path("cifar10@/data"), "mine": Path("/data/mine")}
    plan = plan_of(study, replace(PHOTOS, on=sets))
    again = with_paths_of(Given(), plan)
    assert again.on == sets | {"stl10": Path("stl10@/data")}


@pytest.mark.parametrize(
    ("study", "start", "why"),
    [
        (ADAPT, None, "study adapt continues trained weights; name them with --pretrained"),
        (CONTROLS, WEIGHTS, "study controls begins with random weights; leave out --pretrained"),
    ],
)
def test_weights_where_there_should_be_others_are_refused(study, start, why):
    with pytest.raises(UsageError, match=why):
        plan_of(study, replace(PHOTOS, start=start))


def test_dense_smoke_asks_for_every_protocol():
    from samclr.config.kinds import KINDS

    study = STUDIES["dense-smoke"]
    asked = {config.name for kind in KINDS for config in study.measuring.asked(kind)}
    assert asked == set(PROTOCOLS)
    assert {evaluation.kind for evaluation in study.evaluations} == set(KINDS)


def test_published_figures_of_scenes_stand_beside_what_is_measured():
    study = STUDIES["scenes"]
    metrics = usual_metrics(study.measuring)
    keys = {
        (e.set, key) for e in study.evaluations for metric in metrics if metric.kind == e.kind for key in metric.keys
    }
    assert {(one.set, one.key) for one in study.references} <= keys
    assert all("read in" in one.title for one in study.references)
    of = {(one.arm, one.set, one.key): one for one in study.references}
    for name in ("ade20k", "voc2012"):
        assert "memory not stated" in of["coco.cribo", name, "in_context_miou"].title
    assert "46.6 with a memory of 10,240,000" in of["coco.dino", "voc2012", "in_context_102400_miou"].title
    assert of["coco.croc", "voc2012", "segment_linear_miou"].value == 0.549  # its README of April 2023 and since


def test_a_seed_is_run_once():
    with pytest.raises(UsageError, match="the seeds 0 1 0 name one twice; expected each once"):
        plan_of(TEMPERATURE, replace(PHOTOS, seeds=(0, 1, 0)))

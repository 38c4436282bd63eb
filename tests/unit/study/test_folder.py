"""A study's folder: begun, gone on with, extended, and refused where it must be. And the commands that it names."""

import json
import re
import shlex
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tyro
from support.damage import flip_a_bit
from support.study_files import IMAGE, LABELS, SAM, write_study_files

from samclr._version import __version__
from samclr.cli.commands import Command
from samclr.cli.parse import STYLE
from samclr.cli.segmenters import chosen_segmenter
from samclr.config.pretrain import OptimConfig
from samclr.config.registry import PROTOCOLS
from samclr.errors import RunError, SamclrError, ScenesError, UsageError
from samclr.regions.store import open_store
from samclr.runs.directory import open_run, read_json, write_json
from samclr.runs.results import Result, Score
from samclr.study.folder import begin_study, open_study
from samclr.study.job import plan_study, select_runs
from samclr.study.planning import make_plan
from samclr.study.runs import make_store
from samclr.study.same_data import refuse_other_images, refuse_other_set
from samclr.study.shell import commands_of, study_command
from samclr.study.status import status_rows
from samclr.study.studies import CONTROLS, PAPER
from samclr.views.data import prepare_data


@pytest.fixture
def files(tmp_path):
    return write_study_files(tmp_path)


@pytest.fixture
def begun(files, tmp_path):
    return plan_study(files.study, str(files.file), tmp_path / "out", files.given(), parallel=2)


def again(files, tmp_path, study=None, **changes):
    return plan_study(study or files.study, str(files.file), tmp_path / "out", files.given(**changes), parallel=1)


def test_the_same_command_finds_the_same_plan(files, tmp_path, begun):
    assert open_study(tmp_path / "out")[1] == begun[1]
    assert again(files, tmp_path)[1] == begun[1]  # another --parallel does not change a run's threads


def test_paths_are_remembered(files, tmp_path, begun):
    plan = again(files, tmp_path, scenes={}, on={}, labels={})[1]
    assert plan == begun[1]


def test_a_plan_of_which_nothing_has_begun_gives_way(files, tmp_path, begun, capsys):
    """As `--list` leaves it, for an array whose settings are then thought over."""
    folder, plan = again(files, tmp_path, steps=1)
    assert open_study(tmp_path / "out")[1] == plan != begun[1]
    assert capsys.readouterr().err.count("nothing of the study had begun; it is planned anew") == 1
    assert again(files, tmp_path)[1] == plan  # steps that are stated once stay, as an array's tasks do not state them
    assert capsys.readouterr().err == ""
    with folder.lock(plan.runs()[1].name), pytest.raises(RunError, match="holds a study with other settings"):
        again(files, tmp_path, steps=2)
    folder.update_state(plan.runs()[1].name, error="stopped")
    with pytest.raises(RunError, match="holds a study with other settings"):
        again(files, tmp_path, steps=2)
    assert open_study(tmp_path / "out")[1] == plan


def test_a_store_that_is_being_made_has_begun(files, tmp_path, begun):
    """Its state is written when all of it is there: segmenting may take hours before."""
    folder, plan = begun
    (folder.stores / plan.stores[0].name).mkdir(parents=True)
    with pytest.raises(RunError, match="holds a study with other settings"):
        again(files, tmp_path, steps=1)
    assert open_study(tmp_path / "out")[1] == plan


def test_seeds_sets_and_arms_are_added(files, tmp_path, begun):
    assert again(files, tmp_path, seeds=(7,))[1].seeds == (0, 1, 7)
    plan = again(files, tmp_path, on={"more": files.tones})[1]
    assert [m.set for m in plan.measurements] == ["tones", "more"]
    assert not again(files, tmp_path, only=(SAM,))[1].arms[3].missing
    plan = again(files, tmp_path)[1]  # once asked for, it stays
    assert not plan.arms[3].missing
    assert len(plan.stores) == 2


def test_other_settings_are_refused(files, tmp_path, begun):
    begun[0].update_state(begun[1].runs()[0].name, error="stopped")
    with pytest.raises(RunError) as error:
        again(files, tmp_path, steps=9)
    assert "out holds a study with other settings: " in str(error.value)
    assert "optim.steps was 4, now 9" in str(error.value)
    assert "name another --out, or give the settings it was started with" in str(error.value)
    with pytest.raises(RunError, match="the study was 'tiny', now 'controls'"):
        again(files, tmp_path, study=CONTROLS)
    with pytest.raises(RunError, match=r"linear\.probe_epochs was 3, now 90"):
        again(files, tmp_path, study=replace(files.study, measuring=CONTROLS.measuring))
    with pytest.raises(RunError, match="region store was"):
        again(files, tmp_path, ignore_label=(0, 1))


@pytest.fixture
def used(files, begun):
    """A study of which a run has been trained and measured, and the scenes segmented, as far as its files tell."""
    folder, plan = begun
    run, store = plan.runs()[1], plan.stores[0]
    write_json(folder.run_directory(run) / "summary.json", {"data_fingerprint": "a"})
    (folder.stores / store.name).mkdir(parents=True)
    folder.update_state(run.name, trained=True, measured={"tones/labelled": {"results": [result().to_dict()]}})
    return folder, plan


def result(**changes):
    found = Result(
        protocol="knn", on="tones", target="run", source=".", untrained=False, seed=None, settings={}, counts={},
        scores={"top1": Score(value=0.5, n=24)}, train_fingerprint="a", test_fingerprint="b",
    )  # fmt: skip
    return replace(found, **changes)


@pytest.mark.parametrize(("what", "name"), [("scenes", "boxes"), ("labels", "boxes"), ("on", "tones")])
def test_other_files_under_a_name_that_was_used_are_refused(what, name, files, tmp_path, used):
    old = files.tones if what == "on" else getattr(files, what)
    copy = tmp_path / "elsewhere"
    shutil.copytree(old, copy)
    given = {what: {name: (copy,) if what == "scenes" else copy}}
    first = min(copy.rglob("*.png"))
    shutil.copy(first, first.with_name("more.png"))
    with pytest.raises(
        RunError, match=rf"out has results of --{what} {name}=.*elsewhere holds other files: both would"
    ):
        again(files, tmp_path, **given)
    assert open_study(tmp_path / "out")[1] == used[1]
    first.with_name("more.png").unlink()  # moved, and equal
    assert str(copy) in str(again(files, tmp_path, **given)[1])
    again(files, tmp_path, **{what: {name: (old,) if what == "scenes" else old}})


def test_names_that_were_not_used_yet_take_other_files(files, tmp_path, begun):
    begun[0].update_state(begun[1].runs()[1].name, error="stopped")
    other = tmp_path / "elsewhere"
    shutil.copytree(files.tones, other)
    (other / "train/dark/0.png").unlink()
    assert again(files, tmp_path, on={"tones": other})[1].measurements[0].path == other


def test_a_run_on_other_images_than_its_like_is_refused(files, tmp_path, used):
    folder, plan = used
    first, labels, second = plan.runs()[1], plan.runs()[2], plan.runs()[5]
    assert [first.arm.name, labels.arm.name, second.arm.name] == [IMAGE, LABELS, IMAGE]

    def data_of(scenes):
        config = first.config(folder.stores)
        runtime = replace(config.runtime, workers=1)
        return prepare_data(replace(config, data=replace(config.data, scenes=(scenes,)), runtime=runtime))

    write_json(folder.run_directory(first) / "summary.json", data_of(files.scenes).facts())
    moved, other = tmp_path / "moved", tmp_path / "elsewhere"
    for copy in (moved, other):
        shutil.copytree(files.scenes, copy)
    refuse_other_images(folder, plan, second, data_of(moved))
    shutil.copy(other / "a/000.png", other / "b/001.png")
    data = data_of(other)
    for run in (second, labels):
        with pytest.raises(
            RunError, match=rf"the scenes boxes or their regions are not those that {first.name} was tr"
        ):
            refuse_other_images(folder, plan, run, data)
    assert make_store(folder, plan, plan.stores[0]) == "done"
    assert make_store(folder, replace(plan, scenes=(("boxes", (other,)),)), plan.stores[0]) == "failed"
    assert "1 images were replaced since" in folder.state(plan.stores[0].name)["error"]


def test_a_run_on_another_set_than_its_like_is_refused(used):
    folder, plan = used
    run, measurement = plan.runs()[5], plan.measurements[0]
    refuse_other_set(folder, plan, run, measurement, [result(), result(variant="k3", test_fingerprint="c")])
    with pytest.raises(
        RunError, match=r"the images or labels of --on tones=.* are not those that .*seed0 was measured"
    ):
        refuse_other_set(folder, plan, run, measurement, [result(test_fingerprint="c")])


def test_another_version_is_refused(files, tmp_path, begun):
    path = tmp_path / "out" / "study.json"
    saved = read_json(path, {})  # without its checksum
    path.write_text(json.dumps(saved | {"samclr": "0.0.9"}))
    sentence = (
        f"was written by samclr 0.0.9, this is {__version__}; results of two versions are not put in one table: "
        "name a new --out, or continue with samclr 0.0.9"
    )
    with pytest.raises(RunError, match=sentence):
        again(files, tmp_path)
    assert open_study(tmp_path / "out")[1] == begun[1]  # it can still be read
    path.write_text(json.dumps(saved | {"samclr": "0.2.0", "format": 3}))
    with pytest.raises(RunError, match=r"was written by samclr 0\.2\.0"):
        open_study(tmp_path / "out")
    del saved["plan"]["summary"]
    path.write_text(json.dumps(saved))
    with pytest.raises(RunError, match="it was changed by hand or is damaged; name a new --out"):
        open_study(tmp_path / "out")


def test_a_run_directory_of_another_version_is_refused(files, tmp_path, begun):
    folder, plan = begun
    run = plan.runs()[1]
    open_run(folder.run_directory(run), run.config(folder.stores))
    again(files, tmp_path)
    path = folder.run_directory(run) / "config.json"
    saved = read_json(path, {})  # without its checksum
    path.write_text(json.dumps(saved | {"samclr": "0.0.9"}))
    with pytest.raises(
        RunError, match=rf"t0\.2\.seed0 was written by samclr 0\.0\.9, this is {re.escape(__version__)}"
    ):
        again(files, tmp_path)
    saved["config"]["method"]["temperature"] = 0.9
    path.write_text(json.dumps(saved))
    with pytest.raises(RunError, match=r"temperature was 0\.9, now 0\.2; move it away, or name another --out"):
        again(files, tmp_path)


def test_flips_in_the_files_of_a_study_are_noticed(files, tmp_path, begun):
    folder, plan = begun
    run = plan.runs()[1]
    open_run(folder.run_directory(run), run.config(folder.stores))
    folder.update_state(run.name, trained=True, train_s=1.25)
    places = [tmp_path / "out/study.json", folder.run_directory(run) / "config.json"]
    places.append(tmp_path / f"out/states/{run.name}.json")
    expected = open_study(tmp_path / "out")[1], folder.state(run.name)
    random = np.random.default_rng(0)
    said = []
    for trial in range(60):
        path = places[trial % 3]
        before = path.read_bytes()
        flip_a_bit(path, random)
        try:
            again(files, tmp_path)
            assert (open_study(tmp_path / "out")[1], folder.state(run.name)) == expected
        except SamclrError as error:
            said.append(str(path) in str(error))
        path.write_bytes(before)
    assert len(said) > 40
    assert all(said)
    (tmp_path / "out/study.json").unlink()  # as the message says
    again(files, tmp_path)


def test_a_study_is_begun_by_several_processes_at_once(files, tmp_path):
    plan = make_plan(files.study, "tiny", files.given(), 1)
    with ThreadPoolExecutor(4) as pool:
        for trial in range(10):
            list(pool.map(lambda _, trial=trial: begin_study(tmp_path / f"out{trial}", plan), range(4)))


def test_folders_that_hold_no_study(files, tmp_path):
    with pytest.raises(RunError, match=r"holds no study: it has no study\.json"):
        open_study(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    plan = make_plan(files.study, "tiny", files.given(), 1)
    with pytest.raises(RunError, match="full exists and holds no study; name a new or empty folder with --out"):
        begin_study(tmp_path / "full", plan)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["letter.txt"]


def test_only_takes_arms_runs_and_patterns(files, begun):
    _, plan = begun
    names = {
        pattern: [run.name for run in select_runs(plan, files.given(only=(pattern,)))]
        for pattern in (IMAGE, f"{IMAGE}.seed1", "*.region.*")
    }
    assert names[IMAGE] == [f"{IMAGE}.seed0", f"{IMAGE}.seed1"]
    assert names[f"{IMAGE}.seed1"] == [f"{IMAGE}.seed1"]
    assert len(names["*.region.*"]) == 4
    assert [run.seed for run in select_runs(plan, files.given(seeds=(1,)))] == [1, 1, 1, 1]
    with pytest.raises(UsageError, match=f"--only 'simclr' names no arm; arms are untrained, {IMAGE}"):
        select_runs(plan, files.given(only=("simclr",)))


def test_a_segmenter_that_does_not_exist_is_told_before_anything_runs(files, tmp_path):
    grid = replace(files.study.grids[1], segmenters=("sam-hq-vit-x",))
    with pytest.raises(UsageError, match="no segmenter 'sam-hq-vit-x'; did you mean sam-hq-vit-"):
        plan_study(replace(files.study, grids=(grid,)), "tiny", tmp_path / "out", files.given(), 1)
    assert not (tmp_path / "out").exists()


def test_status_of_a_study_that_has_not_run(begun):
    folder, plan = begun
    rows = {row["run"]: row for row in status_rows(folder, plan)}
    assert rows[f"{IMAGE}.seed0"] == {
        "index": 1, "run": f"{IMAGE}.seed0", "stage": "waiting", "steps_done": 0, "num_steps": 4, "reason": ""
    }  # fmt: skip
    assert rows[f"{SAM}.seed1"]["stage"] == "missing"
    with folder.lock(f"{LABELS}.seed0"):
        assert folder.stage(plan, plan.runs()[2]) == "running"
    assert folder.stage(plan, plan.runs()[2]) == "waiting"


def parsed(line):
    words = shlex.split(line)
    assert words[0] == "samclr"
    command = tyro.cli(Command, args=words[1:], config=STYLE)
    return getattr(command, "command", command)


def test_the_commands_shown_make_the_same_run(files, begun):
    folder, plan = begun
    run = plan.runs()[2]
    segment, pretrain, evaluate = (parsed(line) for line in commands_of(folder, plan, run))
    assert segment.scenes == (files.scenes,)
    assert chosen_segmenter(segment.settings) == plan.stores[0].segmenter
    assert segment.out == folder.stores / plan.stores[0].name
    config = pretrain.config()
    assert config.settings() == run.config(folder.stores).settings()
    assert config.data == run.config(folder.stores).data
    assert config.runtime.num_threads == plan.num_threads
    assert (evaluate.data, evaluate.on) == (config.evaluation, (files.tones,))
    assert all(evaluate.config().of(name) == plan.measuring.of(name) for name in PROTOCOLS)


def test_every_arm_of_the_paper_has_commands_that_parse(files, tmp_path):
    given = files.given(
        labels={},
        scenes=dict.fromkeys(("cityscapes", "ade20k", "imagenette"), (files.scenes,)),
        on={"stl10": files.tones},
    )
    folder, plan = plan_study(PAPER, "paper", tmp_path / "paper", given, 1)
    for run in plan.runs():
        lines = commands_of(folder, plan, run)
        trained = [parsed(line).config() for line in lines if line.startswith("samclr pretrain")]
        assert [config.settings() for config in trained] == (
            [] if run.arm.strategy == "untrained" else [run.config(folder.stores).settings()]
        )


def test_the_command_of_the_whole_study_parses(files, tmp_path, begun):
    folder, plan = begun
    command = parsed(study_command(folder, plan, "--only", f"'{SAM}'"))
    assert command.out == tmp_path / "out"
    assert command.only == (SAM,)
    assert command._given().scenes == {"boxes": (files.scenes,)}
    assert command._given().labels == {"boxes": files.labels}


def test_the_command_of_a_study_has_the_steps_and_seeds_that_were_stated(files, tmp_path):
    folder, plan = again(files, tmp_path, steps=9, seeds=(3,))
    assert study_command(folder, plan).endswith(" --steps 9 --seeds 3")
    folder, plan = again(files, tmp_path, steps=9)
    assert study_command(folder, plan).endswith(" --steps 9 --seeds 3")


def test_seeds_that_were_stated_are_remembered(files, tmp_path):
    def seeds(**given):
        return again(files, tmp_path, scenes={}, on={}, labels={}, **given)[1].seeds

    assert again(files, tmp_path, seeds=(1,))[1].seeds == (1,)
    assert seeds() == (1,)
    assert seeds(seeds=(0, 1)) == (1, 0)  # the number of a run stays its own
    assert seeds(seeds=(0,)) == seeds() == (1, 0)
    assert seeds(seeds=(0, 1, 7)) == seeds() == (1, 0, 7)


def test_a_study_that_took_its_own_seeds_takes_those_that_its_file_gets(files, tmp_path, begun):
    assert begun[1].seeds == (0, 1)
    study = replace(files.study, seeds=(0, 1, 2))
    assert again(files, tmp_path, study)[1].seeds == (0, 1, 2)
    assert again(files, tmp_path, study, seeds=(0,))[1].seeds == again(files, tmp_path, study)[1].seeds == (0, 1, 2)


def test_the_image_column_of_a_study_s_scenes(files, tmp_path):
    table = pa.table({"mask": [b"no image"] * 12, "image": [path.read_bytes() for path in files.scenes.rglob("*.png")]})
    pq.write_table(table, tmp_path / "boxes.parquet")
    given = {"scenes": {"boxes": (tmp_path / "boxes.parquet",)}, "image_columns": {"boxes": "image"}}
    folder, plan = again(files, tmp_path, **given)
    assert again(files, tmp_path, scenes={}, labels={})[1] == plan
    assert {arm.config.data.image_column for arm in plan.arms[1:]} == {"image"}
    segment, pretrain, _ = (parsed(line) for line in commands_of(folder, plan, plan.runs()[2]))
    assert (segment.image_column, pretrain.config().data.image_column) == ("image", "image")
    command = parsed(study_command(folder, plan))
    assert command._given().image_columns == {"boxes": "image"}
    assert command._given().scenes == given["scenes"]
    assert make_store(folder, plan, plan.stores[0]) == "failed"  # of label maps there are none for the rows
    rows = open_store(folder.stores / plan.stores[0].name).read(["image_id", "status"]).to_pylist()
    assert {row["image_id"] for row in rows} == {f"boxes.parquet:image#{k:02d}" for k in range(12)}
    assert {row["status"] for row in rows} == {"no label map for this image"}
    with pytest.raises(RunError, match="image column of boxes"):
        again(files, tmp_path, scenes=given["scenes"], image_columns={"boxes": "mask"})
    with pytest.raises(ScenesError, match="no Parquet file among the scenes has a column image"):
        plan_study(files.study, str(files.file), tmp_path / "other", files.given(image_columns={"boxes": "image"}), 1)


@pytest.mark.parametrize("value", ["image", "boxes=", "=image"])
def test_an_image_column_is_named_for_its_scenes(value, files, tmp_path):
    command = parsed(f"samclr study run {files.file} --out {tmp_path / 'o'} --image-column {value}")
    with pytest.raises(UsageError, match=r"is not NAME=COLUMN; give for example --image-column photos=COLUMN"):
        command._given()


def test_smoke_leaves_its_own_paths_out_of_the_command(files, tmp_path, monkeypatch):
    from samclr.study.studies import SMOKE

    study = replace(SMOKE, generated=3, optim=OptimConfig(global_batch_size=8, steps=2))
    folder, plan = plan_study(
        study, "smoke", tmp_path / "smoke", replace(files.given(), scenes={}, on={}, labels={}), 1
    )
    assert study_command(folder, plan) == f"samclr study run smoke --out {tmp_path / 'smoke'}"
    assert len(list((tmp_path / "smoke/data/digits/scenes").iterdir())) == 3

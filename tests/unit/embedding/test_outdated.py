"""After --replace-changed other readers of Parquet see no row of an image as it was, wherever a process is killed."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import samclr
from samclr.config.embedding import EmbedConfig
from samclr.datasets.sources import list_scenes
from samclr.embedding.work import EmbedJob, embed_scenes
from samclr.errors import PartsError
from samclr.scenes import outdated
from samclr.scenes.fill import FillOptions
from samclr.storage import parts

JOB = EmbedJob(target="small-cnn", device="cpu", config=EmbedConfig(image_px=32, dtype="float32"))
REPLACE = FillOptions(replace_changed=True)


def embed(scenes, path, options=REPLACE):
    return embed_scenes(list_scenes([scenes]), JOB, path, options)[1]


def plain(path):
    """What any reader of Parquet sees: (id, region, vector), sorted."""
    table = pq.read_table(path / "rows")
    vectors = np.array(table["vector"].to_pylist(), np.float32)
    return sorted(zip(table["id"].to_pylist(), table["region"].to_pylist(), map(tuple, vectors), strict=True))


@pytest.fixture
def replaced(scenes, tmp_path):
    """Vectors of scenes of which two were replaced since, and what they should become."""
    embed(scenes, tmp_path / "v")
    for name, other in (("a/000.png", "b/001.png"), ("b/003.png", "a/002.png")):
        shutil.copyfile(scenes / other, scenes / name)
    embed(scenes, tmp_path / "fresh")
    return tmp_path / "v", plain(tmp_path / "fresh")


def test_rows_of_the_image_as_it_was_go(scenes, replaced):
    path, wanted = replaced
    before = samclr.open_vectors(path)
    old = np.array(before.matrix())
    report = embed(scenes, path)
    assert (report.num_new, plain(path)) == (2, wanted)
    assert len(list(path.glob("b*.parquet"))) == len(list((path / "rows").iterdir()))
    np.testing.assert_array_equal(before.matrix(), old)  # what was opened before stays as it was
    later = samclr.open_vectors(path)
    assert later.rows()["id"].to_pylist() == sorted({one for one, _, _ in wanted})
    parts_then = sorted(path.glob("b*.parquet"))
    assert embed(scenes, path).num_new == 0
    assert sorted(path.glob("b*.parquet")) == parts_then


def test_vectors_opened_before_say_so(scenes, replaced):
    path, _ = replaced
    before = samclr.open_vectors(path)
    embed(scenes, path)
    for look in (before.rows, before.matrix, lambda: before.errors):
        with pytest.raises(PartsError, match=r"vectors were replaced in .* since it was opened; open it again"):
            look()


def test_killed_at_any_step_nothing_is_lost_and_the_next_run_tidies_up(scenes, replaced, tmp_path, monkeypatch):
    path, wanted = replaced
    kinds = {one: (region, vector) for one, region, vector in wanted}
    true = {"put": parts.put_in_place, "remove": outdated.remove_if_free}
    steps = 0
    for killed_at in range(40):
        again = tmp_path / f"again-{killed_at}"
        shutil.copytree(path, again)
        calls = iter(range(100))

        def step(call, *given, calls=calls, killed_at=killed_at):
            if next(calls) == killed_at:
                raise KeyboardInterrupt("as if it were killed")
            return call(*given)

        monkeypatch.setattr(parts, "put_in_place", lambda *given, step=step: step(true["put"], *given))
        monkeypatch.setattr(outdated, "remove_if_free", lambda *given, step=step: step(true["remove"], *given))
        try:
            embed(scenes, again)
            steps = killed_at
        except KeyboardInterrupt:
            pass
        monkeypatch.setattr(parts, "put_in_place", true["put"])
        monkeypatch.setattr(outdated, "remove_if_free", true["remove"])
        opened = samclr.open_vectors(again)
        assert opened.rows()["id"].to_pylist() == sorted(kinds)
        assert {one for one, _, _ in plain(again)} == set(kinds)
        embed(scenes, again)
        assert plain(again) == wanted
        assert not list(again.rglob("*.tmp"))
        if steps:
            break
    assert steps >= 4  # put in place twice, removed twice, at least


def test_folders_with_outdated_rows_of_before_are_tidied_up(scenes, replaced, monkeypatch):
    path, wanted = replaced
    with monkeypatch.context() as patched:
        patched.setattr("samclr.scenes.fill.drop_outdated", lambda *_: None)
        embed(scenes, path)
    assert len(plain(path)) == len(wanted) + 2
    stray = path / "rows" / "b00000-p00077.parquet"
    shutil.copyfile(next((path / "rows").iterdir()), stray)
    assert embed(scenes, path).num_new == 0
    assert (plain(path), stray.exists()) == (wanted, False)


def test_what_another_process_works_at_is_left_to_it(scenes, replaced, monkeypatch):
    path, wanted = replaced
    with monkeypatch.context() as patched:
        patched.setattr("samclr.scenes.fill.drop_outdated", lambda *_: None)
        folder, _ = embed_scenes(list_scenes([scenes]), JOB, path, REPLACE)
    with folder.lock(0) as has_it:
        assert has_it
        embed(scenes, path)
    assert len(plain(path)) == len(wanted) + 2

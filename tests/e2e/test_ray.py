"""--engine ray on a local Ray of two actors, one of which is killed midway: nothing lost, nothing twice."""

import threading
import time
from collections import Counter
from dataclasses import replace

import psutil
import pyarrow.parquet as pq
import pytest
from support.command import samclr
from support.scenes import write_scenes

from samclr.config.sam import ComputeConfig, MaskConfig
from samclr.config.segmenters import SegmenterConfig
from samclr.datasets.sources import list_scenes
from samclr.regions.ray_engine import segment_scenes_on_ray
from samclr.regions.segment import segment_scenes
from samclr.regions.store import iterate_rows, open_store, verify_store
from samclr.scenes.fill import FillOptions

NUM_SCENES = 96
SLOW = SegmenterConfig(
    segmenter="sam-digits",
    masks=MaskConfig(points_per_side=6, pred_iou_thresh=0.3),
    compute=ComputeConfig(device="cpu"),
)


@pytest.fixture
def local_ray():
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=3, include_dashboard=False, logging_level="error", log_to_driver=False)
    yield ray
    ray.shutdown()


def actors():
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if line.startswith("ray::WorkActor"):
            found.append(process)
    return found


@pytest.mark.slow
def test_a_killed_actor_loses_and_doubles_nothing(local_ray, tmp_path):
    refs = list_scenes([write_scenes(tmp_path / "scenes", NUM_SCENES)])
    killed = []

    def kill_one():
        store = tmp_path / "store"
        while not list(store.glob("*.parquet")):
            time.sleep(0.05)
        victim = (actors() or [None])[0]
        assert victim is not None, "no actor was found by its name"
        victim.kill()
        killed.append((victim.pid, len(list(store.glob("*.parquet")))))

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    _, report = segment_scenes_on_ray(refs, SLOW, tmp_path / "store", FillOptions(num_workers=2))
    killer.join(timeout=10)
    assert len(killed) == 1
    assert killed[0][1] < NUM_SCENES // 16  # while there was work left
    assert (report.num_new, report.errors) == (NUM_SCENES, {})
    written = Counter()
    for part in (tmp_path / "store").glob("*.parquet"):
        written.update(pq.read_table(part, columns=["image_id"])["image_id"].to_pylist())
    assert written == Counter({ref.image_id: 1 for ref in refs})
    assert verify_store(open_store(tmp_path / "store")) == []
    _, again = segment_scenes_on_ray(refs, SLOW, tmp_path / "store", FillOptions(num_workers=2))
    assert again.num_new == 0
    few = refs[:20]
    here, _ = segment_scenes(few, replace(SLOW), tmp_path / "here", FillOptions())
    there = {row["image_id"]: row["regions"] for row in iterate_rows(open_store(tmp_path / "store"))}
    mine = {(row["image_id"], region["rle"]) for row in iterate_rows(here) for region in row["regions"]}
    theirs = {(ref.image_id, region["rle"]) for ref in few for region in there[ref.image_id]}
    assert (
        len(mine & theirs) > 0.9 * len(mine) > 10
    )  # another number of threads rounds otherwise: a tie may fall so or so


def test_a_cluster_that_is_not_there_is_one_sentence(tmp_path, scenes, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    done = samclr("segment", scenes, "--engine", "ray", "--out", tmp_path / "store")
    assert done.returncode == 2
    assert "error: cannot join the Ray cluster 127.0.0.1:1 (ConnectionRefusedError" in done.stderr.splitlines()[-1]

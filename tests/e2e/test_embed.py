"""Embedding as it happens: killed, stopped by Ctrl-C, by several processes and by actors of Ray."""

import os
import signal
import subprocess
import time

import numpy as np
import pytest
from support.command import command, samclr
from support.scenes import write_scenes

import samclr as library
from samclr.datasets.sources import list_scenes
from samclr.embedding.work import EmbedJob, embed_scenes, embed_scenes_on_ray
from samclr.scenes.fill import FillOptions

BACKBONE = ("--backbone", "small-cnn", "--dtype", "float32", "--device", "cpu")


def embed(scenes, out, *more):
    return ["embed", scenes, *BACKBONE, "--out", out, *more]


def parts_of(folder):
    return list(folder.glob("*.parquet"))


def same(one, other):
    first, second = (library.open_vectors(path) for path in (one, other))
    assert first.rows().equals(second.rows())
    np.testing.assert_array_equal(first.matrix(), second.matrix())


@pytest.mark.slow
def test_killed_and_stopped_and_resumed_equals_uninterrupted(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", 200)
    assert samclr(*embed(scenes, tmp_path / "whole", "--workers", 1)).returncode == 0
    for number, status in ((signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)):
        before = len(parts_of(tmp_path / "stopped"))
        process = subprocess.Popen(
            command(*embed(scenes, tmp_path / "stopped", "--workers", 1)), stderr=subprocess.PIPE, text=True
        )
        while len(parts_of(tmp_path / "stopped")) < before + 2 and process.poll() is None:
            time.sleep(0.002)
        os.kill(process.pid, number)
        _, said = process.communicate(timeout=60)
        assert process.returncode == status, said
        if number != signal.SIGKILL:
            assert "new images are kept in" in said.splitlines()[-1]
    assert len(parts_of(tmp_path / "stopped")) > 0
    done = samclr(*embed(scenes, tmp_path / "stopped", "--workers", 2))
    assert done.returncode == 0, done.stderr
    assert not list((tmp_path / "stopped").glob("*.tmp"))
    same(tmp_path / "stopped", tmp_path / "whole")


@pytest.mark.slow
def test_ray_makes_the_same_vectors(tmp_path):
    ray = pytest.importorskip("ray")
    refs = list_scenes([write_scenes(tmp_path / "scenes", 40)], None)
    job = EmbedJob(target="small-cnn", device="cpu")
    embed_scenes(refs, job, tmp_path / "here", FillOptions())
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    try:
        _, report = embed_scenes_on_ray(refs, job, tmp_path / "there", FillOptions(num_workers=2))
        assert (report.num_new, report.errors) == (40, {})
        assert embed_scenes_on_ray(refs, job, tmp_path / "there", FillOptions(num_workers=2))[1].num_new == 0
    finally:
        ray.shutdown()
    same(tmp_path / "there", tmp_path / "here")

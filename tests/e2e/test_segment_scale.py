"""Segmenting with a SAM at scale: torchrun's ranks share a store, and a huge photograph stays within its memory."""

import json
import os
import re
import subprocess
import sys
from collections import Counter

import pyarrow.parquet as pq
import pytest
from support.scenes import write_scenes

from samclr.regions.store import open_store, verify_store

NUM_SCENES = 96
BUDGET_GB = 0.25
HUGE = f"""
import json, resource
from concurrent.futures import ThreadPoolExecutor
import numpy as np, torch
from PIL import Image
from samclr.demo.scenes import clutter, digit_ink
from samclr.regions.sam.generator import MaskGenerator
from samclr.regions.sam.model import load_sam
from samclr.config.sam import MaskConfig
from sklearn.datasets import load_digits

torch.set_num_threads(1)
digits, random = load_digits().images, np.random.default_rng(0)
canvas = clutter(96, random)[:64]
for k in range(6):
    top, left = 2 + 30 * (k // 3), 4 + 30 * (k % 3)
    ink = digit_ink(digits[k] / 16.0, 26)[..., None]
    canvas[top : top + 26, left : left + 26] = (1 - ink) * canvas[top : top + 26, left : left + 26] + ink * 0.9
small = (np.clip(canvas, 0, 1) * 255).astype(np.uint8)
huge = np.asarray(Image.fromarray(small).resize((6000, 4000), Image.BICUBIC))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
with ThreadPoolExecutor(2) as pool, torch.inference_mode():
    config = MaskConfig(points_per_side=16, pred_iou_thresh=0.3, stability_score_thresh=0.3)
    generator = MaskGenerator(load_sam("sam-digits", torch.device("cpu")), config, pool, int({BUDGET_GB} * 1e9))
    generator.generate([small])
    before = peak()
    (masks,) = generator.generate([huge])
print(json.dumps({{"grown": peak() - before, "masks": len(masks), "largest": max(m.area_px for m in masks)}}))
"""


@pytest.mark.slow
def test_a_photograph_of_24_megapixels_stays_within_the_budget():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HUGE], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["masks"] >= 6
    assert found["largest"] > 100_000
    assert found["grown"] < BUDGET_GB * 1e9  # 256 points with three masks each would be 18 GB of booleans


@pytest.mark.slow
def test_ranks_of_torchrun_share_a_store_and_do_nothing_twice(tmp_path):
    scenes = write_scenes(tmp_path / "scenes", NUM_SCENES)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
    command += [sys.executable, "-m", "samclr", "segment", str(scenes), "--out", str(tmp_path / "store")]
    command += ["--segmenter", "sam-digits", "--points-per-side", "4", "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    written = Counter()
    for part in (tmp_path / "store").glob("*.parquet"):
        written.update(pq.read_table(part, columns=["image_id"])["image_id"].to_pylist())
    assert len(written) == NUM_SCENES
    assert set(written.values()) == {1}
    assert verify_store(open_store(tmp_path / "store")) == []
    shares = [int(number) for number in re.findall(r"\((\d+) new", done.stderr)]
    assert sum(shares) == NUM_SCENES
    assert min(shares) > 0

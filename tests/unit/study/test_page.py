"""The page and the tables of states that are written here, as runs leave them."""

import csv
import re
from dataclasses import replace
from pathlib import Path

from support.study_files import result

from samclr.study.costs import make_costs, total_hours
from samclr.study.folder import StudyFolder
from samclr.study.page import against_quoted, write_study
from samclr.study.plan import Given
from samclr.study.planning import make_plan
from samclr.study.recipe import Grid, Reference, Study
from samclr.study.studies import STUDIES
from samclr.study.tables import make_tables

TWO = Study(name="two", summary="Views of images and of regions.", grids=(Grid(temperatures=(0.2,)),), seeds=(0, 1))
UNTRAINED, IMAGE, REGION = "untrained", "simclr.image.t0.2", "simclr.region.felzenszwalb.t0.2.c1.3"


def plan_on(*scenes, study=TWO, **given):
    paths = {name: (Path("/none"),) for name in scenes}
    return make_plan(study, study.name, Given(scenes=paths, **({"on": {"tones": Path("/t")}} | given)), num_threads=1)


def written(path, plan, arms):
    """The study's folder with done runs: shares by kNN, or rows of measured sets, of the seeds of each named arm."""
    folder = StudyFolder(path=path)
    for arm, seeds in arms.items():
        for seed, found in enumerate(seeds):
            if not isinstance(found, dict):
                row = {"results": [result("knn", "tones", top1=found, top5=1.0)], "per_class": {}, "measure_s": 1.0}
                found = {"tones/labelled": row}
            folder.update_state(
                f"{arm}.seed{seed}", trained=True, train_s=3600.0, device="cpu", threads=1, measured=found
            )
    return folder, write_study(folder, plan).read_text()


def test_a_class_that_only_some_runs_have(tmp_path):
    """A class without test pixels has an IoU of 0 where a run predicts it, and none where it does not."""
    plan = plan_on("photos", dense_on={"streets": Path("/d")})
    empty = {"results": [], "per_class": {}, "measure_s": 1.0}

    def seed(**shares):
        return {"tones/labelled": empty, "streets/dense": {**empty, "per_class": shares}}

    arms = {
        UNTRAINED: [seed(road=0.5), seed(road=0.5)],
        f"photos.{IMAGE}": [seed(road=0.25), seed(road=0.75, bike=0.0)],
        f"photos.{REGION}": [seed(road=0.5, kerb=0.25), seed(road=0.5)],
    }
    _, page = written(tmp_path, plan, arms)
    rows = {name: re.findall(f'data-label="{name}"[^>]*>([^<]*)<', page) for name in ("road", "bike", "kerb")}
    assert rows == {"road": ["50", "50", "50"], "bike": ["-", "0", "-"], "kerb": ["-", "-", "25"]}
    assert "<h3>tones, kNN" not in page  # no class of it has a share
    many = {name: [seed(**dict.fromkeys(map(str, range(25)), 0.5), **{name: 0.5})] * 2 for name in arms}
    _, page = written(tmp_path, plan, many)
    assert "of 28 classes the 20 on which arms differ most" in page


def test_the_best_of_each_table_is_bold(tmp_path):
    """The floor stands in every table; means that are equal are all bold."""
    low, high = (
        {f"{scenes}.{arm}": [share] * 2 for arm in (IMAGE, REGION)} for scenes, share in (("a", 0.25), ("b", 0.75))
    )
    _, page = written(tmp_path, plan_on("a", "b"), {UNTRAINED: [0.5, 0.5], **low, **high})
    assert re.findall(r'<td class="number best"[^>]*>([0-9.]+)', page) == ["50.0", "75.0", "75.0"]


def test_sentences_of_several_scenes_name_them(tmp_path):
    references = tuple(
        Reference(arm=arm, set="tones", key="knn_top1", value=0.5) for arm in (UNTRAINED, f"*.{IMAGE}", f"*.{REGION}")
    )
    plan = plan_on("a", "b", study=replace(TWO, references=references, quoted="a paper"))
    arms = {f"{scenes}.{arm}": [0.5, 0.25] for scenes in "ab" for arm in (IMAGE, REGION)}
    folder, page = written(tmp_path, plan, {UNTRAINED: [0.25, 0.5], **arms})
    sentences = [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("- ")]
    sentences += against_quoted(make_tables(folder, plan))
    names = [re.split(": (?=ours|better|worse|not)", sentence)[0] for sentence in sentences]
    assert len(set(names)) == len(names) == 6 + 5
    assert "- SAMCLR against SimCLR on tones by kNN, trained on a" in names
    assert "SAMCLR, trained on b, tones kNN" in names
    assert "before any training, tones kNN" in names
    assert all(f"<li>{sentence.removeprefix('- ')}</li>" in page for sentence in sentences)
    titles = ["before any training", *(f"{scenes}: {arm}" for scenes in "ab" for arm in ("SimCLR", "SAMCLR"))]
    assert [cost.title for cost in make_costs(folder, plan)] == titles


def test_segmenting_on_the_cpu_is_no_gpu_time(tmp_path):
    plan = plan_on("photos", study=replace(TWO, untrained=False, grids=(Grid(paddings=(1.0, 1.3)),)))
    regions = [arm for arm in plan.arms if arm.store]
    folder = StudyFolder(path=tmp_path)
    segmented = {"images": 10, "failed_images": 0, "regions": 9, "segment_s": 36_000.0}
    folder.update_state(str(regions[0].store), device="cpu", threads=8, **segmented)
    for arm in regions:
        facts = {"trained": True, "train_s": 1800.0, "device": "cuda", "threads": 8, "measured": {}}
        folder.update_state(f"{arm.name}.seed0", **facts)
    costs = make_costs(folder, plan)
    assert [cost.hours for cost in costs] == [{"GPU": 0.5, "CPU": 80.0}] * 2
    assert total_hours(costs) == {"GPU": 1.0, "CPU": 80.0}
    page = write_study(folder, plan).read_text()
    assert "1.00 GPU hours, 80.00 CPU hours, segmentation included" in page
    assert page.count("0.500 GPU<br>80.000 CPU") == 2
    rows = list(csv.DictReader((tmp_path / "costs.csv").open()))
    assert [(row["device"], row["segment hours"], row["segment device"]) for row in rows] == [
        ("GPU", "80.0", "CPU")
    ] * 2
    folder.update_state(str(regions[0].store), device="cuda")
    assert total_hours(make_costs(folder, plan)) == {"GPU": 11.0}


def test_published_rows_claim_what_is_quoted_alone(tmp_path):
    plan = plan_on("coco", study=STUDIES["scenes"], on={"imagenet": Path("/i")})
    folder, page = StudyFolder(path=tmp_path), write_study(StudyFolder(path=tmp_path), plan).read_text()
    (table,) = make_tables(folder, plan)
    quoted = [row for row in table.rows if row.title in {one.title for one in plan.references}]
    assert len(quoted) == len({one.title for one in plan.references})
    cells = [cell for row in quoted for cell in row.cells]
    assert [cell.quoted is not None for cell in cells] == [cell.state == "quoted, not run" for cell in cells]
    assert page.count("quoted, not run") == len(plan.references) < len(cells)
    rows = [row for row in csv.DictReader((tmp_path / "table.csv").open()) if row["state"] == "quoted, not run"]
    assert len(rows) == len(plan.references)
    assert all(row["quoted"] for row in rows)

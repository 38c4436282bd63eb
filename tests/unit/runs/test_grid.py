"""Results side by side."""

from typing import Any

import pytest

from samclr.config.protocols import protocols_of
from samclr.runs.grid import result_grid
from samclr.runs.results import Result, Score


def result(protocol: str, variant: str = "", on: str = "set", **more: Any) -> Result:
    measure = more.pop("measure", "top1_last")
    settings = {"image_px": 24} | more.pop("settings", {})
    return Result(
        protocol=protocol, variant=variant, on=on, target="run", source=".", untrained=False,
        scores={measure: Score(value=0.5, n=9)}, settings=settings, counts={"num_train": 9, "num_test": 9}, **more,
    )  # fmt: skip


def test_one_backbone_on_one_set_is_one_line():
    results = [
        result("few_shot", "10pct"),
        result("few_shot", "1pct"),
        result("linear"),
        result("knn", measure="top1", settings={"knn_k": 20, "knn_temperature": 0.07}),
        result("knn", "k200_t0.1", measure="top1"),  # stands in the terminal's table alone
        result("dense", "linear", measure="miou", kind="dense"),
        result("of a package that is gone"),
    ]
    grid = result_grid("labelled", [("a", one) for one in results])
    assert [column.title for column in grid.columns] == [
        *("kNN", "linear", "linear, few labels, 1pct", "linear, few labels, 10pct"),
    ]
    (line,) = grid.lines
    assert (line.owner, line.side, line.settings) == ("a", "24 px", "k 20, temperature 0.07")
    assert all(line.cells[column].value == 0.5 for column in grid.columns)
    (column,) = result_grid("dense", [("a", one) for one in results]).columns
    assert column.title == "mIoU, linear"


def test_what_cannot_share_a_line_has_its_own():
    twice = [result("knn", measure="top1", settings={"knn_k": k}) for k in (3, 5)]
    other_side = result("linear", settings={"image_px": 48})
    grid = result_grid("labelled", [("a", one) for one in (*twice, result("linear"), other_side)])
    assert [(line.settings, len(line.cells), line.side) for line in grid.lines] == [
        *[("k 3", 2, "24 px"), ("k 5", 1, "24 px"), ("", 1, "48 px")],
    ]
    assert len(result_grid("labelled", [("a", twice[0]), ("b", twice[0])]).lines) == 2
    assert result_grid("labelled", []).lines == ()


@pytest.mark.parametrize("spec", protocols_of(), ids=lambda spec: spec.name)
def test_settings_of_note_are_told_of_every_protocol(spec):
    shown = spec.shown[0]
    one = result(
        spec.name, shown.variant or "", measure=shown.measure, kind=spec.kind, settings=spec.config().settings()
    )
    (line,) = result_grid(spec.kind, [("a", one)]).lines
    titles = [title for name, title in spec.told.items() if name in one.settings]
    told = [words for words in line.settings.split(", ") if words]
    assert all(words.startswith(f"{title} ") for words, title in zip(told, titles, strict=True))


def test_the_steps_taken_and_the_first_of_several_numbers_are_told():
    found = result("detection", measure="box_ap", kind="detection", settings={"detect_schedule": "1x"})
    found.counts["num_steps"] = 7
    (line,) = result_grid("detection", [("a", found)]).lines
    assert line.settings == "steps 7"  # not the schedule, which other steps replaced
    k500 = result("overcluster", "k500", measure="miou", kind="dense", settings={"overcluster": 500})
    k100 = result("overcluster", measure="miou", kind="dense", settings={"overcluster": 100})
    (line,) = result_grid("dense", [("a", k500), ("a", k100)]).lines
    assert line.settings == "clusters 100"
    memory = result("in_context", measure="miou", kind="dense", settings={"in_context_memory": 1_024_000})
    assert result_grid("dense", [("a", memory)]).lines[0].settings == "memory 1024000"


def test_what_is_shown_of_every_variant_leaves_out_the_one_with_a_column_of_its_own():
    found = [result("multilabel", variant, measure="map", kind="multilabel") for variant in ("k16", "k2", "")]
    grid = result_grid("multilabel", [("a", one) for one in found])
    assert [column.title for column in grid.columns] == ["mAP", "mAP, few labels, k2", "mAP, few labels, k16"]
    assert len(grid.lines) == 1


def test_numbers_that_no_column_is_named_after_are_shown_too():
    found = [result("overcluster", variant, measure="miou", kind="dense") for variant in ("", "k500", "k50")]
    found += [result("in_context", variant, measure="miou", kind="dense") for variant in ("", "4000")]
    grid = result_grid("dense", [("a", one) for one in found])
    assert [column.title for column in grid.columns] == [
        *("mIoU, in context", "mIoU, in context, memory of 4,000"),
        *("mIoU, clusters", "mIoU, 500 clusters", "mIoU, 50 clusters"),
    ]

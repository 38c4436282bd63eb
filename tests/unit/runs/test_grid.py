"""Results side by side."""

from typing import Any

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
        *("kNN", "linear", "linear, few labels, 10pct", "linear, few labels, 1pct"),
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

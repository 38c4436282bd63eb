"""Linear SVMs on sets with several classes an image: VOC, a folder of one's own, and what is wrong with some."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC
from support.intervals import check_resampled
from support.voc import write_voc

import samclr
from samclr.config import EvaluationConfig, IntervalConfig, MultilabelConfig
from samclr.datasets.multilabel import open_multilabel
from samclr.errors import ConfigError, EvaluationError
from samclr.evaluation.average_precision import Ranking, mean_average_precisions
from samclr.evaluation.intervals import interval_ends
from samclr.evaluation.linear_svm import cross_validated, in_processes, svm_scores, unit_features
from samclr.evaluation.protocols.multilabel import Data, few_images

SMALL = ("--multilabel-px", 32, "--bootstrap", 100, "--device", "cpu", "--multilabel-costs", 0.1, 1, "--json")


def write_own(folder: Path, rows: dict[str, str] | None = None, head: str = "image,red,blue") -> Path:
    """Twelve images a split, red or blue or both or none; rows take the place of theirs."""
    lines = {}
    for split, seed in (("train", 0), ("test", 100)):
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number in range(12):
            red, blue = number % 2, number // 2 % 2
            pixels = np.random.default_rng(seed + number).integers(60, 120, (24, 32, 3))
            pixels[:, :12, 0] += 120 * red
            pixels[:, 16:, 2] += 120 * blue
            Image.fromarray(pixels.astype(np.uint8)).save(folder / split / f"{number}.png")
            lines[f"{split}/{number}.png"] = f"{red},{blue}"
    written = [f"{name},{cells}" for name, cells in (lines | (rows or {})).items()]
    (folder / "labels.csv").write_text("\n".join([head, *written]) + "\n")
    return folder


def test_voc_by_the_command(tmp_path, call):
    write_voc(tmp_path, count=16)
    shots = ("--multilabel-shots", 1, 2, "--multilabel-samples", 2)
    command = ("evaluate", "small-cnn", "--multilabel-on", f"voc2007@{tmp_path}", *SMALL, *shots)
    status, shown, said = call(*command, "--out", tmp_path / "results.json")
    assert status == 0, said
    rows = json.loads(shown)["results"]
    assert [row["variant"] for row in rows] == ["", "k1", "k2"]
    assert {row["kind"] for row in rows} == {"multilabel"}
    full = rows[0]
    assert full["counts"] == {"num_train": 32, "num_test": 16, "num_classes": 20, "num_measured_classes": 3}
    for measure in ("map", "map_eleven"):
        score = full["scores"][measure]
        assert 0.3 < score["low"] <= score["value"] <= score["high"] <= 1
        assert score["n"] == 16
    assert set(full["chosen"]["costs"]) == {"aeroplane", "bicycle", "person"}
    assert "multilabel_shots" not in full["settings"]
    assert (rows[2]["settings"]["multilabel_shots"], rows[2]["counts"]["num_shots"]) == ([2], 2)
    assert "17 of 20 classes are left out of the mean" in said
    details = json.loads((tmp_path / full["details"]).read_text())
    by_class = details["protocols"]["multilabel"]["per_class_ap"]
    assert np.mean([one for one in by_class if one is not None]) == pytest.approx(full["scores"]["map"]["value"])
    assert len(details["protocols"]["multilabel_k2"]["by_sample"]) == 2
    for row in (full, rows[2]):
        check_resampled(details["protocols"][f"multilabel_{row['variant']}".rstrip("_")], row["scores"])
    status, again, _ = call(*command)
    assert [row["scores"] for row in json.loads(again)["results"]] == [row["scores"] for row in rows]


def test_a_table_of_ones_own_set(tmp_path, call):
    own = write_own(tmp_path / "own", {"test/3.png": "1,", "train/4.png": "0,"})
    status, shown, said = call("evaluate", "small-cnn", "--multilabel-on", own, *SMALL[:-1])
    assert status == 0, said
    assert "12 training and 12 test images" in shown
    assert "mAP, 11 points" in shown
    opened = open_multilabel(own)
    assert opened.test.labels[[ref.image_id for ref in opened.test.refs].index("3.png")].tolist() == [1, 0]


def test_results_are_those_of_scikit_learns_svm():
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 8))
    marks = np.where(features[:, 0] + random.normal(size=60) > 0.3, 1, -1)
    unit = unit_features(features)
    assert unit == pytest.approx(features / (np.linalg.norm(features, axis=1) + 1e-5)[:, None])
    theirs = LinearSVC(C=0.5, class_weight={1: 2, -1: 1}, dual=True, max_iter=2000, random_state=0)
    theirs.fit(unit[:40], marks[:40])
    assert svm_scores(unit[:40], marks[:40], unit[40:], 0.5) == pytest.approx(theirs.decision_function(unit[40:]))
    whole = cross_val_score(theirs, unit, marks, cv=3, scoring="average_precision")
    assert cross_validated(unit, marks, 0.5) == pytest.approx(whole.mean())


def test_few_images_are_so_many_of_each_class():
    marks = np.random.default_rng(0).choice([1, -1, 0], (200, 3), p=[0.3, 0.6, 0.1])
    rows = np.zeros((200, 2))
    data = Data(train=rows, test=rows, train_marks=marks, test_marks=marks, kept=[0, 2])
    samples = list(few_images(data, 4, 3, seed=7))
    assert [[k for k, _ in sample] for sample in samples] == [[0, 2]] * 3
    for sample in samples:
        for k, chosen in sample:
            assert (marks[chosen, k] == 1).sum() == 4
            assert (marks[chosen, k] == -1).sum() == 8  # as many without it for each other class
            assert len(set(chosen.tolist())) == 12
    assert len({tuple(chosen) for sample in samples for _, chosen in sample}) == 6


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        ({"train/3.png": "1,2"}, "image,red,blue", r"row 5: the label '2'; expected 3 cells, labels 1, 0 or nothing"),
        ({"train/3.png": "1"}, "image,red,blue", "row 5: 2 cells; expected 3 cells"),
        ({"train/0.png,1,1\ntrain/0.png": "1,1"}, "image,red,blue", r"row 26: train/0.png has a row already"),
        ({"test/none.png": "1,1"}, "image,red,blue", r"has 1 rows without an image in .*: test/none.png"),
        ({"tset/0.png": "1,1"}, "image,red,blue", r"has 1 rows without an image in .*: tset/0.png"),
        ({}, "image,red,red", "has the class red in several columns"),
        ({}, "picture,red,blue", r"begins with 'picture,red,blue'; expected image,CLASS,CLASS"),
        ({}, "image", "begins with 'image'; expected image,CLASS"),
    ],
)
def test_odd_tables(tmp_path, rows, head, message):
    own = write_own(tmp_path / "own", rows, head)
    with pytest.raises(EvaluationError, match=message):
        open_multilabel(own)


def test_images_without_a_row_and_folders_without_a_table(tmp_path):
    own = write_own(tmp_path / "own")
    Image.new("RGB", (8, 8)).save(own / "train/new.png")
    with pytest.raises(EvaluationError, match=r"has no row for 1 images of train/: new.png; the column image holds"):
        open_multilabel(own)
    with pytest.raises(EvaluationError, match=r"no set with several classes an image at .*: expected voc2007 or"):
        open_multilabel(tmp_path)
    (own / "labels.csv").write_bytes(b"image,r\xe9d\n")
    with pytest.raises(EvaluationError, match=r"cannot read .*expected CSV in UTF-8"):
        open_multilabel(own)
    (own / "labels.csv").write_text("")
    with pytest.raises(EvaluationError, match="begins with ''"):
        open_multilabel(own)


def measured(own: Path, **settings: object) -> list[samclr.Result]:
    small = MultilabelConfig(**{"multilabel_px": 16, "multilabel_costs": (0.1,)} | settings)
    config = EvaluationConfig(interval=IntervalConfig(bootstrap=100), protocols=(small,))
    return samclr.evaluate("small-cnn", multilabel_on=own, config=config, device="cpu")


def test_classes_and_images_without_labels(tmp_path, caplog):
    none = {f"test/{number}.png": f"{number % 2},0" for number in range(12)}
    (found,) = measured(write_own(tmp_path / "own", none))
    assert "1 of 2 classes are left out of the mean" in caplog.text
    assert "or no test image has them: blue" in caplog.text
    assert found.counts["num_measured_classes"] == 1
    nothing = {f"{split}/{number}.png": "0,0" for split in ("train", "test") for number in range(12)}
    with pytest.raises(EvaluationError, match="nothing has no class that can be measured: 1 training images"):
        measured(write_own(tmp_path / "nothing", nothing))
    everything = {f"train/{number}.png": f"1,{number % 2}" for number in range(12)}
    assert measured(write_own(tmp_path / "all", everything))[0].counts["num_measured_classes"] == 1


def test_classes_of_few_images(tmp_path, caplog):
    few = {f"train/{number}.png": f"{int(number < 2)},{number % 2}" for number in range(12)}
    own = write_own(tmp_path / "own", few)
    assert [one.counts["num_measured_classes"] for one in measured(own)] == [2]
    assert [one.counts["num_measured_classes"] for one in measured(own, multilabel_costs=(0.1, 1.0))] == [1]
    assert "as fewer than 3 training images have them, fewer than 3 lack them" in caplog.text
    full, one_shot, four_shots = measured(own, multilabel_shots=(1, 4))
    assert [one.counts["num_measured_classes"] for one in (full, one_shot, four_shots)] == [2, 2, 1]
    assert full == measured(own)[0]  # whatever shots are asked for
    assert one_shot == measured(own, multilabel_shots=(1,))[1]
    assert "own, 4 images a class: 1 of 2 classes are left out of the mean, as fewer than 4 training" in caplog.text
    with pytest.raises(EvaluationError, match="no class that can be measured: 7 training images"):
        measured(own, multilabel_shots=(7,))
    with pytest.raises(ConfigError, match="multilabel_costs has a value twice"):
        MultilabelConfig(multilabel_costs=(1.0, 1.0))


def test_of_few_images_without_a_class_all_are_taken(tmp_path, caplog):
    mostly = {f"train/{number}.png": f"{int(number < 10)},{number % 2}" for number in range(12)}
    measured(write_own(tmp_path / "own", mostly), multilabel_shots=(4,))
    assert "own, 4 images a class: fewer than 4 training images are known to lack red; all of them are taken" in (
        caplog.text
    )


def test_a_resample_without_a_positive_is_no_precision_of_zero():
    ranking = Ranking.of(np.arange(12.0), np.where(np.arange(12) == 11, 1, -1))
    values, drawn = mean_average_precisions([[ranking]], 12, IntervalConfig(bootstrap=200))
    assert values.tolist() == [1, 1]
    assert 20 < np.isnan(drawn[:, 0]).sum() < 120  # of images drawn with replacement, (11 / 12) ** 12 lack it
    assert interval_ends(drawn).tolist() == [[1, 1], [1, 1]]


def test_one_test_image_and_features_that_say_nothing(tmp_path, monkeypatch):
    own = write_own(tmp_path / "own")
    (found,) = measured(own, multilabel_num_test=1)
    assert found.scores["map"].n == 1
    import samclr.evaluation.features

    def broken(backbone, pixels, device, normalisation):
        import torch

        return torch.full((len(pixels), 4), float("nan"))

    monkeypatch.setattr(samclr.evaluation.features, "pixel_features", broken)
    with pytest.raises(EvaluationError, match="features are not finite"):
        measured(own, multilabel_px=20)


def test_any_number_of_workers_gives_the_same_scores_to_the_last_bit(monkeypatch):
    """At a large cost liblinear stops at its last iteration, wherever the order of images has led it."""
    random = np.random.default_rng(0)
    train, test = (unit_features(np.abs(random.normal(size=(rows, 64)))) for rows in (400, 300))
    marks = np.where(random.random((400, 6)) < 0.15, 1, -1)
    calls = [(train, marks[:, k], test, 100.0) for k in range(6)]
    found = []
    for workers in ("1", "2", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", workers)
        found.append(np.stack(in_processes(svm_scores, calls)))
    assert (found[0] == found[1]).all()
    assert (found[0] == found[2]).all()

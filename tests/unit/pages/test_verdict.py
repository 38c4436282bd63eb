"""The report's first sentence, from results made by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samclr.config.evaluation import IntervalConfig
from samclr.config.pretrain import DataConfig, PretrainConfig
from samclr.config.recipes import RECIPES
from samclr.evaluation.intervals import bootstrap_intervals, bootstrap_values, resampled_details
from samclr.evaluation.segmentation import iou_counts, miou_and_accuracy, sparse_counts
from samclr.pages import report
from samclr.pages.counts import count_sentences
from samclr.pages.measured import Measured, main_scores, newest
from samclr.pages.report import _settings_table
from samclr.pages.verdict import make_verdict, run_names
from samclr.runs.results import Result, RunResult, Score
from samclr.runs.saved import saved_config
from samclr.storage.files import write_json

SETTINGS = {"image_px": 24, "num_train": None, "num_test": None, "bootstrap": 200, "bootstrap_seed": 0}
SETTINGS |= {"knn_k": 20, "knn_temperature": 0.07}
REGION, IMAGE = RECIPES["samclr"].config, RECIPES["simclr"].config
LABELS = np.zeros(100, int)


def measured(run: Path, right: int, untrained: bool = False, first: int = 0, **changes) -> RunResult:
    """A kNN result of 100 test images; those from `first` on, `right` of them, are answered rightly."""
    predicted = np.ones(100, int)
    predicted[first : first + right] = 0
    name = f"evaluation/{untrained}-{right}.json"
    (run / "evaluation").mkdir(parents=True, exist_ok=True)
    details = {"labels": LABELS.tolist(), "protocols": {"knn": {"predicted": predicted.tolist()}}}
    (run / name).write_text(json.dumps(details))
    share = right / 100
    result = Result(
        protocol="knn",
        on="digits",
        target=str(run),
        source=".",
        untrained=untrained,
        seed=0 if untrained else None,
        scores={"top1": Score(value=share, low=share - 0.05, high=share + 0.05, n=100)},
        settings=SETTINGS,
        counts={"num_train": 600, "num_test": 100},
        train_fingerprint="a",
        test_fingerprint="b",
        details=name,
    )
    return RunResult(result=replace(result, **changes), is_own=True, is_current=True)


def test_a_score_of_one_image_counts_without_an_interval(tmp_path):
    (spec, shown), *_ = main_scores()
    one = measured(tmp_path, 50, protocol=spec.name, variant=shown.variant)
    for score, counts in ((Score(value=0.5, n=1), True), (Score(value=0.5, n=9), False)):
        result = replace(one.result, scores={shown.measure: score})
        assert (newest([Measured(run=tmp_path, seed=0, result=result)], "digits", spec, shown) is not None) == counts


def paired(first: np.ndarray, second: np.ndarray) -> str:
    """The interval of a difference, as the sentence writes it."""
    config = IntervalConfig(bootstrap=200, bootstrap_seed=0)
    ((low, high),) = 100 * bootstrap_intervals((first - second)[:, None].astype(np.float64), config)
    return f"{low:.1f} to {high:.1f}"


def answers(first: int, right: int) -> np.ndarray:
    found = np.zeros(100)
    found[first : first + right] = 1
    return found


def test_the_verdict_is_one_sentence_with_paired_intervals(tmp_path):
    region, image = tmp_path / "region", tmp_path / "image"
    results = {
        region: [measured(region, 90), measured(region, 88, untrained=True, first=4)],
        image: [measured(image, 50)],
    }
    verdict = make_verdict({image: IMAGE, region: REGION}, results)
    (sentence,) = verdict.sentences
    over_image = paired(answers(0, 90), answers(0, 50))
    over_floor = paired(answers(0, 90), answers(4, 88))
    assert sentence == (
        "Region views: 90.0% kNN on digits (95% interval 85.0 to 95.0; 100 test images), "
        f"40.0 points over image views ({over_image}), "
        f"2.0 points over the untrained backbone ({over_floor}, not told apart)."
    )
    assert verdict.missing == ()


def segmented(run: Path, seed: int, untrained: bool = False) -> tuple[RunResult, list[np.ndarray]]:
    """A dense result of twelve images of three classes, and its counts."""
    random = np.random.default_rng(seed)
    counts = [iou_counts(random.integers(0, 50, (3, 3)) * random.integers(0, 2, 3)) for _ in range(12)]
    (run / "evaluation").mkdir(parents=True, exist_ok=True)
    name = f"evaluation/dense-{seed}.json"
    details = {"per_class_iou": [0, 0, 0], "pixels_by_image": [sparse_counts(one) for one in counts]}
    (run / name).write_text(json.dumps({"protocols": {"dense_linear": details}}))
    miou = float(miou_and_accuracy(np.sum(counts, 0))[0])
    found = measured(run, 50, untrained, protocol="dense", variant="linear", kind="dense", on="streets", details=name)
    scores = {"miou": Score(value=miou, low=miou - 0.1, high=miou + 0.1, n=12)}
    return replace(found, result=replace(found.result, scores=scores)), counts


def test_differences_of_dense_scores_are_paired_by_image(tmp_path):
    """The oracle draws the resamples itself, one after the other."""
    runs = {tmp_path / name: seed for seed, name in enumerate(("a", "b", "c"))}
    found = {run: segmented(run, seed) for run, seed in runs.items()}
    first, second, image = runs
    configs = {first: REGION, second: replace(REGION, seed=1), image: IMAGE}
    verdict = make_verdict(configs, {run: [one] for run, (one, _) in found.items()})
    (sentence,) = verdict.sentences
    random = np.random.Generator(np.random.PCG64(0))
    of_first, gaps = [], []
    for _ in range(200):
        rows = random.integers(0, 12, 12)
        values = [miou_and_accuracy(np.sum([counts[row] for row in rows], 0))[0] for _, counts in found.values()]
        of_first.append((values[0] + values[1]) / 2)
        gaps.append(values[0] - values[2])
    low, high = 100 * np.percentile(of_first, (2.5, 97.5))
    assert "% mIoU (linear) on streets (mean of 2 seeds, " in sentence
    assert f"95% interval {low:.1f} to {high:.1f}; 12 test images)" in sentence
    ends = sorted(np.sign(np.mean(gaps)) * end for end in 100 * np.percentile(gaps, (2.5, 97.5)))
    assert f"image views ({ends[0]:.1f} to {ends[1]:.1f}" in sentence
    (image / "evaluation/dense-2.json").write_text("{}")  # as samclr 0.1 left it
    (sentence,) = make_verdict(configs, {run: [one] for run, (one, _) in found.items()}).sentences
    assert "image views (seed 0)" in sentence


def test_scores_without_sums_are_paired_by_their_resamples(tmp_path):
    """As by counts of pixels: resamples depend on the seed and the number of images alone."""
    runs = {tmp_path / name: seed for seed, name in enumerate(("a", "b", "c"))}
    found = {run: segmented(run, seed) for run, seed in runs.items()}
    first, second, image = runs
    configs = {first: REGION, second: replace(REGION, seed=1), image: IMAGE}
    results = {run: [one] for run, (one, _) in found.items()}
    expected = make_verdict(configs, results).sentences
    assert "interval" in expected[0]
    config = IntervalConfig(bootstrap=200, bootstrap_seed=0)
    for run, (one, counts) in found.items():
        drawn = bootstrap_values(np.stack(counts), config, lambda sums: miou_and_accuracy(sums)[:1])
        details = {"protocols": {"dense_linear": resampled_details(["miou"], drawn)}}
        (run / one.result.details).write_text(json.dumps(details))
    assert make_verdict(configs, results).sentences == expected
    details["protocols"]["dense_linear"]["resampled"]["miou"] = [0.5] * 199  # of other resamples
    (image / found[image][0].result.details).write_text(json.dumps(details))
    (sentence,) = make_verdict(configs, results).sentences
    assert sentence.split("; 12 test images")[0] == expected[0].split("; 12 test images")[0]
    assert "image views (seed 0)" in sentence


def test_old_rows_have_the_floor_of_their_own_architecture(tmp_path):
    """Rows of samclr 0.1 say nothing of the model: that of their run counts."""
    small, large = tmp_path / "small", tmp_path / "large"
    other = replace(REGION, model=replace(REGION.model, backbone="resnet50"))
    results = {large: [measured(large, 60, untrained=True)], small: [measured(small, 90)]}
    verdict = make_verdict({small: REGION, large: other}, results)
    assert "the untrained backbone" not in verdict.sentences[0]
    assert any("No untrained floor" in one.text for one in verdict.missing)
    alike = make_verdict({small: REGION, large: replace(REGION, seed=1)}, results)
    assert "30.0 points over the untrained backbone" in alike.sentences[0]


def test_what_is_missing_is_said_with_its_command(tmp_path):
    run = tmp_path / "run"
    verdict = make_verdict({run: REGION}, {run: [measured(run, 90)]})
    assert verdict.sentences == ("Region views: 90.0% kNN on digits (95% interval 85.0 to 95.0; 100 test images).",)
    floor, image = verdict.missing
    assert floor.command == f"samclr evaluate {run} --untrained --on PATH/digits --image-px 24 --bootstrap 200"
    assert image.command == f"samclr pretrain from-config {run}/config.json --strategy image --out {run}-image"
    nothing, _ = make_verdict({run: REGION}, {run: []}).missing
    assert nothing.text.startswith("No backbone has been measured yet")
    past = replace(measured(run, 90), is_current=False)
    earlier, _ = make_verdict({run: REGION}, {run: [past]}).missing
    assert earlier.text.startswith("Only earlier weights have been measured")


def test_the_command_has_the_one_of_several_numbers_that_the_result_is_of(tmp_path):
    run = tmp_path / "region"
    dense = {"protocol": "in_context", "kind": "dense", "scores": {"miou": Score(value=0.5, low=0.4, high=0.6, n=9)}}
    for name, value in (("in_context_memory", 50), ("overcluster", 3)):
        dense |= {"protocol": name.removesuffix("_memory"), "settings": {"bootstrap": 1000, name: value}}
        verdict = make_verdict({run: REGION}, {run: [measured(run, 90, **dense)]})
        option = f"--{name.replace('_', '-')} {value}"
        assert option in verdict.missing[0].command, verdict.missing[0].command


@pytest.mark.parametrize(
    "other",
    [
        {"settings": SETTINGS | {"image_px": 32}},
        {"counts": {"num_train": 300, "num_test": 100}},
        {"test_fingerprint": "c"},
    ],
)
def test_only_like_is_compared_with_like(tmp_path, other):
    run, image = tmp_path / "run", tmp_path / "image"
    floor = measured(run, 70, untrained=True, **other)
    results = {run: [measured(run, 90), floor], image: [measured(image, 50, **other)]}
    verdict = make_verdict({run: REGION, image: IMAGE}, results)
    assert " over " not in verdict.sentences[0]
    assert [one.text.split(" on digits")[0] for one in verdict.missing] == [
        "Image views were not measured",
        "No untrained floor was measured",
    ]


def test_the_same_images_are_one_set_whatever_it_was_called_then(tmp_path):
    """Earlier versions called a set as its folder; rows without fingerprints are told apart by that name alone."""
    run, image = tmp_path / "run", tmp_path / "image"
    before = [measured(image, 50, on="VOC2012")]
    verdict = make_verdict({run: REGION, image: IMAGE}, {run: [measured(run, 90, on="voc2012")], image: before})
    assert "40.0 points over image views" in verdict.sentences[0]
    unknown = {"train_fingerprint": None, "test_fingerprint": None}
    results = {run: [measured(run, 90, **unknown)], image: [measured(image, 50, on="letters", **unknown)]}
    assert " over " not in make_verdict({run: REGION, image: IMAGE}, results).sentences[0]


def test_commands_name_the_split_that_was_trained_on(tmp_path):
    run = tmp_path / "run"
    for on, typed in (("voc2012:trainaug", "voc2012:trainaug"), ("voc2012", "voc2012"), ("streets", "PATH/streets")):
        found = segmented(run, 0)[0]
        found = replace(found, result=replace(found.result, on=on))
        floor = make_verdict({run: REGION}, {run: [found]}).missing[0]
        assert f"--untrained --dense-on {typed} " in floor.command


def test_seeds_are_averaged_and_a_difference_without_answers_has_no_interval(tmp_path):
    runs = {tmp_path / f"seed{seed}": replace(REGION, seed=seed) for seed in (0, 1)}
    first, second = runs
    results = {first: [measured(first, 90), measured(first, 70, untrained=True)], second: [measured(second, 80)]}
    (sentence,) = make_verdict(runs, results).sentences
    assert sentence.startswith(
        "Region views: 85.0% kNN on digits (mean of 2 seeds, 80.0 to 90.0 by seed; 95% interval "
    )
    assert f"20.0 points over the untrained backbone ({paired(answers(0, 90), answers(0, 70))}, seed 0)." in sentence
    (second / "evaluation/False-80.json").unlink()
    (first / "evaluation/True-70.json").write_text("{")
    (sentence,) = make_verdict(runs, results).sentences
    assert sentence == (
        "Region views: 85.0% kNN on digits (mean of 2 seeds, 80.0 to 90.0 by seed; 100 test images), "
        "20.0 points over the untrained backbone (seed 0)."
    )


def test_runs_on_other_data_are_no_seeds_of_one_run(tmp_path):
    runs = {tmp_path / "sam": (0, 90, "sam"), tmp_path / "felz": (0, 60, "felz")}
    configs = {
        run: replace(REGION, seed=seed, data=replace(REGION.data, regions=tmp_path / store))
        for run, (seed, _, store) in runs.items()
    }
    results = {run: [measured(run, right)] for run, (_, right, _) in runs.items()}
    felz = tmp_path / "felz"
    expected = f"30.0 points over region views (felz) ({paired(answers(0, 90), answers(0, 60))})."
    (sentence,) = make_verdict(configs, results).sentences
    assert sentence.startswith("Region views (sam): 90.0% kNN on digits (95%")
    assert sentence.endswith(expected)
    for run in runs:  # stores that lie elsewhere may hold the same
        write_json(run / "summary.json", {"data_fingerprint": "a"})
    (sentence,) = make_verdict(configs, results).sentences  # two of one seed
    assert sentence.endswith(expected)
    configs[felz] = replace(configs[felz], seed=1)
    (sentence,) = make_verdict(configs, results).sentences
    assert sentence.startswith("Region views: 75.0% kNN on digits (mean of 2 seeds, 60.0 to 90.0 by seed; ")
    write_json(felz / "summary.json", {"data_fingerprint": "b"})
    (sentence,) = make_verdict(configs, results).sentences
    assert "30.0 points over region views (felz) " in sentence
    assert "other seeds" in sentence


def test_counts_have_totals():
    config = replace(PretrainConfig(), optim=replace(PretrainConfig().optim, global_batch_size=128))
    summary = {
        "steps_done": 360,
        "data": {"images": 600, "unreadable_images": 1, "regions": 2400, "images_without_regions": 3},
        "plan_counts": {"upscaled_views": 92_150, "identical_pairs": 0},
    }
    happened, never = count_sentences(config, summary)
    px = config.group.size_px
    assert f"92,150 of 92,160 views were enlarged: their crops are smaller than {px} px" in happened
    assert "1 of 601 images could not be read" in happened
    assert "2,400 regions after the filter, 4.0 per image" in happened
    assert "3 of 600 images have no region after the filter: they are shown whole" in happened
    assert "0 of 46,080 pairs show the same box twice" in never
    assert count_sentences(config, {}) == ([], [])


def test_names_of_runs_are_as_long_as_tells_them_apart(tmp_path):
    runs = [tmp_path / name for name in ("one/grid/a", "two/grid/a", "two/grid/b", "two/other/a")]
    assert list(run_names(runs).values()) == ["one/grid/a", "two/grid/a", "b", "other/a"]


def test_differing_settings_are_those_of_all_runs_in_any_order():
    configs = {Path("a"): RECIPES["simclr"].config, Path("b"): RECIPES["dino"].config}
    labels = {run: run.name for run in configs}
    tables = [_settings_table(dict(order), labels) for order in (configs.items(), [*configs.items()][::-1])]
    first, second = ({name for name, _ in table["differing"]} for table in tables)
    assert first == second
    assert any(name.startswith("method.center") for name in first)


def test_a_run_that_is_named_twice_is_shown_once(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "render", lambda _, **given: ", ".join(given["settings"]["columns"]))
    config, runs = replace(IMAGE, data=DataConfig(scenes=(tmp_path / "none",))), []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(json.dumps(saved_config(config)))
        runs.append(tmp_path / name)
    page = report.write_report([runs[1], runs[0], tmp_path / "a/../b"], tmp_path / "page.html")
    assert page.read_text() == "b, a"

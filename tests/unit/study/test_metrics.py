"""What a study shows: every result that its settings of measuring give, by a title that says what it is of."""

from dataclasses import replace

import pytest
from support.scenes import write_shapes
from support.study_files import IMAGE, result, write_study_files

from samclr.config.evaluation import EvaluationConfig
from samclr.evaluation.protocols.in_context_spec import InContextConfig
from samclr.evaluation.protocols.multilabel_spec import MultilabelConfig
from samclr.evaluation.protocols.overcluster_spec import OverclusterConfig
from samclr.study.job import plan_study
from samclr.study.protocol_studies import SCENES
from samclr.study.recipe import Reference, usual_metrics
from samclr.study.studies import STUDIES
from samclr.study.tables import make_tables, to_csv


def shown(protocol, measuring):
    return {metric.key: metric.title for metric in usual_metrics(measuring) if metric.protocol == protocol}


@pytest.mark.parametrize("study", STUDIES.values(), ids=lambda study: study.name)
def test_every_result_of_a_ready_study_is_shown(study):
    metrics = usual_metrics(study.measuring)
    for config in study.measuring.protocols:
        assert set(config.variants) <= {one.variant for one in metrics if one.protocol == config.name}, config.name
    assert len({(one.kind, one.title) for one in metrics}) == len({one.key for one in metrics}) == len(metrics)


def test_figures_with_few_labels_have_columns():
    shots = (1, 2, 4, 8, 16, 32, 64, 96)
    assert shown("multilabel", SCENES.measuring) == {
        "multilabel_map": "mAP",
        "multilabel_map_eleven": "mAP, 11 points",
        **{f"multilabel_k{k}_map": f"mAP, few labels, k{k}" for k in shots},
    }
    smoke = STUDIES["dense-smoke"].measuring
    assert shown("few_shot", smoke) == {"few_shot_10pct_top1_last": "linear, few labels, 10pct"}
    assert list(shown("multilabel", EvaluationConfig(protocols=(MultilabelConfig(),)))) == list(
        shown("multilabel", EvaluationConfig())
    )


def test_titles_say_the_number_also_of_the_first():
    own = OverclusterConfig(overcluster=(12, 50, 300))
    assert shown("overcluster", EvaluationConfig(protocols=(own,))) == {
        "overcluster_miou": "mIoU, 12 clusters",
        "overcluster_k300_miou": "mIoU, 300 clusters",
        "overcluster_k50_miou": "mIoU, 50 clusters",
    }
    assert shown("in_context", EvaluationConfig(protocols=(InContextConfig(in_context_memory=(4000, 9000)),))) == {
        "in_context_miou": "mIoU, in context, memory of 4,000",
        "in_context_9000_miou": "mIoU, in context, memory of 9,000",
    }


def test_a_published_figure_stands_beside_the_setting_that_it_is_of(tmp_path):
    files = write_study_files(tmp_path)
    small, large = (
        Reference(arm="boxes.dino", set="shapes", key=f"in_context_{size}_miou", value=value, title="DINO (quoted)")
        for size, value in ((102_400, 0.372), (1_024_000, 0.431))
    )
    measuring = EvaluationConfig(protocols=(InContextConfig(in_context=True, in_context_memory=(1_024_000,)),))
    study = replace(files.study, references=(small, large), measuring=measuring)
    given = files.given(on={}, dense_on={"shapes": write_shapes(tmp_path / "shapes")}, seeds=(0,))
    folder, plan = plan_study(study, "tiny", tmp_path / "out", given, parallel=1)
    run = next(run for run in plan.runs() if run.arm.name == IMAGE)
    found = result("in_context", "shapes", kind="dense", miou=0.25)
    folder.update_state(run.name, trained=True, measured={"shapes/dense": {"results": [found]}})
    (table,) = make_tables(folder, plan)
    assert [metric.title for _, metric in table.columns] == ["mIoU, in context, memory of 1,024,000"]
    assert [cell.quoted for row in table.rows if row.arm == "boxes.dino" for cell in row.cells] == [0.431]
    assert "in_context_miou" in to_csv([table], plan.seeds)  # which names it as ever

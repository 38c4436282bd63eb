"""The kinds of sets that backbones are measured on: what commands call them, how they are opened, who measures on them.

A kind is declared here once. `samclr evaluate`, studies, cards, reports and tables go through KINDS; its protocols name
it in their specs. Two functions spell the settings out for their readers, samclr.evaluate and samclr.study.Given, and a
test compares them with KINDS.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from samclr.log import option_of

Kind = str  # a name in KINDS


@dataclass(frozen=True, kw_only=True)
class EvaluationKind:
    """A kind of sets.

    Attributes:
        name: in specs of protocols, results and studies.
        setting: that names such sets: the argument of samclr.evaluate, and the option of commands.
        sets: what messages call them.
        help: of the option of `samclr evaluate`.
        opens: "module:function" of a path, and of what `takes` names, -> an opened set. It imports no torch and raises
            EvaluationError: it runs before anything heavy is loaded.
        task: "module:class", a samclr.evaluation.protocols.base.Task of this kind.
        table: heads the column of sets in the tables of model cards.
        caption: what a report says above its table.
        per_class: title of the protocol whose share of each class a study's page shows.
        takes: settings of samclr.evaluate beside the sets that the opener takes: download, image_column.
    """

    name: str
    setting: str
    sets: str
    help: str
    opens: str
    task: str
    table: str
    caption: str
    per_class: str = ""
    takes: tuple[str, ...] = ()

    @property
    def option(self) -> str:
        """As a command has it: --dense-on."""
        return f"--{self.setting.replace('_', '-')}"


KINDS: dict[Kind, EvaluationKind] = {
    one.name: one
    for one in (
        EvaluationKind(
            name="labelled",
            setting="on",
            sets="labelled sets",
            help="Labelled sets: folders, NAME@ROOT, or names of folders in $SAMCLR_DATA.",
            opens="samclr.datasets.labelled:open_labelled",
            task="samclr.evaluation.protocols.base:LabelledTask",
            table="measured on",
            caption="Top-1 accuracy of the frozen backbone, with 95% intervals over test images.",
            per_class="kNN",
            takes=("download", "image_column"),
        ),
        EvaluationKind(
            name="dense",
            setting="dense_on",
            sets="sets with label maps",
            help="Sets with label maps, for segmentation by patch features.",
            opens="samclr.evaluation.inputs:open_dense_set",
            task="samclr.evaluation.protocols.base:DenseTask",
            table="segmentation of",
            caption="Segmentation from frozen patch features, with 95% intervals over test images.",
            per_class="IoU of the linear probe",
        ),
        EvaluationKind(
            name="multilabel",
            setting="multilabel_on",
            sets="sets with several labels an image",
            help="Sets with several classes an image, for linear SVMs: voc2007@ROOT, or a folder with a labels.csv.",
            opens="samclr.datasets.multilabel:open_multilabel",
            task="samclr.evaluation.multilabel_task:MultilabelTask",
            table="several classes of",
            caption="Linear SVMs on frozen features, several classes an image, with 95% intervals over test images.",
            per_class="average precision of the linear SVM",
            takes=("download",),
        ),
        EvaluationKind(
            name="objects",
            setting="objects_on",
            sets="sets with label maps whose objects look for each other",
            help="Sets with label maps, for objects of a class that find each other by their vectors; or bsds500.",
            opens="samclr.datasets.objects:open_objects",
            task="samclr.embedding.objects.protocol:ObjectsTask",
            table="objects of",
            caption="Objects of one class that find each other by their vectors, with 95% intervals over images.",
            per_class="precision of the ten nearest objects",
        ),
        EvaluationKind(
            name="detection",
            setting="detect_on",
            sets="sets of instances",
            help="Sets of instances (COCO's JSON) or boxes (voc0712@ROOT), for detection by fine-tuning, which takes "
            "hours or days.",
            opens="samclr.evaluation.detection.opening:open_detection_set",
            task="samclr.evaluation.detection.task:DetectionTask",
            table="detection in",
            caption="Average precision of a fine-tuned detector, with 95% intervals over validation images.",
            per_class="box AP of the detector",
        ),
    )
}


def kinds_that_take(setting: str) -> tuple[EvaluationKind, ...]:
    """Those whose sets are opened with this setting."""
    return tuple(one for one in KINDS.values() if setting in one.takes)


def named_sets(asked: Iterable[EvaluationKind]) -> str:
    """`labelled sets with --on, or sets with label maps with --dense-on`, as the reader types the settings."""
    parts = [f"{one.sets} with {option_of(one.setting)}" for one in asked]
    return ", or ".join(filter(None, [", ".join(parts[:-1]), parts[-1]]))

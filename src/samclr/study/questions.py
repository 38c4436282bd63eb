"""A study's differences by the question that they answer, so that long lists can be folded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from samclr.study.compare import VIEWS_AND_TEMPERATURE, Difference, PairedMean, Verdict, phrase
from samclr.study.over_methods import OVER_METHODS
from samclr.study.pictures import IntervalChart, interval_chart

TITLES: dict[tuple[str, ...], str] = {
    OVER_METHODS: "Do the views matter, on the mean of the methods?",
    ("views",): "Do the views matter?",
    VIEWS_AND_TEMPERATURE: "Do the views matter, each at its own temperature?",
    ("method",): "Does the method matter?",
    ("temperature",): "Does the temperature matter?",
    ("padding",): "Does the padding matter?",
    ("settings",): "Do the settings matter?",
    ("training",): "Is training better than none?",
}
WORDS: dict[Verdict, str] = {
    "better": "better",
    "worse": "worse",
    "open": "not told apart",
    "one seed": "of one seed, without an interval",
}
MAX_OPEN = 12  # differences; of more only the first question, and of a question the first drawing, is unfolded


@dataclass(frozen=True, kw_only=True)
class Question:
    """Differences in equal factors: as drawings, one a set, metric and scenes, and in words.

    is_open, is_short: whether the question, and all of its drawings, are shown unfolded.
    """

    title: str
    counts: str
    charts: tuple[IntervalChart, ...]
    sentences: tuple[str, ...]
    is_open: bool
    is_short: bool


def questions_of(differences: Sequence[PairedMean]) -> list[Question]:
    """The questions in the order of their first differences."""
    asked: dict[tuple[str, ...], list[PairedMean]] = {}
    for d in differences:
        asked.setdefault(d.differing, []).append(d)
    return [
        Question(
            title=_title(factors, group),
            counts=_counts(group),
            charts=_charts(group),
            sentences=tuple(phrase(d) for verdict in WORDS for d in group if d.verdict == verdict),
            is_open=number == 0 or len(differences) <= MAX_OPEN,
            is_short=len(group) <= MAX_OPEN,
        )
        for number, (factors, group) in enumerate(asked.items())
    ]


def _title(factors: tuple[str, ...], group: Sequence[PairedMean]) -> str:
    first = group[0]
    if isinstance(first, Difference) and factors == ("training",) and first.pair.baseline.config.model.pretrained:
        return "Is continuing better than the start?"
    return TITLES.get(factors, f"Several at once: {', '.join(factors)}")


def _counts(group: Sequence[PairedMean]) -> str:
    counted = Counter(d.verdict for d in group)
    return ", ".join(f"{counted[verdict]} {word}" for verdict, word in WORDS.items() if counted[verdict])


def _charts(group: Sequence[PairedMean]) -> tuple[IntervalChart, ...]:
    alike: dict[str, list[PairedMean]] = {}
    for d in group:
        alike.setdefault(d.drawn[0], []).append(d)
    return tuple(interval_chart(title, some) for title, some in alike.items())

"""Average precision of ranked images by Pascal VOC's two rules, with the bootstrap over images.

area: the area under precision made monotone, at each recall the best precision at that recall or a higher one (VOC from
2010 on). eleven: the mean of that best precision at recall 0, 0.1, ... 1 (VOC until 2009). Images of equal scores are
one step, so that the order of a list never counts; where scores differ, both are those of the development kits.

Source: Everingham et al., The Pascal visual object classes (VOC) challenge, IJCV 2010, section 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from samclr.config.evaluation import IntervalConfig
from samclr.evaluation.intervals import resamples

RECALLS = np.linspace(0, 1, 11)
RULES = ("area", "eleven")


@dataclass(frozen=True)
class Ranking:
    """Images in the order of their scores, best first, ready to be counted with weights.

    images: [k] numbers of the images that count. is_positive: [k]. ends: [s] last place of each run of equal scores.
    """

    images: Int[np.ndarray, "k"]
    is_positive: Bool[np.ndarray, "k"]
    ends: Int[np.ndarray, "s"]

    @classmethod
    def of(cls, scores: Float[np.ndarray, "n"], marks: Int[np.ndarray, "n"]) -> "Ranking":
        """marks: 1 of positives, -1 of negatives; images with 0 do not count."""
        images = np.flatnonzero(marks)
        images = images[np.argsort(-scores[images], kind="stable")]
        ordered = scores[images]
        ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True)) if len(images) else np.zeros(0, np.int64)
        return cls(images, marks[images] > 0, ends)

    def average_precision(self, times: Float[np.ndarray, "n"] | None = None) -> tuple[float, float]:
        """By area and by eleven points; NaN without a positive. times: how often each image counts, by default once."""
        counted = np.ones(len(self.images)) if times is None else times[self.images]
        right, all_of = (np.cumsum(one)[self.ends] for one in (counted * self.is_positive, counted))
        if not len(right) or right[-1] == 0:
            return float("nan"), float("nan")
        kept = all_of > 0
        recall, precision = right[kept] / right[-1], right[kept] / all_of[kept]
        best = np.maximum.accumulate(precision[::-1])[::-1]
        area = float(np.diff(recall, prepend=0.0) @ best)
        places = np.searchsorted(recall, RECALLS - 1e-12)
        return area, float(best[places].mean())


def mean_average_precisions(
    rankings: Sequence[Sequence[Ranking]], num_images: int, interval: IntervalConfig
) -> tuple[Float[np.ndarray, "2"], Float[np.ndarray, "b 2"]]:
    """By area and by eleven points: the mean over classes, and over samples of training images; and in each resample.

    rankings: of each sample those of its classes, over the same images. A class that has no positive in a resample of
    the images is left out of that resample's mean; NaN where this leaves none.
    """
    flat = [one for sample in rankings for one in sample]

    def means(times: Float[np.ndarray, "n"] | None) -> Float[np.ndarray, "2"]:
        found = np.array([one.average_precision(times) for one in flat])
        kept = ~np.isnan(found[:, 0])
        return found[kept].mean(0) if kept.any() else np.full(2, np.nan)

    return means(None), np.stack([means(times) for times in resamples(num_images, interval)])

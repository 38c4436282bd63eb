"""Compiled counting of detections that are right, by falling score."""

import numba
import numpy as np

RIGHT, WRONG, IGNORED = 1, 2, 0


@numba.njit(nogil=True, cache=True)
def _curve(images, outcomes, times, num_objects, recall, precision):  # type: ignore[no-untyped-def]
    """Fill recall [d], and precision [d] made monotone: the best at this recall or a higher one. Returns their length.

    outcomes: [d] at one threshold.
    """
    right, wrong, count = 0.0, 0.0, 0
    for number in range(len(images)):
        weight, outcome = times[images[number]], outcomes[number]
        if weight == 0 or outcome == IGNORED:
            continue
        if outcome == RIGHT:
            right += weight
        else:
            wrong += weight
        recall[count] = right / num_objects
        precision[count] = right / (wrong + right + np.spacing(1.0))
        count += 1
    for number in range(count - 1, 0, -1):
        precision[number - 1] = max(precision[number - 1], precision[number])
    return count


@numba.njit(nogil=True, cache=True)
def precisions_of_class(images, outcomes, times, num_objects, recalls):  # type: ignore[no-untyped-def]
    """Of one class [t r], as COCOeval.accumulate: the best precision at this recall or a higher one."""
    found = np.zeros((len(outcomes), len(recalls)))
    recall, precision = np.empty(len(images)), np.empty(len(images))
    for threshold in range(len(outcomes)):
        count = _curve(images, outcomes[threshold], times, num_objects, recall, precision)
        place = 0
        for number in range(len(recalls)):
            while place < count and recall[place] < recalls[number]:
                place += 1
            if place == count:
                break
            found[threshold, number] = precision[place]
    return found


@numba.njit(nogil=True, cache=True)
def areas_of_class(images, outcomes, times, num_objects):  # type: ignore[no-untyped-def]
    """Of one class [t], the area under precision made monotone."""
    found = np.zeros(len(outcomes))
    recall, precision = np.empty(len(images)), np.empty(len(images))
    for threshold in range(len(outcomes)):
        count = _curve(images, outcomes[threshold], times, num_objects, recall, precision)
        last = 0.0
        for number in range(count):
            found[threshold] += (recall[number] - last) * precision[number]
            last = recall[number]
    return found

"""Whether two pictures are one and the same photograph: re-encoded, resized, or with up to a fifth of a side cut off.

Vectors alone do not tell a crop of a photograph from another photograph of the like; laid over each other, the two do.
Of one picture the window is looked for that the other shows, coarsely over all windows and then finely. What is
compared is fine detail, what is left of 32x32 cells without their surroundings' mean: light and colour of a meadow
under a sky are alike in many photographs, its detail is not. The limits were measured on BSDS500
(benchmarks/near_duplicates.py).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image

THUMB_PX = 64
LEAST_DETAIL = 0.75  # correlation of detail: copies have at least 0.83, distinct photographs at most 0.53
LEAST_COARSE = 0.85  # correlation of 16x16 cells at the best window: copies have at least 0.92
FLAT = 3.0  # deviation of grey under which a picture has nothing to be laid over by
SAME_GREY, SAME_COLOUR = 1.5, 4.0  # mean differences under which pictures without detail are one
COARSE, FINE = 16, 32  # cells a side
SHARES = {1.0: 1, 0.95: 3, 0.9: 4, 0.85: 6, 0.8: 7}  # of a side that a window takes, and places that are tried
STEP_PX, LEAST_STEP_PX = 2.0, 0.2

Thumb = tuple[UInt8[np.ndarray, "h w"], Float[np.ndarray, "3"]]


def thumb_of(pixels: UInt8[np.ndarray, "h w 3"], box_xyxy: tuple[int, int, int, int] | None = None) -> Thumb:
    """A picture, or a box of it, as it is compared: grey at 64x64 px whatever its aspect, and its mean colour."""
    part = pixels if box_xyxy is None else pixels[box_xyxy[1] : box_xyxy[3], box_xyxy[0] : box_xyxy[2]]
    grey = Image.fromarray(np.ascontiguousarray(part)).convert("L").resize((THUMB_PX, THUMB_PX), Image.Resampling.BOX)
    return np.asarray(grey), part.reshape(-1, 3).mean(0)


def is_same(first: Thumb, second: Thumb) -> bool:
    """Whether the two show one photograph, whole or with a margin cut off one of them."""
    return bool(are_same([first, second], np.array([0]), np.array([1]))[0])


def are_same(
    thumbs: Sequence[Thumb], first: Int[np.ndarray, "p"], second: Int[np.ndarray, "p"]
) -> Bool[np.ndarray, "p"]:
    """As `is_same`, of pairs of places in `thumbs`: the windows of each are made once for all its pairs."""
    grey = np.stack([thumb[0] for thumb in thumbs]).astype(np.float32)
    small = _unit(_cells(COARSE) @ grey @ _cells(COARSE).T).reshape(len(grey), -1)
    fit = np.full(len(first), -1.0)
    window, is_turned = np.zeros(len(first), np.int64), np.zeros(len(first), bool)
    for whole, shown, turned in ((first, second, False), (second, first, True)):
        order = np.argsort(whole, kind="stable")
        for pairs in np.split(order, np.flatnonzero(np.diff(whole[order])) + 1):
            fits = _windows_of(grey[whole[pairs[0]]]) @ small[shown[pairs]].T
            best, at = fits.max(0), fits.argmax(0)
            is_better = best > fit[pairs]
            better = pairs[is_better]
            fit[better], window[better], is_turned[better] = best[is_better], at[is_better], turned
    has_detail = grey.std((1, 2)) > FLAT
    may = (fit >= LEAST_COARSE) | ~(has_detail[first] & has_detail[second])
    for pair in np.flatnonzero(may).tolist():
        whole, shown = (second[pair], first[pair]) if is_turned[pair] else (first[pair], second[pair])
        difference = float(np.abs(thumbs[whole][1] - thumbs[shown][1]).max())
        may[pair] = _is_laid_over(grey[whole], grey[shown], int(window[pair]), difference)
    return may


def _is_laid_over(whole: np.ndarray, shown: np.ndarray, number: int, colour_difference: float) -> bool:
    """Whether `shown` is what `whole` shows near its window `number`."""
    row, column = divmod(number, len(_SPANS))
    target = _cells(FINE) @ shown @ _cells(FINE).T
    detail = _unit(_detail(target))
    for laid in _laid_over(whole, shown, (*_SPANS[column], *_SPANS[row])):
        if float((_unit(_detail(laid)) * detail).sum()) >= LEAST_DETAIL:
            return True
    return float(np.abs(laid - target).mean()) <= SAME_GREY and colour_difference <= SAME_COLOUR


Window = tuple[float, float, float, float]  # left, right, top, bottom in px of a thumb


def _windows_of(grey: Float[np.ndarray, "h w"]) -> Float[np.ndarray, "w c"]:
    """The cells of all windows of a picture, at unit length."""
    cells = (_ALL @ grey @ _ALL.T).reshape(len(_SPANS), COARSE, len(_SPANS), COARSE).transpose(0, 2, 1, 3)
    return _unit(np.ascontiguousarray(cells)).reshape(-1, COARSE * COARSE)


def _laid_over(whole: np.ndarray, shown: np.ndarray, window: Window) -> Iterator[Float[np.ndarray, "s s"]]:
    """The cells of windows that fit better and better: a side of `window` is moved at a time, by less and less."""
    target = _unit(_cells(FINE) @ shown @ _cells(FINE).T)

    def tried(sides: list[float]) -> tuple[float, np.ndarray]:
        cells = _weights(sides[2], sides[3], FINE) @ whole @ _weights(sides[0], sides[1], FINE).T
        return float((_unit(cells) * target).sum()), cells

    sides, step = list(window), STEP_PX
    fit, laid = tried(sides)
    while step > LEAST_STEP_PX:
        yield laid
        is_better = False
        for side in range(4):
            for move in (step, -step):
                moved = [*sides[:side], sides[side] + move, *sides[side + 1 :]]
                if min(moved) < 0 or max(moved) > THUMB_PX:
                    continue
                new_fit, cells = tried(moved)
                if new_fit > fit:
                    sides, fit, laid, is_better = moved, new_fit, cells, True
        step = step if is_better else step / 2
    yield laid


def _weights(start: float, end: float, count: int) -> Float[np.ndarray, "count p"]:
    """Rows that take the mean of each of `count` equal parts of a span of pixels."""
    covered = np.clip(np.linspace(start, end, count + 1)[:, None] - np.arange(THUMB_PX), 0, 1)
    return (np.diff(covered, axis=0) * (count / (end - start))).astype(np.float32)


def _spans() -> list[tuple[float, float]]:
    found = []
    for share, places in SHARES.items():
        length = share * THUMB_PX
        found += [(start, start + length) for start in np.linspace(0, THUMB_PX - length, places).tolist()]
    return found


_SPANS = _spans()
_ALL = np.concatenate([_weights(*span, COARSE) for span in _SPANS])
_WHOLE = {count: _weights(0, THUMB_PX, count) for count in (COARSE, FINE)}


def _cells(count: int) -> Float[np.ndarray, "count p"]:
    return _WHOLE[count]


def _unit(cells: Float[np.ndarray, "*n s t"]) -> Float[np.ndarray, "*n s t"]:
    """Less their mean, at unit length; flat ones are zero."""
    centred = cells - cells.mean((-2, -1), keepdims=True)
    return centred / np.maximum(np.sqrt((centred**2).sum((-2, -1), keepdims=True)), 1e-6)


def _detail(cells: Float[np.ndarray, "s s"]) -> Float[np.ndarray, "s s"]:
    """Less the mean of five by five cells around."""
    around = np.lib.stride_tricks.sliding_window_view(np.pad(cells, 2, mode="edge"), (5, 5))
    return cells - around.mean((-2, -1))

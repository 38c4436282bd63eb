"""Compiled loops over the columns of a whole store (samclr.regions.columns)."""

import numba


@numba.njit(nogil=True, cache=True)
def keep_uncontained(wanted, pair_start, pair_larger, pair_share, max_frac, kept):  # type: ignore[no-untyped-def]
    """Write to kept [r] bool which wanted regions have no more than `max_frac` of their area inside a kept larger one.

    Regions stand image by image, largest first; pairs pair_start[k] to pair_start[k + 1] of region k name the earlier
    regions `pair_larger` that cover a share `pair_share` of it. The rule is that of `samclr.regions.coarsest`.
    """
    for region in range(len(wanted)):
        kept[region] = wanted[region]
        pair = pair_start[region]
        while kept[region] and pair < pair_start[region + 1]:
            kept[region] = not (kept[pair_larger[pair]] and pair_share[pair] > max_frac)
            pair += 1


@numba.njit(nogil=True, cache=True)
def tally(chosen, start, bins, per_image, bars):  # type: ignore[no-untyped-def]
    """Count the chosen [r] of each image into per_image [n], and by their bins [k r] into bars [k b]."""
    for image in range(len(start) - 1):
        for region in range(start[image], start[image + 1]):
            if chosen[region]:
                per_image[image] += 1
                for kind in range(len(bins)):
                    bars[kind, bins[kind, region]] += 1

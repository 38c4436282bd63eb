"""The compiled containment test over shares of overlap that were measured once, for many images and settings."""

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

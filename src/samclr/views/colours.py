"""Constants of augmentation, for its several implementations; compiled kernels repeat the grey weights as literals."""

from itertools import permutations

import numpy as np

BLUR_RADIUS_SIGMAS = 3.0
JITTER_PARTS = ("brightness", "contrast", "saturation", "hue")
JITTER_ORDERS = np.array(list(permutations(range(4))))
GREY_WEIGHTS = (0.2989, 0.587, 0.114)

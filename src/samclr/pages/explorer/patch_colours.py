"""What a run's backbone makes of a scene: the three directions in which its patch features differ most, as colours."""

import io
import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from samclr.pages.explorer.objects import principal
from samclr.scenes.images import open_image

Moment = Literal["before", "after"]
CELLS = 28  # of the feature map, along the shorter side of a scene
MOST_PX = 1024  # shorter side of what goes through the backbone
SHOWN_RANGE = 2.0, 98.0  # percentiles that become the darkest and the lightest of each colour


class PatchColours:
    """Pictures of patch features by a run's weights, of before training or after."""

    def __init__(self, run: Path):
        self._run, self._backbones, self._working = run, dict[str, Any](), threading.Lock()

    def png(self, jpeg: bytes, moment: Moment) -> bytes:
        """A pixel for each cell of the backbone's last feature map.

        Raises:
            RunError: the run has no checkpoint yet, or its first weights cannot be had.
            EvaluationError: the backbone has no feature maps, or does not take such a size.
        """
        import torch  # here, as it takes seconds to import

        from samclr.evaluation.patches import input_size, num_stages, patch_features, patch_px, resize
        from samclr.runs.checkpoint import load_backbone

        with self._working, open_image(jpeg) as image:
            if moment not in self._backbones:
                self._backbones[moment] = load_backbone(self._run, "start" if moment == "before" else None)
            backbone = self._backbones[moment]
            last, patch = num_stages(backbone) - 1, patch_px(backbone)
            size = input_size(image.height, image.width, min(CELLS * patch, MOST_PX), patch)
            pixels = resize(np.asarray(image.convert("RGB")), size)[None]
            features = patch_features(backbone, pixels, last, torch.device("cpu"))[0].numpy()
        encoded = io.BytesIO()
        Image.fromarray(as_colours(features)).save(encoded, "PNG")
        return encoded.getvalue()


def as_colours(features: Float[np.ndarray, "d gh gw"]) -> UInt8[np.ndarray, "gh gw 3"]:
    """The first three principal components of the cells as red, green and blue."""
    d, rows, columns = features.shape
    places = principal(features.reshape(d, -1).T, 3)
    low, high = np.percentile(places, SHOWN_RANGE, axis=0)
    shares = (places - low) / np.maximum(high - low, 1e-12)
    return np.round(shares.clip(0, 1) * 255).astype(np.uint8).reshape(rows, columns, 3)

"""All layouts, and which one a file is of."""

from collections.abc import Iterable

from samclr.models.layouts import clip, convnext, dinov3, hugging_face_vit, original, resnet
from samclr.models.layouts.base import Layout

LAYOUTS: tuple[Layout, ...] = (
    *hugging_face_vit.LAYOUTS,
    *clip.LAYOUTS,
    *dinov3.LAYOUTS,
    *convnext.LAYOUTS,
    *resnet.LAYOUTS,
    *original.LAYOUTS,
)


def layout_of(names: Iterable[str]) -> Layout | None:
    """The first layout that knows the names."""
    own = list(names)
    return next((layout for layout in LAYOUTS if layout.knows(own)), None)


def model_types() -> list[str]:
    """Each `model_type` of a Hugging Face config.json that some layout is of."""
    return sorted(kind for layout in LAYOUTS for kind in layout.model_types)

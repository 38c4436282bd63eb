"""ImageNette with a shorter side of 320 px."""

from samclr.datasets.named.imagenette_spec import imagenette

SPEC = imagenette(320)

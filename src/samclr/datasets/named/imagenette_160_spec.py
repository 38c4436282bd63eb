"""ImageNette with a shorter side of 160 px."""

from samclr.datasets.named.imagenette_spec import imagenette

SPEC = imagenette(160)

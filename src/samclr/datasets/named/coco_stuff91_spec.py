"""COCO-Stuff with the 91 kinds of stuff and `other` of COCO's stuff task, from its own maps."""

from samclr.datasets.coco import pixelmap_set, stuff_classes

SPEC = pixelmap_set("coco-stuff91", "COCO-Stuff, 91 kinds of stuff and other", stuff_classes)

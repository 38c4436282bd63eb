"""COCO-Stuff with the 27 coarse classes of IIC, PiCIE and STEGO."""

from samclr.datasets.coco import coarse_classes, stuff_set

SPEC = stuff_set("coco-stuff27", "COCO-Stuff, 27 classes", coarse_classes)

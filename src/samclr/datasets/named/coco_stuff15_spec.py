"""COCO-Stuff with the fifteen coarse classes of stuff of IIC (Ji et al., ICCV 2019), from the maps of stuff alone."""

from samclr.datasets.coco import coarse_stuff_classes, pixelmap_set

SPEC = pixelmap_set("coco-stuff15", "COCO-Stuff, 15 classes of stuff", coarse_stuff_classes)

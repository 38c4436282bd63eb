"""COCO-Stuff (Caesar et al., CVPR 2018) on COCO 2017: 171 classes of things and stuff."""

from samclr.datasets.coco import fine_classes, stuff_set

SPEC = stuff_set("coco-stuff", "COCO-Stuff, 171 classes", fine_classes, signs=("stuffthingmaps",))

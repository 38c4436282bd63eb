"""Detection and instance segmentation by fine-tuning: sets of instances, the detector, its training, and COCO's AP."""

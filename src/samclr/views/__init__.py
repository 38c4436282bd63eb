"""Views: the plan (all randomness), the crop (pixels from the bank) and the augmentation (on the device)."""

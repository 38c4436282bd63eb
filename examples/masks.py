"""Masks as a function: all masks of an image by any SAM. sam-digits ships with samclr; for photos take sam-hq-vit-h.

python examples/masks.py [POINTS_PER_SIDE]
"""

from generated import draw_scene, num_steps

import samclr

if __name__ == "__main__":
    generator = samclr.MaskGenerator("sam-digits", points_per_side=num_steps(16), device="cpu")
    found = generator(draw_scene(3))  # a PIL image, or uint8 [h w 3]
    masks = found.masks()  # [r h w] of bool
    print(f"{len(masks)} masks of {found.width}x{found.height} px")
    for box_xyxy, mask, region in zip(found.boxes_xyxy, masks, found.regions, strict=True):
        print(f"box {box_xyxy.tolist()}, {mask.sum()} px, predicted IoU {region.predicted_iou:.2f}")

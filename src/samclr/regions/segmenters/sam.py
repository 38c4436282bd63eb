"""Any SAM as a segmenter."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from samclr.config.devices import Precision
from samclr.config.sam import ComputeConfig
from samclr.log import option_of, say
from samclr.models.devices import choose_device
from samclr.regions.records import ImageRegions, SegmentError, regions_of_scene
from samclr.regions.sam.generator import Mask, MaskGenerator, StageTimes
from samclr.regions.sam.model import load_sam, network_facts
from samclr.regions.sam.published import UNLIKE_FIRST_VERSION
from samclr.regions.segmenters.base import Segmenter
from samclr.regions.segmenters.sam_spec import SamConfig
from samclr.scenes.decode import Scene

AUTOCAST = {"float16": torch.float16, "bfloat16": torch.bfloat16}


class SamSegmenter(Segmenter):
    """Automatic mask generation; every mask is a region. Made once a process, as loading takes seconds."""

    def __init__(self, segmenter: str, options: SamConfig):
        compute = options.compute
        self.device, self.precision = compute_device(compute), compute_precision(compute)
        self.scenes_per_call = 8 if self.device.type == "cuda" else 1
        self._overflow_said = False
        self.pool = ThreadPoolExecutor(max(2, torch.get_num_threads()))
        model = load_sam(segmenter, self.device)
        if compute.compile:
            model.compile()
        self.generator = MaskGenerator(
            model, options.masks, self.pool, int(compute.memory_gb * 1e9), compute.encode_together
        )

    def segment(self, scenes: list[Scene]) -> list[ImageRegions | SegmentError]:
        """See Segmenter. Regions in the generator's order. Where float16 overflows, float32 is used and that is said.

        Raises ArithmeticError if the model's scores or masks are not finite.
        """
        pixels = [scene.pixels for scene in scenes]
        try:
            found = self._generate(pixels, self.precision)
        except ArithmeticError:
            if self.precision != "float16":
                raise
            self._say_overflow(scenes[0].image_id)
            found = self._generate(pixels, "float32")
        return [
            regions_of_scene(scene, (mask.region() for mask in masks if mask.area_px > 0))
            for scene, masks in zip(scenes, found, strict=True)
        ]

    def take_times(self) -> dict[str, float]:
        """Seconds spent in each stage since the last call."""
        times, self.generator.times = self.generator.times, StageTimes()
        return asdict(times)

    @classmethod
    def on_cluster(cls, options: SamConfig, has_gpus: bool) -> SamConfig:
        """The precision that auto is to the actors."""
        compute = options.compute
        if compute.precision != "auto":
            return options
        on_cuda = has_gpus if compute.device == "auto" else compute.device.startswith("cuda")
        return replace(options, compute=replace(compute, precision=automatic_precision(on_cuda)))

    @classmethod
    def for_trial(cls, options: SamConfig) -> SamConfig:
        """On the CPU, not compiled."""
        return replace(options, compute=replace(options.compute, device="cpu", compile=False))

    @classmethod
    def facts(cls, segmenter: str, options: SamConfig) -> dict[str, Any]:
        """Which network, and the precision."""
        return {**network_facts(segmenter), "precision": compute_precision(options.compute)}

    @classmethod
    def why_other(cls, then: dict[str, Any], now: dict[str, Any]) -> str:
        """A store of samclr 0.1: of the same weights and settings it made other masks."""
        unlike = {key: now[key] for key in UNLIKE_FIRST_VERSION if key in now}
        if not unlike or then != {key: value for key, value in now.items() if key not in unlike}:
            return ""
        return (
            f"was begun with {now['segmenter']} as samclr 0.1 ran it, with other layer norms or another "
            f"resizing than now ({', '.join(f'{key} {value}' for key, value in unlike.items())}); "
            f"name another folder, or delete this one: a store does not hold masks of two networks"
        )

    def _generate(self, pixels: list[UInt8[np.ndarray, "_ _ 3"]], precision: str) -> list[list[Mask]]:
        half = AUTOCAST.get(precision)
        with torch.inference_mode(), torch.autocast(self.device.type, half, enabled=half is not None):
            return self.generator.generate(pixels)

    def _say_overflow(self, image_id: str) -> None:
        if not self._overflow_said:
            self._overflow_said = True
            say(
                f"float16 overflows near {image_id}: such scenes are segmented in float32; "
                f"if they are many, {option_of('precision')} bfloat16 is faster"
            )


def compute_device(compute: ComputeConfig) -> torch.device:
    """The device asked for; see models.devices.choose_device."""
    return choose_device(compute.device)


def compute_precision(compute: ComputeConfig) -> str:
    """float32, float16 or bfloat16."""
    if compute.precision != "auto":
        return compute.precision
    return automatic_precision(compute_device(compute).type == "cuda")


def automatic_precision(on_cuda: bool) -> Precision:
    """What `precision` auto is."""
    return "float16" if on_cuda else "float32"

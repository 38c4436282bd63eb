"""Plan and crop the steps ahead in the background; count how long training waits for them."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from samclr.views.backgrounds import mix_backgrounds
from samclr.views.crop import Cropper
from samclr.views.plan import ViewPlan, ViewPlanner
from samclr.views.shares import with_shares

STEPS_AHEAD = 2


class ViewLoader:
    """Iterates over (plan, uint8 crops of each group). One rank gets its slice of each plan's rows.

    Attributes:
        last_wait_s: seconds that the consumer has waited for the latest step.
    """

    def __init__(
        self,
        planner: ViewPlanner,
        cropper: Cropper,
        steps: range,
        *,
        rank: int = 0,
        world_size: int = 1,
        pin_memory: bool = False,
    ):
        self._planner, self._cropper, self._steps = planner, cropper, steps
        self._rank, self._world_size, self._pin_memory = rank, world_size, pin_memory
        self.last_wait_s = 0.0

    def __iter__(self) -> Iterator[tuple[ViewPlan, list[Tensor]]]:
        with ThreadPoolExecutor(1) as pool:
            ahead: deque[Future[tuple[ViewPlan, list[Tensor]]]] = deque()
            steps = iter(self._steps)
            try:
                for step in steps:
                    ahead.append(pool.submit(self._load, step))
                    if len(ahead) > STEPS_AHEAD:
                        yield self._wait(ahead.popleft())
                while ahead:
                    yield self._wait(ahead.popleft())
            finally:
                for future in ahead:
                    future.cancel()

    def _wait(self, future: Future[tuple[ViewPlan, list[Tensor]]]) -> tuple[ViewPlan, list[Tensor]]:
        start = time.perf_counter()
        loaded = future.result()
        self.last_wait_s = time.perf_counter() - start
        return loaded

    def _load(self, step: int) -> tuple[ViewPlan, list[Tensor]]:
        plan = self._planner.plan(step)
        rows = len(plan.image_index)
        plan = plan.rows(self._rank * rows // self._world_size, (self._rank + 1) * rows // self._world_size)
        plan = with_shares(plan, self._planner.regions)
        image_hw, crops = self._planner.image_hw[plan.image_index], []
        for group in plan.groups:
            views = torch.as_tensor(self._cropper.crop(plan.image_index, group.boxes_xyxy, group.size_px))
            mix_backgrounds(views, group, plan.region_index, image_hw, self._planner.regions, self._cropper)
            crops.append(views.pin_memory() if self._pin_memory and views.device.type == "cpu" else views)
        return plan, crops

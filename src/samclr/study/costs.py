"""What the study cost: hours of GPUs, or of CPU cores, for training, measuring and segmenting."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from samclr.study.folder import StudyFolder
from samclr.study.plan import Arm, Plan, Run

HOUR_S = 3600


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one arm, its seeds added up; hours of GPUs, or of cores times time on the CPU.

    `segment_h` is that of the whole region store, which other arms may share, on `segment_device`.
    """

    arm: str
    title: str
    device: str
    num_runs: int
    steps: int
    train_h: float
    measure_h: float
    segment_h: float
    segment_device: str | None
    segment_s_per_image: float | None
    store: str | None

    @property
    def hours(self) -> dict[str, float]:
        """Hours by device, segmenting included."""
        hours = {self.device: self.train_h + self.measure_h}
        if self.segment_device is not None:
            hours[self.segment_device] = hours.get(self.segment_device, 0.0) + self.segment_h
        return hours


def make_costs(folder: StudyFolder, plan: Plan) -> list[Cost]:
    """A row for each arm that has a finished run."""
    return [cost for arm in plan.arms if (cost := _cost(folder, plan, arm)) is not None]


def total_hours(costs: Sequence[Cost]) -> dict[str, float]:
    """Hours by device, each region store counted once."""
    hours: dict[str, float] = {}
    stores: set[str] = set()
    for cost in costs:
        if cost.store in stores:
            cost = replace(cost, segment_device=None)
        for device, more in cost.hours.items():
            hours[device] = hours.get(device, 0.0) + more
        if cost.store is not None:
            stores.add(cost.store)
    return hours


def _cost(folder: StudyFolder, plan: Plan, arm: Arm) -> Cost | None:
    states = [folder.state(Run(arm=arm, seed=seed).name) for seed in plan.seeds]
    done = [state for state in states if state.get("trained")]
    if not done:
        return None
    store = folder.state(arm.store) if arm.store is not None else {}
    images = store.get("images", 0)
    return Cost(
        arm=arm.name,
        title=plan.title_of(arm),
        device=_device(done[0]),
        num_runs=len(done),
        steps=0 if arm.strategy == "untrained" else arm.config.optim.steps,
        train_h=sum(state["train_s"] * _units(state) for state in done) / HOUR_S,
        measure_h=sum(row["measure_s"] * _units(state) for state in done for row in state.get("measured", {}).values())
        / HOUR_S,
        segment_h=store.get("segment_s", 0.0) * _units(store) / HOUR_S if store else 0.0,
        segment_device=_device(store) if images else None,
        segment_s_per_image=store["segment_s"] / images if images else None,
        store=arm.store,
    )


def _device(state: dict[str, object]) -> str:
    return "GPU" if state.get("device") == "cuda" else "CPU"


def _units(state: dict[str, object]) -> int:
    """A GPU counts as one, a process on the CPU as many as it has threads."""
    threads = state.get("threads", 1)
    return threads if isinstance(threads, int) and state.get("device") != "cuda" else 1

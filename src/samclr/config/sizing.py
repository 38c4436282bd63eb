"""What a run is given where its budget was left open: pure rules (docs/decisions/0022-sized-runs.md)."""

from dataclasses import dataclass, replace
from typing import Any, get_args

from samclr.config.devices import TrainingPrecision
from samclr.config.pretrain import OpenSetting, OptimConfig, PretrainConfig
from samclr.config.recipes import RECIPES
from samclr.config.registry import METHODS

OPEN_SETTINGS: tuple[OpenSetting, ...] = get_args(OpenSetting)
MOST_EPOCHS, FULL_EPOCHS_IMAGES = 300, 1000  # so many epochs up to so many images, fewer of more
HOURS = {"cpu": 1.0, "mps": 4.0, "cuda": 24.0}  # the longest run that nobody asked for
FEWEST_STEPS = 100
CPU_BATCH = 64  # so that an hour on a CPU has steps enough
ADAMW_IMAGES = 1000  # the largest folder that a network learns by AdamW from scratch, where the optimiser is open
WARMUPS = ("warmup_steps", "head_warmup_steps")
WARMUP_SHARE = 0.1  # of the steps, where the recipe has no warm-up of its own
USUAL_RATES = {"sgd": 0.015, "adamw": 1e-3, "lars": 0.075}  # of an optimiser that is not the recipe's, at USUAL_BATCH
USUAL_BATCH = 64
FREE_SHARE = 0.8  # of a device's free memory that a step may take
HELD_OUT_SHARE = 0.1  # of recipes that continue weights, where they are not measured on a set
OVER_SAVED = 1.3  # what is kept for the backward pass, times this: gradients and workspaces beside it


def left_open(stated: frozenset[str]) -> tuple[OpenSetting, ...]:
    """The open settings where a user stated these by name; epochs state the steps, a rate is that of an optimiser."""
    told_by = {"steps": {"epochs"}, "optimizer": {"lr", "sgd_momentum"}}
    return tuple(name for name in OPEN_SETTINGS if not stated & ({name} | told_by.get(name, set())))


def usual_held_out(config: PretrainConfig) -> float:
    """The share of the scenes that a new run holds out where that is left open."""
    continues = config.recipe in RECIPES and RECIPES[config.recipe].continues
    has_set = config.runtime.knn_on is not None or config.measuring.dense_on is not None
    return HELD_OUT_SHARE if continues and not has_set else 0.0


def filled_from(config: PretrainConfig, other: PretrainConfig) -> PretrainConfig:
    """What is open takes the other's values; nothing is left open."""
    optim: dict[str, Any] = {name: getattr(other.optim, name) for name in config.auto if hasattr(other.optim, name)}
    if "steps" in config.auto:
        optim["epochs"] = other.optim.epochs
    runtime = {name: getattr(other.runtime, name) for name in config.auto if hasattr(other.runtime, name)}
    return replace(config, auto=(), optim=replace(config.optim, **optim), runtime=replace(config.runtime, **runtime))


def fit_folder(
    config: PretrainConfig, num_images: int, device_kind: str, half: TrainingPrecision, num_cores: int
) -> PretrainConfig:
    """Batch, optimiser, learning rate, precision and workers where they are open; warm-ups, where the steps are not.

    The batch is a power of two within the set, at most the recipe's and CPU_BATCH on a CPU, and divides among ranks.
    A run whose batch and steps are both stated keeps the recipe's optimiser, learning rate and warm-ups, but for those
    that would not be over by its end. `fit_memory` (CUDA alone) and `fit_length` come after it.

    Args:
        device_kind: cpu, cuda or mps.
        half: the half precision that a GPU computes in.
        num_cores: of this machine.
    """
    optim, runtime, auto = config.optim, config.runtime, config.auto
    if not {"global_batch_size", "steps"} & {*auto}:
        fitting = (name for name in WARMUPS if getattr(optim, name) < _num_steps(optim, num_images))
        kept = {"optimizer", "lr", *fitting}
        auto = tuple(name for name in auto if name not in kept)
        config = replace(config, auto=auto)
    if "global_batch_size" in config.auto:
        ranks = runtime.num_devices * runtime.num_nodes
        most = min(optim.global_batch_size, num_images, CPU_BATCH if device_kind == "cpu" else optim.global_batch_size)
        size = 2 ** (max(most, 2).bit_length() - 1)
        optim = replace(optim, global_batch_size=max(size // ranks * ranks, ranks, 2))
    if "optimizer" in auto and num_images <= ADAMW_IMAGES and config.model.pretrained is None:
        optim = replace(optim, optimizer="adamw")
    if "lr" in auto:
        optim = replace(optim, lr=_fitted_rate(config, optim))
    if "steps" not in auto:
        optim = replace(optim, **_warmups(config, _num_steps(optim, num_images)))
    if "precision" in config.auto and device_kind == "cuda":
        runtime = replace(runtime, precision=half)
    if "workers" in config.auto:
        runtime = replace(runtime, workers=max(1, num_cores // runtime.num_devices))
    has = {"micro_batch_size": device_kind == "cuda", "head_warmup_steps": optim.head_warmup_steps > 0}
    auto = tuple(name for name in auto if has.get(name, True))
    return replace(config, auto=auto, optim=optim, runtime=runtime)


def _fitted_rate(config: PretrainConfig, fitted: OptimConfig) -> float:
    """The learning rate for a batch, in two digits: in proportion to it for sgd and lars (Goyal et al., 2017, arXiv
    1706.02677), to its root for adamw. Of an optimiser that is not the recipe's it is the usual one.

    fitted: the settings with their batch and optimiser.
    """
    given, recipe = config.optim, _of_recipe(config)
    rate, made_for = USUAL_RATES[fitted.optimizer], USUAL_BATCH
    if fitted.optimizer == "adamw":  # DINO's teacher lags behind what learns as fast as others
        rate = min(rate, METHODS[config.method.name].demo_lr)
    if fitted.optimizer == recipe.optimizer:
        rate, made_for = given.lr, (given if "global_batch_size" in config.auto else recipe).global_batch_size
    share = fitted.global_batch_size / made_for
    return float(f"{rate * (share**0.5 if fitted.optimizer == 'adamw' else share):.2g}")


def _num_steps(optim: OptimConfig, num_images: int) -> int:
    return replace(optim, warmup_steps=0, head_warmup_steps=0).num_steps(num_images)


def _warmups(config: PretrainConfig, num_steps: int) -> dict[str, Any]:
    """Those that are open: the share of the steps that the recipe has, and where it has none WARMUP_SHARE."""
    counted_for = (config.optim if "steps" in config.auto else _of_recipe(config)).steps
    share_of: dict[str, Any] = {
        name: getattr(config.optim, name) * num_steps // counted_for for name in config.auto if name in WARMUPS
    }
    if share_of.get("warmup_steps") == 0:
        share_of["warmup_steps"] = int(WARMUP_SHARE * num_steps)
    return share_of


def _of_recipe(config: PretrainConfig) -> OptimConfig:
    """The recipe's own numbers; the configuration's, where its recipe is none of ours."""
    return RECIPES[config.recipe].config.optim if config.recipe in list(RECIPES) else config.optim


@dataclass(frozen=True, kw_only=True)
class StepMemory:
    """What a step takes on a device, in bytes.

    Attributes:
        fixed: whatever the rows: weights, gradients, the optimiser's moments, the views of the whole batch.
        a_row: kept for the backward pass for each row that is encoded at a time.
    """

    fixed: int
    a_row: int

    def of(self, rows: int) -> int:
        """The estimate for a step that encodes so many rows at a time."""
        return int(self.fixed + OVER_SAVED * rows * self.a_row)


def fit_memory(config: PretrainConfig, rows: int, memory: StepMemory, free_bytes: int) -> PretrainConfig:
    """The micro-batch where it is open; it no longer is.

    None where all rows at once fit in FREE_SHARE of what is free, else the largest power of two that does, at least 2.

    Args:
        rows: of a device in a step.
        free_bytes: of the device before anything lies there.
    """
    if "micro_batch_size" not in config.auto:
        return config
    auto = tuple(name for name in config.auto if name != "micro_batch_size")
    fitting = most_rows(rows, memory, free_bytes)
    size = None if fitting == rows or rows <= 2 else max(fitting, 2)
    return replace(config, auto=auto, runtime=replace(config.runtime, micro_batch_size=size))


def most_rows(rows: int, memory: StepMemory, free_bytes: float) -> int:
    """Rows that can be encoded at a time in FREE_SHARE of what is free: all, or a power of two of 2 or more; 0 if none.

    rows: of a device in a step.
    """
    sizes = [2**power for power in range(1, rows.bit_length()) if 2**power < rows]
    return max((size for size in (*sizes, rows) if memory.of(size) <= FREE_SHARE * free_bytes), default=0)


def fit_length(config: PretrainConfig, num_images: int, device_kind: str, step_s: float) -> PretrainConfig:
    """Steps and their warm-ups where they are open; nothing is left open.

    MOST_EPOCHS of a folder of up to FULL_EPOCHS_IMAGES images; their number falls with the fourth root of a larger
    one's size. No longer than HOURS, no shorter than FEWEST_STEPS, in two digits.

    step_s: seconds a step, measured.
    """
    optim = config.optim
    if "steps" in config.auto:
        epochs = MOST_EPOCHS * min(1.0, FULL_EPOCHS_IMAGES / num_images) ** 0.25
        wanted = epochs * num_images / optim.global_batch_size
        affordable = HOURS[device_kind] * 3600 / step_s
        steps = max(_two_digits(min(wanted, affordable)), FEWEST_STEPS)
        optim = replace(optim, steps=steps, epochs=None, **_warmups(config, steps))
    return replace(config, auto=(), optim=optim)


def _two_digits(number: float) -> int:
    """Rounded down to two digits, so that a rate measured again mostly gives the same."""
    whole = int(number)
    unit = 10 ** max(len(str(whole)) - 2, 0)
    return whole // unit * unit

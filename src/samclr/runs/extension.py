"""A finished run is given more steps: what it then is, and the stages it is made in."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from samclr.config.pretrain import Extension, PretrainConfig
from samclr.errors import RunError
from samclr.log import option_of
from samclr.runs.saved import newest_step


def extended(run: Path, saved: PretrainConfig, config: PretrainConfig, num_images: int | None) -> PretrainConfig:
    """`config` with the history of the run, and one extension more where it asks a finished run for more steps.

    saved: what the run's config.json holds; num_images: that the run is of, None if that is lost.

    Raises:
        RunError: it asks for fewer steps than were done or promised, for more before the run is finished, or for
            another schedule than the extension under way has.
    """
    if config.extensions not in ((), saved.extensions) or without_length(config) != without_length(saved):
        return config  # another run; whoever opens it says how it differs
    schedule = config.optim.extend_schedule
    if _length(config) == _length(saved):
        if saved.extensions and saved.extensions[-1].schedule != schedule:
            raise RunError(
                f"{run} was extended with {option_of('extend_schedule')} {saved.extensions[-1].schedule}, "
                f"now {schedule}; give the one it was extended with"
            )
        return replace(config, extensions=saved.extensions)
    old, new, done = _num_steps(run, saved, num_images), _num_steps(run, config, num_images), newest_step(run) or 0
    if new < old:
        raise RunError(
            f"{run} is a run of {old:,} steps, {done:,} of them done, and cannot be shortened to {new:,}; "
            f"give more {option_of('steps')} to extend it, or name another {option_of('out')}"
        )
    if done < old:
        raise RunError(
            f"{run} has done {done:,} of its {old:,} steps, and only a finished run is extended; "
            f"finish it first: the same command with the length it was started with"
        )
    if new == old:
        return config
    return replace(config, extensions=(*saved.extensions, Extension(after_steps=old, schedule=schedule)))


def stages(config: PretrainConfig) -> list[PretrainConfig]:
    """The run in its lengths, oldest first; the last is `config` itself."""
    earlier = [
        replace(
            config,
            optim=replace(config.optim, steps=extension.after_steps, epochs=None),
            extensions=config.extensions[:number],
        )
        for number, extension in enumerate(config.extensions)
    ]
    return [*earlier, config]


def refuse_shortened(config: PretrainConfig, num_images: int) -> None:
    """Raise RunError if a length in epochs comes to no more steps than the run had before its last extension."""
    steps = config.optim.num_steps(num_images)
    if config.extensions and config.extensions[-1].after_steps >= steps:
        raise RunError(
            f"epochs is {config.optim.epochs:g}, which of {num_images:,} images are {steps:,} steps, but the run was "
            f"extended after {config.extensions[-1].after_steps:,}; give more {option_of('epochs')}, or no extensions"
        )


def is_stage_of(saved: PretrainConfig, config: PretrainConfig) -> bool:
    """Whether a checkpoint written under `saved` is one of a run of `config`, of the same length or an earlier one."""
    if saved.settings() == config.settings():
        return True
    known = len(saved.extensions)
    if known >= len(config.extensions) or saved.extensions != config.extensions[:known]:
        return False
    same_end = saved.optim.epochs is not None or saved.optim.steps == config.extensions[known].after_steps
    return same_end and without_length(saved) == without_length(config)


def without_length(config: PretrainConfig) -> dict[str, Any]:
    """Everything that decides the result but the number of steps."""
    settings = config.settings()
    del settings["extensions"], settings["optim"]["steps"], settings["optim"]["epochs"]
    return settings


def _length(config: PretrainConfig) -> tuple[int, float | None]:
    optim = config.optim
    return (optim.steps if optim.epochs is None else 0), optim.epochs


def _num_steps(run: Path, config: PretrainConfig, num_images: int | None) -> int:
    if config.optim.epochs is not None and num_images is None:
        raise RunError(
            f"{run} has lost its summary.json, so epochs cannot be counted in steps; give {option_of('steps')}"
        )
    return config.optim.num_steps(num_images or 0)

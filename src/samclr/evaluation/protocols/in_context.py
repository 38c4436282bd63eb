"""In-context segmentation: the patches of a test image take over the labels of their nearest in a memory (Balažević
et al., "Towards in-context scene understanding", NeurIPS 2023), at the settings of open-hummingbird; the search is
exact."""

import time

import torch
from jaxtyping import Float, Float16
from torch import Tensor

from samclr.errors import EvaluationError
from samclr.evaluation.context_memory import Memory, context_memory
from samclr.evaluation.dense_features import chosen_scenes, scenes_fingerprint
from samclr.evaluation.matching import ImageCounts, count_pairs
from samclr.evaluation.neighbours import nearest_shares
from samclr.evaluation.patches import patch_px, stage_number
from samclr.evaluation.protocols.base import DenseProtocol, DenseTask, Outcome
from samclr.evaluation.protocols.in_context_spec import InContextConfig
from samclr.evaluation.protocols.pixels import require_labels, sized_scores
from samclr.evaluation.segmentation import enlarge_argmax
from samclr.evaluation.sizes import check_maps, say_fewer
from samclr.evaluation.square_scenes import stream_test_squares, whole_patches
from samclr.log import option_of, say, tell
from samclr.storage.files import amount_of


class InContext(DenseProtocol[InContextConfig]):
    """Labels of the nearest patches, for each size of the memory."""

    def check(self, task: DenseTask) -> None:
        """The backbone has feature maps of squares."""
        config = self.config
        stage = stage_number(task.backbone, config.in_context_stage, "in_context_stage")
        side = whole_patches(config.in_context_px, patch_px(task.backbone))
        check_maps(task.backbone, side, stage, "in-context segmentation", square=True)

    def measure(self, task: DenseTask) -> list[Outcome]:
        """An outcome for each memory, the first named without a variant."""
        config, one = self.config, task.scenes
        say_fewer(one.name, "training images", config.in_context_num_train, len(one.train))
        say_fewer(one.name, "test images", config.in_context_num_test, len(one.test))
        numbers = chosen_scenes(one.train, config.in_context_num_train, config.in_context_seed)
        test_numbers = chosen_scenes(one.test, config.in_context_num_test, config.in_context_seed)
        stage = stage_number(task.backbone, config.in_context_stage, "in_context_stage")
        side = whole_patches(config.in_context_px, patch_px(task.backbone))
        if side != config.in_context_px:
            tell(f"in context: squares of {side} px, whole patches of {patch_px(task.backbone)} px")
        memory = context_memory(task.backbone, one.train, numbers, config, side, stage, task.device, task.cache)
        banks = {size: Bank(memory, size, one.name, config, task.device) for size in config.in_context_memory}
        found: dict[int, dict[str, list[ImageCounts]]] = {size: {"": [], "_full_size": []} for size in banks}
        num_classes = len(one.test.classes)
        for maps, labels in stream_test_squares(
            task.backbone, one.test, test_numbers, side, stage, task.device, corners=True
        ):
            for size, bank in banks.items():
                shares = bank.shares_of(maps.flatten(1).T).T.reshape(-1, *maps.shape[1:])
                for name, wanted in (("", labels.square), ("_full_size", labels.full)):
                    found[size][name].append(count_pairs(wanted, enlarge_argmax(shares, wanted.shape), num_classes))
        require_labels(found[config.in_context_memory[0]]["_full_size"])
        outcomes = []
        for size, bank in banks.items():
            bank.tell_time()
            scores, details = sized_scores(found[size], num_classes, task.config.interval)
            outcomes.append(
                Outcome(
                    variant="" if size == config.in_context_memory[0] else str(size),
                    scores=scores,
                    settings=config.settings() | {"in_context_memory": size},
                    counts={
                        "num_train": len(numbers), "num_test": len(test_numbers),
                        "num_patches": len(bank.features), "voters": bank.voters,
                    },
                    details=details,
                    train_fingerprint=scenes_fingerprint(one.train, numbers),
                    test_fingerprint=scenes_fingerprint(one.test, test_numbers),
                )
            )  # fmt: skip
        return outcomes


def build(config: InContextConfig) -> InContext:
    """See ProtocolSpec.build."""
    return InContext(config)


def on_device(features: Float16[Tensor, "m d"], device: torch.device) -> Float16[Tensor, "m d"]:
    """Copied; on the CPU they stay where they are. Raises torch.OutOfMemoryError."""
    return features.to(device)


class Bank:
    """A memory of one size, its features on the device: on the CPU they stay mapped if it is the largest."""

    def __init__(self, memory: Memory, size: int, name: str, config: InContextConfig, device: torch.device):
        """Say where it holds less than is asked for.

        Raises:
            EvaluationError: the device has too little memory.
        """
        rows = memory.rows(size)
        whole = bool(rows.all())
        self.shares: Float16[Tensor, "m c"] = memory.shares if whole else memory.shares[rows]
        features = memory.features if whole else memory.features[rows]
        amount = amount_of(features.numel() * features.element_size())
        try:
            self.features: Float16[Tensor, "m d"] = on_device(features, device)
        except torch.OutOfMemoryError:
            raise EvaluationError(
                f"no room on {device} for a memory of {len(features):,} patches, {amount}; "
                f"take a smaller {option_of('in_context_memory')} or {option_of('device')} cpu"
            ) from None
        tell(f"in context: a memory of {len(features):,} patches of width {features.shape[1]} takes {amount}")
        self.voters = min(config.in_context_k, len(features))
        full = size // memory.num_crops * memory.num_crops or size  # equally many of each crop
        if len(features) < full:
            say(f"{name} gives a memory of {len(features)} patches, fewer than the {size} asked for: all are used")
        if self.voters < config.in_context_k:
            say(f"{name} has a memory of {self.voters} patches: all of them vote, not {config.in_context_k}")
        self._config, self._device, self._seconds, self._queries = config, device, 0.0, 0

    def shares_of(self, patches: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """What the nearest say of each patch, on the CPU."""
        start, config = time.perf_counter(), self._config
        shares = nearest_shares(
            patches, self.features, self.shares, config.in_context_k, config.in_context_temperature, self._device
        )
        self._seconds, self._queries = self._seconds + time.perf_counter() - start, self._queries + len(patches)
        return shares

    def tell_time(self) -> None:
        """Tell what the search took."""
        each = 1000 * self._seconds / max(self._queries, 1)
        tell(f"in context: {each:.2f} ms a patch to search {len(self.features):,}")

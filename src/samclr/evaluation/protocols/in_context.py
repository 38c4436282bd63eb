"""In-context segmentation: the patches of a test image take over the labels of their nearest in a memory (Balažević
et al., "Towards in-context scene understanding", NeurIPS 2023), at the settings of open-hummingbird; the search is
exact."""

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Float16
from torch import Tensor

from samclr.errors import EvaluationError
from samclr.evaluation.context_memory import Memory, context_memory, void_class
from samclr.evaluation.dense_features import LOAD_AHEAD, scenes_fingerprint
from samclr.evaluation.matching import ImageCounts, count_pairs
from samclr.evaluation.neighbours import nearest_shares
from samclr.evaluation.patches import RESIZED
from samclr.evaluation.protocols.base import DenseProtocol, DenseTask, Outcome
from samclr.evaluation.protocols.in_context_spec import InContextConfig
from samclr.evaluation.protocols.on_scenes import Squares, chosen_parts
from samclr.evaluation.protocols.pixels import require_labels, sized_scores
from samclr.evaluation.segmentation import enlarge_argmax
from samclr.evaluation.square_scenes import stream_test_squares
from samclr.evaluation.states import kept, load_state
from samclr.log import option_of, say, tell
from samclr.models.fingerprints import cache_key
from samclr.storage.files import amount_of

KIND, FORMAT = "in-context", 1  # of the states in the cache
SIZES = ("", "_full_size")  # that are counted, as scores are named


class InContext(DenseProtocol[InContextConfig]):
    """Labels of the nearest patches, for each size of the memory."""

    def check(self, task: DenseTask) -> None:
        """The backbone has feature maps of squares."""
        self._squares(task).check(task.backbone, "in-context segmentation")

    def measure(self, task: DenseTask) -> list[Outcome]:
        """An outcome for each memory, the first named without a variant."""
        config, one = self.config, task.scenes
        numbers, test_numbers = chosen_parts(
            one, config.in_context_num_train, config.in_context_num_test, config.in_context_seed
        )
        squares = self._squares(task)
        squares.tell_rounded("in context", config.in_context_px)
        side, stage = squares.side_px, squares.stage
        memory = context_memory(task.backbone, one.train, numbers, config, side, stage, task.device, task.cache)
        banks = {size: Bank(memory, size, one.name, config, task.device) for size in config.in_context_memory}
        num_classes = len(one.test.classes)
        prints: dict[str, Any] = {
            "train_fingerprint": scenes_fingerprint(one.train, numbers),
            "test_fingerprint": scenes_fingerprint(one.test, test_numbers),
        }
        void = void_class(config, one.train) or config.in_context_void
        settings = [side, stage, RESIZED, config.settings() | {"in_context_void": void}]
        key = cache_key(task.backbone, task.device, KIND, FORMAT, *prints.values(), *settings)
        found = self._searched(task, test_numbers, side, stage, banks, task.cache / "probes" / f"{KIND}-{key}.pt")
        require_labels(found[config.in_context_memory[0]]["_full_size"])
        outcomes = []
        for variant, (size, bank) in zip(config.variants, banks.items(), strict=True):
            bank.tell_time()
            scores, details = sized_scores(found[size], num_classes, task.config.interval)
            outcomes.append(
                Outcome(
                    variant=variant,
                    scores=scores,
                    settings=config.settings() | {"in_context_memory": size},
                    counts={
                        "num_train": len(numbers), "num_test": len(test_numbers),
                        "num_patches": len(bank.features), "voters": bank.voters,
                    },
                    details=details,
                    **prints,
                )
            )  # fmt: skip
        return outcomes

    def _squares(self, task: DenseTask) -> Squares:
        config = self.config
        return Squares.of(task.backbone, config.in_context_px, config.in_context_stage, "in_context_stage")

    def _searched(
        self, task: DenseTask, numbers: Sequence[int], side: int, stage: int, banks: "dict[int, Bank]", state_file: Path
    ) -> dict[int, dict[str, list[ImageCounts]]]:
        """Of each memory and size what was found in each test image, image by image, kept in a file meanwhile.

        Raises:
            Stopped: by SIGTERM or Ctrl-C; what was found is kept.
        """
        scenes, names = task.scenes.test, [(size, name) for size in banks for name in SIZES]
        state = load_state(state_file) or {"counts": []}
        counts: list[list[Tensor]] = state["counts"]  # of each image, in the order of names
        begin = len(counts) // LOAD_AHEAD * LOAD_AHEAD  # the same images go through the backbone together, always
        with kept(state_file) as keeper:
            if len(counts) < len(numbers):
                shown = stream_test_squares(
                    task.backbone, scenes, numbers[begin:], side, stage, task.device, corners=True
                )
                for maps, labels in islice(shown, len(counts) - begin, None):
                    own: list[Tensor] = []
                    for bank in banks.values():
                        shares = bank.shares_of(maps.flatten(1).T).T.reshape(-1, *maps.shape[1:])
                        for wanted in (labels.square, labels.full):
                            predicted = enlarge_argmax(shares, wanted.shape)
                            own.append(torch.from_numpy(count_pairs(wanted, predicted, len(scenes.classes)).packed))
                    counts.append(own)
                    keeper.keep(lambda: state, is_whole=len(counts) == len(numbers))
        found: dict[int, dict[str, list[ImageCounts]]] = {size: {name: [] for name in SIZES} for size in banks}
        for image in counts:
            for (size, name), rows in zip(names, image, strict=True):
                found[size][name].append(ImageCounts.unpacked(rows.numpy()))
        return found


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
        if self._queries:
            each = 1000 * self._seconds / self._queries
            tell(f"in context: {each:.2f} ms a patch to search {len(self.features):,}")

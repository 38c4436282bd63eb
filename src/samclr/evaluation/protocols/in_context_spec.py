"""In-context segmentation: settings and titles."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from samclr.config.protocols import ProtocolConfig, ProtocolSpec, Shown, first_is_main
from samclr.config.serialise import Bounds, Count, Epochs, InputSide, Seed, Temperature
from samclr.errors import ConfigError
from samclr.log import option_of


@dataclass(frozen=True, kw_only=True)
class InContextConfig(ProtocolConfig):
    """Labels taken over from the nearest patches (Balažević et al. 2023), at the settings of open-hummingbird.

    Attributes:
        in_context: Run in-context segmentation.
        in_context_memory: Patches to search among, equally many of each image; each number has a result of its own.
        in_context_k: Neighbours whose labels are used.
        in_context_temperature: A neighbour weighs exp(cosine similarity / in_context_temperature).
        in_context_px: Side of the squares that images are resized to, in px; rounded down to whole patches.
        in_context_stage: Which feature map, from 0; by default the last.
        in_context_epochs: Times that each training image is cropped anew for the memory.
        in_context_num_train: Size of a seeded random subset of the training images; None takes all.
        in_context_num_test: Size of a seeded random subset of the test images; None takes all.
        in_context_void: What unlabelled pixels of the memory are: background, where a class is called so, or left-out.
        in_context_seed: Seed for subsets, crops, colours and the choice of patches.
    """

    name: ClassVar[str] = "in_context"

    in_context: bool = False
    in_context_memory: Annotated[tuple[int, ...], Bounds(at_least=1, at_most=10**9, filled=True)] = (102_400, 1_024_000)
    in_context_k: Annotated[int, Bounds(at_least=1, at_most=65_536)] = 30
    in_context_temperature: Temperature = 0.02
    in_context_px: InputSide = 512
    in_context_stage: Annotated[int, Bounds(at_least=0, at_most=1000)] | None = None
    in_context_epochs: Epochs = 2
    in_context_num_train: Count | None = None
    in_context_num_test: Count | None = None
    in_context_void: Literal["background", "left-out"] = "background"
    in_context_seed: Seed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        least = min(self.in_context_memory)
        if self.in_context_k > least:
            raise ConfigError(
                f"in_context_k is {self.in_context_k}; expected at most {option_of('in_context_memory')}, {least}",
                "in_context_k",
            )
        if len(set(self.in_context_memory)) < len(self.in_context_memory):
            raise ConfigError("in_context_memory names a number twice; expected each once", "in_context_memory")

    @property
    def is_asked(self) -> bool:
        """Only where it is asked for: it is expensive."""
        return self.in_context

    @property
    def variants(self) -> dict[str, str]:
        """The main one for the first memory, then one for each other."""
        return first_is_main(map(str, self.in_context_memory))

    @staticmethod
    def in_words(setting: str) -> str:
        """See ProtocolConfig."""
        return f"memory of {int(setting):,}"


SPEC = ProtocolSpec(
    title="in context",
    config=InContextConfig,
    build="samclr.evaluation.protocols.in_context:build",
    measures={"miou": "mIoU", "pixel_accuracy": "pixels", "miou_full_size": "mIoU, full size"},
    shown=(
        Shown(measure="miou", title="mIoU, in context"),
        Shown(measure="miou", title="mIoU, in context, memory of 1,024,000", variant="1024000"),
        Shown(measure="miou", title="mIoU, in context", variant=None),
    ),
    prefix="in_context_",
    switch="in_context",
    kind="dense",
    per_class="per_class_iou",
    side="in_context_px",
    told={"in_context_memory": "memory", "in_context_k": "k", "in_context_temperature": "temperature"},
    order=60,
)

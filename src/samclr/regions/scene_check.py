"""Whether a store's rows are of the scenes as they are now: files are replaced, or turned by their EXIF, later."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from samclr.errors import name_some
from samclr.log import say
from samclr.regions.records import ImageRegions
from samclr.regions.store import damaged_text
from samclr.scenes.decode import DecodeError, read_header, read_image
from samclr.scenes.fill import redo_text
from samclr.scenes.reading import content_hash
from samclr.scenes.refs import SceneRef
from samclr.storage.parts import PartsFolder


def misfit(found: ImageRegions, height: int, width: int, hash_now: str) -> tuple[str, bool]:
    """How a row differs from its image, "" where it does not, and whether the image's file is another one.

    height, width: of the upright image now, px.
    """
    is_replaced = bool(found.content_hash) and hash_now != found.content_hash
    if (found.height, found.width) != (height, width):
        sizes = f"its row says {found.width}x{found.height} px, the image has {width}x{height} px"
        return f"{found.image_id}: {sizes}", is_replaced
    return (f"{found.image_id}: another file of the same size" if is_replaced else ""), is_replaced


def replaced_text(store: PartsFolder, replaced: Sequence[str], outcome: str) -> str:
    """What a reader says of rows whose image's file is another one: which, what becomes of them, and the remedy."""
    return (
        f"{len(replaced)} images were replaced since the region store {store.path} was made, and are {outcome}: "
        f"{name_some([*replaced])}; {redo_text(store)} to redo their rows"
    )


@dataclass(kw_only=True)
class SceneCheck:
    """Compares rows with their scenes, as far as there are any, and keeps the names of those that do not fit.

    Attributes:
        scenes: by image id; None looks at nothing.
        replaced: images whose file is another one now. damaged: of the same file, but another size or unreadable.
        unchecked: images that are not among the scenes.
    """

    scenes: dict[str, SceneRef] | None
    replaced: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, refs: Sequence[SceneRef] | None) -> "SceneCheck":
        """With these scenes."""
        return cls(scenes=None if refs is None else {ref.image_id: ref for ref in refs})

    def fault(self, found: ImageRegions) -> str:
        """What does not fit, "" if a row fits its scene or there is none. Reads the scene's file."""
        if self.scenes is None:
            return ""
        ref = self.scenes.get(found.image_id)
        if ref is None:
            self.unchecked.append(found.image_id)
            return ""
        try:
            encoded = read_image(ref)
            header = read_header(encoded)
        except DecodeError as error:
            text, is_replaced = f"{found.image_id}: {error}", True
        else:
            text, is_replaced = misfit(found, header.height, header.width, content_hash(encoded))
        if text:
            (self.replaced if is_replaced else self.damaged).append(text)
        return text

    def tell(self, store: PartsFolder, outcome: str) -> None:
        """Say which rows did not fit, and what became of them."""
        if self.replaced:
            say(replaced_text(store, self.replaced, outcome))
        if self.damaged:
            say(damaged_text(store, self.damaged, outcome))
        if self.unchecked:
            say(f"{len(self.unchecked)} images of {store.path} are not among the scenes: {name_some(self.unchecked)}")

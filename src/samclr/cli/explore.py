"""The command that serves a page to walk through scenes, regions and views."""

from dataclasses import dataclass, field

from tyro.conf import Positional

from samclr.cli.options import Column, Scenes
from samclr.config.explorer import ExplorerData, ExplorerServer
from samclr.config.serialise import Settings
from samclr.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Explore(Settings):
    """Walk through scenes, regions, the filter and views in the browser: a page served on this machine, until Ctrl-C.

    It prints the page's address. Nothing is written but to the user's cache. Without PATH the scenes are those that
    --vectors remembers.

    Example: samclr explore photos/ --regions photos.regions --open
    """

    scenes: Positional[Scenes] = ()
    image_column: Column = None
    data: ExplorerData = field(default_factory=ExplorerData)
    server: ExplorerServer = field(default_factory=ExplorerServer)

    def run(self) -> int:
        """Run the command."""
        from samclr.pages.explorer.server import serve
        from samclr.pages.explorer.source import Source

        if not self.scenes and self.data.vectors is None:
            raise UsageError(
                "samclr explore shows scenes: name them, as samclr explore PATH..., or give --vectors, which "
                "remember theirs"
            )
        source = Source(self.scenes, self.data, image_column=self.image_column, memory_mb=self.server.memory_mb)
        serve(source, self.server)
        return 0

"""Settings of `samclr explore`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from samclr.config.serialise import Bounds, Settings


@dataclass(frozen=True, kw_only=True)
class ExplorerData(Settings):
    """What is shown beside the scenes.

    Attributes:
        regions: Region store of the scenes.
        run: Run directory: its filter, views and seed are what the page begins with.
        vectors: Folder of vectors of the scenes, made by samclr embed.
        duplicates: List of near-duplicates, as samclr duplicates --out writes it, to choose scenes by. Without it they
            are found from the vectors when the page first asks for them.
        bank: Folder of the scene bank; by default the run's, or that of the scenes in the user's cache if there is one.
            Without a bank each picture is decoded from its file.
    """

    regions: Path | None = None
    run: Path | None = None
    vectors: Path | None = None
    duplicates: Path | None = None
    bank: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ExplorerServer(Settings):
    """Where the page is served.

    Attributes:
        host: Address to listen on. Any but this machine's own needs the token in the address that is printed.
        port: Port to listen on; 0 takes any that is free.
        open: Open the page in the browser.
        memory_mb: Most that pictures and scenes kept in memory take, in MB.
    """

    host: str = "127.0.0.1"
    port: Annotated[int, Bounds(at_least=0, at_most=65_535)] = 8765
    open: bool = False
    memory_mb: Annotated[int, Bounds(at_least=16, at_most=65_536)] = 256

"""Two ranks that measure before and after, launched several times from one process: torch is imported once.

python tests/support/measured_ranks.py SETTINGS.pickle, where launches and settings are listed; a rank's last words are
written beside it.
"""

import os
import pickle
import signal
import socket
import sys
from functools import partial
from pathlib import Path

from samclr.config import PretrainConfig
from samclr.errors import SamclrError
from samclr.evaluation import before_after
from samclr.evaluation.protocols.dense_spec import DenseConfig
from samclr.training import devices
from samclr.training.pretrain import pretrain

RANKS = 2
Dying = tuple[int, int, str]  # this rank is killed while step and part are measured


def main(file: Path) -> None:
    """Launch after launch: (name of its words, settings, run, who dies)."""
    devices.AGREE_EVERY = 1  # so that runs of four steps have checkpoints on the way
    before_after.DenseConfig = partial(DenseConfig, dense_steps=20)  # type: ignore[misc, assignment]
    launches: list[tuple[str, PretrainConfig, Path, Dying | None]] = pickle.loads(file.read_bytes())
    for name, config, run, dying in launches:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        ranks: list[int] = []
        for rank in reversed(range(RANKS)):  # the first is born last, and knows the others
            child = os.fork()
            if child == 0:
                _rank(rank, port, partial(_train, config, run, dying, dict(enumerate(reversed([*ranks, os.getpid()])))),
                      file.parent / f"{name}-{rank}.txt")  # fmt: skip
            ranks.append(child)
        for child in ranks:
            os.waitpid(child, 0)


def _rank(rank: int, port: int, work: partial[None], words: Path) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    os.environ |= {"WORLD_SIZE": str(RANKS), "LOCAL_WORLD_SIZE": str(RANKS)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    try:
        work()
        words.write_text("done")
    except SamclrError as error:
        words.write_text(f"{type(error).__name__}: {error}")
    finally:
        devices.leave_ranks()
        os._exit(0)


def _train(config: PretrainConfig, run: Path, dying: Dying | None, pids: dict[int, int]) -> None:
    measure = before_after.Measured.measure

    def killing(self, backbone, step, device):
        if dying is not None and dying[1:] == (step, self.part):
            os.kill(pids[dying[0]], signal.SIGKILL)
        return measure(self, backbone, step, device)

    before_after.Measured.measure = killing  # type: ignore[method-assign]
    pretrain(config, run)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

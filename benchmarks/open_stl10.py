"""Opening STL-10 at its released size: samclr against torchvision's reader. Files of zeros, sparse on most disks.

python benchmarks/open_stl10.py
"""

import hashlib
import tempfile
import time
from pathlib import Path

import psutil
from torchvision.datasets import STL10

from samclr.datasets.labelled import open_labelled

IMAGE_BYTES = 3 * 96 * 96
COUNTS = {"train": 5000, "test": 8000, "unlabeled": 100000}


def main() -> None:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "stl10_binary"
        folder.mkdir()
        for split, count in COUNTS.items():
            with open(folder / f"{split}_X.bin", "wb") as file:
                file.truncate(count * IMAGE_BYTES)
            (folder / f"{split}_y.bin").write_bytes(b"\1" * count)
        for listed in (STL10.train_list, STL10.test_list):
            for entry in listed:
                with open(folder / entry[0], "rb") as file:
                    entry[1] = hashlib.file_digest(file, "md5").hexdigest()
        memory, start = psutil.Process().memory_info().rss, time.perf_counter()
        found = open_labelled(Path(f"stl10@{root}"))
        report("samclr, train and test", start, memory)
        assert (len(found.train.refs), len(found.test.refs)) == (5000, 8000)
        memory, start = psutil.Process().memory_info().rss, time.perf_counter()
        readers = [STL10(root, split=split) for split in ("train", "test")]
        report("torchvision, train and test", start, memory)
        assert [len(reader) for reader in readers] == [5000, 8000]


def report(what: str, start: float, memory: int) -> None:
    grown = psutil.Process().memory_info().rss - memory
    print(f"{what}: {time.perf_counter() - start:.1f} s, {grown / 1e9:.2f} GB more memory")


if __name__ == "__main__":
    main()

"""CIFAR's batches are pickles: whatever they hold, nothing of it is run and nothing unbounded is made."""

import os
import pickle

import numpy as np
import pytest

from samclr.scenes.arrays import cifar_pixels, stl_pixels


class _Runs:
    def __reduce__(self):
        return os.system, ("touch was-run",)


class _BigArray:
    def __reduce__(self):
        return np.ndarray, ((10**12,),)


class _OddDtype:
    def __reduce__(self):
        return np.dtype, ("O", False, True), (3, "|", None, None, None, -1, -1, 63)


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_batch_is_read_as_numpy_wrote_it(tmp_path, protocol):
    data = np.random.default_rng(0).integers(0, 256, (3, 3072), np.uint8)
    (tmp_path / "b").write_bytes(pickle.dumps({"data": data, "labels": [1, 2, 3]}, protocol))
    assert np.array_equal(cifar_pixels(str(tmp_path / "b"), protocol), data.reshape(3, 3, 32, 32).transpose(0, 2, 3, 1))


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": _Runs()}),
        pickle.dumps({"data": _BigArray()}),
        pickle.dumps({"data": np.zeros((2, 3072), object)}),
        pickle.dumps({"data": _OddDtype()}),
        pickle.dumps({"data": np.zeros((2, 3071), np.uint8)}),
        pickle.dumps({"data": np.zeros((2, 3072), np.uint8)})[:-200],
        pickle.dumps({"data": np.asfortranarray(np.zeros((2, 3072), np.uint8))}),
        pickle.dumps([1]),
        b"\x80\x05\x8e" + (1 << 62).to_bytes(8, "little"),
        b"",
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").write_bytes(content)
    with pytest.raises(ValueError, match="not a CIFAR batch"):
        cifar_pixels(str(tmp_path / "b"), 0)
    assert not (tmp_path / "was-run").exists()


@pytest.mark.parametrize("read", [cifar_pixels, stl_pixels])
def test_a_pipe_is_no_batch(tmp_path, read):
    os.mkfifo(tmp_path / "b")
    with pytest.raises(OSError, match="is a pipe; expected a regular file"):
        read(str(tmp_path / "b"), 0)

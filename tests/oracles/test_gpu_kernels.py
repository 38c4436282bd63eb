"""The GPU's kernels without a GPU: run by Triton's interpreter, and compiled for two generations of cards."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton comes with torch for Linux alone")
INTERPRETED = Path(__file__).parents[1] / "support/interpreted_kernels.py"

COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from samclr.views import gpu_kernels as kernels

def compiled(kernel, signature, **constants):
    source = ASTSource(
        fn=kernel,
        signature=signature | dict.fromkeys(constants, "constexpr"),
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
    )
    for capability in (80, 90):
        assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]

compiled(
    kernels.crop_views,
    {"bank": "*u8", "first_byte": "*i64", "whole": "*i32", "real": "*fp32", "out": "*u8"},
    SIZE=128, BLOCK=256,
)
compiled(
    kernels.colour_views,
    {"pixels": "*u8", "whole": "*i32", "real": "*fp32", "norm": "*fp32", "out": "*fp32"},
    HEIGHT=96, WIDTH=96, BLOCK=1024,
)
blur = {"source": "*fp32", "target": "*fp32", "rows": "*i32", "sigmas": "*fp32", "radii": "*i32"}
for across in (True, False):
    compiled(
        kernels.blur_views, blur | {"solarise": "*i32", "norm": "*fp32"},
        HEIGHT=96, WIDTH=96, ACROSS=across, ROWS=8, COLUMNS=32,
    )
print("compiled")
"""


@pytest.mark.slow
def test_interpreted_they_equal_the_cpus():
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--noconftest", str(INTERPRETED)]
    done = subprocess.run(
        command, env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False
    )
    if "only 0-dimensional arrays can be converted" in done.stdout:
        pytest.skip("this Triton's interpreter (3.6 is one) needs NumPy before 2.4")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_they_compile_for_real_cards(tmp_path):
    """To machine code: Triton brings its own assembler and needs no card."""
    script = tmp_path / "compile.py"
    script.write_text(COMPILE)
    environment = os.environ | {"TRITON_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "compiled"

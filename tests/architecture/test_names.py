"""Every name is defined. The linter itself ignores F821, since letters of shapes in annotations read as names."""

import ast
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def undefined(*paths: Path) -> list[str]:
    """Undefined names outside strings."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "F821", "--output-format", "json"]
    done = subprocess.run([*command, *map(str, paths)], capture_output=True, text=True)
    found = []
    for fault in json.loads(done.stdout):
        place = fault["location"]
        line = Path(fault["filename"]).read_text().splitlines()[place["row"] - 1]
        if line[: place["column"] - 1].count('"') % 2 == 0:
            found.append(f"{fault['filename']}:{place['row']}: {fault['message']}")
    return found


def test_every_name_is_defined():
    assert undefined(*(ROOT / name for name in ("src", "tests", "benchmarks"))) == []


def test_the_test_can_fail(tmp_path):
    (tmp_path / "one.py").write_text('def f(x: Float[Tensor, "b c"]) -> None:\n    return cosine(x)\n')
    assert [text.split(": ")[1] for text in undefined(tmp_path)] == [
        "Undefined name `Float`",
        "Undefined name `Tensor`",
        "Undefined name `cosine`",
    ]


def missing_imports(*folders: Path) -> list[str]:
    """What files import of samclr that is not there."""
    missing = []
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "samclr":
                wanted = [(node.module, one.name) for one in node.names]
            elif isinstance(node, ast.Import):
                wanted = [(one.name, "__name__") for one in node.names if one.name.split(".")[0] == "samclr"]
            else:
                continue
            missing += [f"{path.name}: {module}.{name}" for module, name in wanted if not is_there(module, name)]
    return missing


def is_there(module: str, name: str) -> bool:
    try:
        return (
            hasattr(importlib.import_module(module), name) or importlib.util.find_spec(f"{module}.{name}") is not None
        )
    except ModuleNotFoundError:
        return False


def test_what_benchmarks_scripts_and_examples_import_is_there():
    """They import inside functions too, which no run of the tests reaches."""
    assert missing_imports(*(ROOT / name for name in ("benchmarks", "scripts", "examples"))) == []


def test_a_missing_import_is_found(tmp_path):
    (tmp_path / "one.py").write_text("import samclr.parts\nfrom samclr.config import Nothing, PretrainConfig\n")
    assert missing_imports(tmp_path) == ["one.py: samclr.parts.__name__", "one.py: samclr.config.Nothing"]

"""Which room may import which, and how long a module may be."""

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "samclr"
# Lower rooms first; a module imports from its own room and from lower ones. Rooms on one line do not know each other.
ROOMS = [
    {"_version", "errors", "draws"},
    {"log"},
    {"config"},
    {"storage"},
    {"processes"},
    {"scenes"},
    {"datasets"},
    {"bank", "models"},
    {"runs"},
    {"regions"},
    {"views"},
    {"methods"},
    {"losses"},
    {"evaluation"},
    {"embedding"},
    {"training"},
    {"pages"},
    {"demo"},
    {"study"},
    {"cli"},
]
FACADE = {"__init__", "__main__"}  # the package's own door, which opens onto every room
HEAVY = {"torch", "numpy", "pyarrow", "timm", "PIL", "numba"}


def modules() -> dict[str, Path]:
    paths = {".".join(path.relative_to(SOURCES).with_suffix("").parts): path for path in SOURCES.rglob("*.py")}
    return {name: path for name, path in paths.items() if name not in FACADE}


def imports(source: str, only_top: bool = False) -> set[str]:
    tree = ast.parse(source)
    nodes = tree.body if only_top else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def is_tyro(name: str) -> bool:
    return name.split(".")[0] == "tyro"


def level(room: str) -> int:
    for number, rooms in enumerate(ROOMS):
        if room in rooms:
            return number
    raise AssertionError(f"{room} is a room that this test does not know: give it a place in ROOMS, low or high")


def room_of(module: str) -> str:
    return module.split(".")[0]


def upward(module: str, source: str) -> list[str]:
    own = room_of(module)
    used = {room_of(name.removeprefix("samclr.")) for name in imports(source) if name.startswith("samclr.")}
    return sorted(room for room in used if room != own and level(room) >= level(own))


@pytest.mark.parametrize("module", modules())
def test_imports_go_downward(module):
    assert upward(module, modules()[module].read_text()) == []


def test_the_package_itself_is_imported_by_no_module():
    """`from samclr import name` would make the door a part of the house; modules name the room."""
    for module, path in modules().items():
        assert "samclr" not in imports(path.read_text()), module


def test_the_test_can_fail():
    assert upward("bank.bank", "from samclr.training.pretrain import pretrain\nimport samclr.views.plan") == [
        "training",
        "views",
    ]
    assert upward("config.views", "def f():\n    from samclr.scenes.refs import SceneRef") == ["scenes"]
    assert upward("models.heads", "from samclr.bank.tiles import Tiles") == ["bank"]  # peers
    assert upward("training.pretrain", "from samclr.bank.bank import SceneBank") == []
    with pytest.raises(AssertionError, match="give it a place"):
        upward("config.views", "import samclr.attic.old")


def is_light(module: str) -> bool:
    return room_of(module) in ("config", "log", "errors", "cli") or module.endswith("_spec")


@pytest.mark.parametrize("module", [name for name in modules() if is_light(name)])
def test_light_modules_import_nothing_heavy(module):
    names = {name.split(".")[0] for name in imports(modules()[module].read_text(), only_top=True)}
    assert not names & HEAVY


def test_tyro_is_known_to_the_command_line_alone():
    users = {
        module for module, path in modules().items() if "tyro" in {n.split(".")[0] for n in imports(path.read_text())}
    }
    assert {room_of(module) for module in users} == {"cli"}


def test_modules_stay_short():
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules().items()}
    assert {module: n for module, n in lengths.items() if n > 400} == {}

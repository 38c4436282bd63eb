"""Who may import whom, and how long a module may be."""

import ast
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2] / "src" / "samclr"
# Lower layers first; a module imports only from its own layer and from lower ones.
LAYERS = [
    {"errors", "__init__"},
    {"settings", "method_config", "normalisation", "ranks", "storage"},
    {"view_config"},
    {"config", "charts", "pages", "terminal"},
    {"segmenter_config", "evaluation_config", "stopping", "ray_cluster"},
    {"workers"},
    {"recipes"},
    {"scenes.remote", "scenes.catalogue"},
    {"scenes.names", "scenes.tiles"},
    {"cache"},
    {"scenes.refs"},
    {"scenes.images", "scenes.notes", "scenes.tar_members"},
    {"scenes.parquet", "scenes.tars", "scenes.arrays", "scenes.hub", "scenes.label_maps"},
    {"scenes.containers"},
    {"scenes.layouts"},
    {"scenes.sources", "scenes.decode", "scenes.labelled_scenes", "scenes.__init__"},
    {"scenes.download", "scenes.check"},
    {"study.recipe", "study.studies", "study.load", "study.plan", "study.planning", "study.__init__"},
    {"parts", "fill"},
    {"scenes.bank", "scenes.places"},
    {"regions"},
    {"views"},
    {"models"},
    {"checkpoint", "optim"},
    {"methods", "evaluation"},
    {"devices", "micro_batches"},
    {"monitor", "progress", "run_directory", "loggers"},
    {"training_data"},
    {"pretrain", "gallery", "card"},
    {"dry_run", "report", "look", "export"},
    {"demo"},
    {"study.folder"},
    {"study.compare", "study.costs", "study.shell", "study.status", "study.measure"},
    {"study.runs", "study.tables", "study.pictures"},
    {"study.worker", "study.page"},
    {"study.engine"},
    {"study.ray_slots"},
    {"study.job"},
    {"command_options"},
    {"region_commands", "data_commands", "study_commands"},
    {"commands"},
    {"cli"},
]
NEVER = [
    ("evaluation", "methods"),
    ("models", "methods"),
    ("views", "models"),
    ("regions", "views"),
    ("scenes", "regions"),
]
HEAVY = {"torch", "numpy", "pyarrow", "timm", "PIL", "numba"}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(SOURCES).with_suffix("").parts): path
        for path in SOURCES.rglob("*.py")
        if path.name != "__init__.py" or path.parent != SOURCES
    }


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


def layer_of(module: str) -> int:
    for number, members in enumerate(LAYERS):
        if any(module == member or module.startswith(f"{member}.") for member in members):
            return number
    raise AssertionError(f"{module} stands in no layer of this test: add it")


def upward(module: str, source: str) -> list[str]:
    names = set(modules())
    targets = {name.removeprefix("samclr.") for name in imports(source) if name.startswith("samclr.")}
    return sorted(t for t in targets if (t in names or f"{t}.__init__" in names) and layer_of(t) > layer_of(module))


def test_imports_go_downward():
    for module, path in modules().items():
        # evaluation writes results beside the run, which is named one layer above it
        found = [t for t in upward(module, path.read_text()) if (module, t) != ("evaluation.rows", "run_directory")]
        assert found == [], f"{module} imports upwards: {found}"


def test_the_test_can_fail():
    assert upward("scenes.bank", "from samclr.pretrain import pretrain\nimport samclr.views.plan") == [
        "pretrain",
        "views.plan",
    ]
    assert upward("config", "def f():\n    from samclr.recipes import RECIPES") == ["recipes"]
    assert upward("pretrain", "from samclr.scenes.bank import SceneBank") == []


@pytest.mark.parametrize(("user", "used"), NEVER)
def test_what_must_not_know_each_other(user, used):
    for module, path in modules().items():
        if module == user or module.startswith(f"{user}."):
            assert not any(name.startswith(f"samclr.{used}") for name in imports(path.read_text())), module


def test_nothing_imports_the_command_line():
    assert [m for m, path in modules().items() if "samclr.cli" in imports(path.read_text())] == []


@pytest.mark.parametrize(
    "module",
    [
        "errors",
        "settings",
        "method_config",
        "view_config",
        "normalisation",
        "config",
        "evaluation_config",
        "recipes",
        "terminal",
        "scenes.catalogue",
        "data_commands",
        "commands",
        "cli",
        "study_commands",
        *("study.__init__", "study.recipe", "study.studies", "study.load", "study.plan", "study.planning"),
    ],
)
def test_light_modules_import_nothing_heavy(module):
    names = {name.split(".")[0] for name in imports(modules()[module].read_text(), only_top=True)}
    assert not names & HEAVY


def test_modules_stay_short():
    lengths = {module: len(path.read_text().splitlines()) for module, path in modules().items()}
    assert {module: n for module, n in lengths.items() if n > 400} == {}


def test_public_names():
    import samclr

    assert samclr.__all__ == ["__version__", "load_backbone"]
    assert callable(samclr.load_backbone)

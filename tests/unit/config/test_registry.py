"""What is registered is found by name, once, without torch."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, EntryPoints
from typing import ClassVar

import pytest

from samclr.config import registry
from samclr.config.methods import MethodConfig, MethodSpec
from samclr.config.recipes import RECIPES
from samclr.config.registry import METHODS, Registry, resolve
from samclr.errors import PluginError, UsageError
from samclr.methods.simclr_spec import SPEC


@dataclass(frozen=True, kw_only=True)
class OtherConfig(MethodConfig):
    name: ClassVar[str] = "other"


OTHER = replace(SPEC, config=OtherConfig, recipes=())


@pytest.fixture
def methods() -> Registry[MethodSpec]:
    return Registry("method", "samclr.methods", "MethodSpec")


def test_the_methods_of_the_house_are_found():
    assert {"simclr", "moco", "dino"} <= set(METHODS)
    assert METHODS["moco"].title == "MoCo"
    assert {"simclr", "samclr", "moco", "sammoco", "dino", "samdino"} <= set(RECIPES)
    for spec in METHODS.values():
        assert callable(resolve(spec.build))
        image, region = spec.recipes[:2]
        assert (image.config.views.strategy, region.config.views.strategy) == ("image", "region")
        assert image.config.recipe == spec.name


def test_an_unknown_name_is_answered_by_the_nearest(methods):
    with pytest.raises(UsageError, match=r"'mocco' is not a method; did you mean moco\?"):
        methods["mocco"]
    with pytest.raises(UsageError, match=r"'samclrr' is not a recipe; did you mean samclr or simclr\?"):
        RECIPES["samclrr"]


def test_another_one_is_registered_once(methods):
    methods.register(OTHER)
    assert methods.register(OTHER) is methods["other"] is OTHER
    with pytest.raises(PluginError, match="two methods called other"):
        methods.register(replace(OTHER, title="Another"))
    with pytest.raises(PluginError, match="gave a str; expected a MethodSpec"):
        methods.register("other")


def test_entry_points_are_found(methods, monkeypatch):
    entry = EntryPoint(name="other", value=f"{__name__}:OTHER", group="samclr.methods")
    monkeypatch.setattr(EntryPoint, "load", lambda self: OTHER)
    monkeypatch.setattr(registry, "_entry_points", lambda: EntryPoints([entry]))
    assert list(methods) == [*METHODS, "other"]


def test_an_entry_point_that_cannot_be_imported_is_named(methods, monkeypatch):
    entry = EntryPoint(name="lost", value="no_such_package:SPEC", group="samclr.methods")
    monkeypatch.setattr(registry, "_entry_points", lambda: EntryPoints([entry]))
    with pytest.raises(PluginError, match=r"the method lost of a package \(no_such_package:SPEC\) cannot be imported"):
        len(methods)


def test_a_builder_that_is_not_there_is_named():
    with pytest.raises(PluginError, match=r"samclr.methods.simclr:nothing cannot be imported"):
        resolve("samclr.methods.simclr:nothing")


def test_threads_that_ask_first_all_wait_until_it_is_filled(monkeypatch):
    slow = Registry("method", "samclr.methods", "MethodSpec")
    find = slow._find
    monkeypatch.setattr(slow, "_find", lambda: (time.sleep(0.05), find()))
    with ThreadPoolExecutor(4) as pool:
        assert [one.name for one in pool.map(lambda _: slow["simclr"], range(4))] == ["simclr"] * 4


def test_help_and_a_loaded_config_import_no_torch():
    code = (
        "import sys\nfrom samclr.cli import commands\nfrom samclr.config import PretrainConfig, SimclrConfig\n"
        "from samclr.config.serialise import from_dict, to_dict\n"
        "assert from_dict(PretrainConfig, to_dict(PretrainConfig())).method == SimclrConfig()\n"
        "heavy = {'torch', 'numpy', 'timm', 'PIL', 'pyarrow'} & set(sys.modules)\nassert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

"""The public names: what there is, that it loads lazily, and the signatures that are promised.

After a change on purpose: PYTHONPATH=src:tests python tests/api/signatures.py > tests/api/signatures.txt
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from api.signatures import FACES, signatures

import samclr
from samclr.config import METHODS
from samclr.methods import Method


def test_all_holds_the_public_names():
    for face in FACES.values():
        assert sorted(face.__all__) == sorted(set(face.__all__))
        assert {name for name in face.__all__ if not hasattr(face, name)} == set()
    assert set(dir(samclr)) == {*samclr.__all__, "config", "evaluation", "losses", "methods"}


def test_signatures_are_those_promised():
    assert signatures() == (Path(__file__).parent / "signatures.txt").read_text()


@pytest.mark.parametrize("package", ["samclr", "samclr.methods", "samclr.evaluation"])
def test_type_checkers_see_what_is_loaded(package):
    tree = ast.parse(Path(FACES[package].__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.asname: line.module for line in block.body for alias in line.names if line.module != "samclr"}
    assert set(seen) == set(FACES[package].__all__) - {"__version__", "SamclrError"}
    places = getattr(FACES[package], "_PLACES", dict.fromkeys(seen, "samclr.evaluation.calls"))
    assert seen == places
    assert (Path(samclr.__file__).parent / "py.typed").exists()


def test_every_method_that_is_shipped_is_public_with_its_losses():
    shipped = {spec.build.partition(":")[0] for spec in METHODS.values() if spec.build.startswith("samclr.methods.")}
    public = {
        one.__module__ for name in samclr.methods.__all__ if issubclass(one := getattr(samclr.methods, name), Method)
    }
    assert len(shipped) > 8
    assert shipped <= public
    used = {name for path in (Path(samclr.__file__).parent / "methods").glob("*.py") for name in _from_losses(path)}
    assert used - {"embedding_spread"} == {"queue_contrast" if n == "info_nce" else n for n in samclr.losses.__all__}


def _from_losses(path):
    lines = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ImportFrom)]
    return [alias.name for line in lines if line.module == "samclr.methods.losses" for alias in line.names]


def test_importing_samclr_loads_no_torch():
    code = (
        "import sys, samclr, samclr.config, samclr.methods, samclr.evaluation\n"
        "samclr.PretrainConfig, samclr.register_method, samclr.config.METHODS['simclr']\n"
        "assert not {'torch', 'numpy', 'tyro', 'PIL'} & set(sys.modules), sorted(sys.modules)\n"
        "samclr.load_backbone\n"
        "assert 'torch' in sys.modules and 'tyro' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_name_that_does_not_exist():
    for face in (samclr, samclr.methods, samclr.evaluation):
        with pytest.raises(AttributeError, match=f"module '{face.__name__}' has no attribute 'embedd'"):
            face.embedd  # noqa: B018

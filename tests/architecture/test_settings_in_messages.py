"""Messages name settings through `samclr.log.option_of`, so that no text is ever searched for them."""

import ast
import re
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "samclr"
SETTING = re.compile(r"`[a-z][a-z0-9_]*`")


def literals(text: str) -> list[str]:
    """Strings that are not docstrings, and hold a word in backquotes."""
    tree = ast.parse(text)
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value for node in strings if id(node) not in docs and SETTING.search(node.value)]


def test_no_message_spells_a_setting_itself():
    found = {str(file): texts for file in sorted(SOURCE.rglob("*.py")) if (texts := literals(file.read_text()))}
    assert found == {}


def test_the_test_can_fail():
    assert literals('"""Of `out`."""\nraise Error(f"{path} exists; name another `out`")\n') == [
        " exists; name another `out`"
    ]

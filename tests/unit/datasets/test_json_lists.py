"""The elements of a JSON object's lists and their places, held to json.loads."""

import json

import pytest

from samclr.datasets import json_lists
from samclr.datasets.json_lists import elements
from samclr.errors import ScenesError

HELD = {
    "info": {"year": 2017, "of": [1, {"a": "]"}]},
    "images": [{"id": 1, "file_name": 'a "b" \\ [.jpg'}, {"id": 2, "file_name": "Straße.jpg"}],
    "numbers": [1, -2.5e3, 34567, True, None, "x"],
    "empty": [],
    "annotations": [{"id": 10**12, "segmentation": [[0.5, 1]], "deep": {"b": [[]]}}],
    "last": 7,
}


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize("written", [{"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])
def test_lists_are_read_as_json_reads_them(tmp_path, monkeypatch, block, written):
    monkeypatch.setattr(json_lists, "BLOCK", block)
    path = tmp_path / "held.json"
    path.write_text(json.dumps(HELD, **written), encoding="utf-8")
    found: dict[str, list[object]] = {}
    for one in elements(path):
        again = json.loads(path.read_bytes()[one.offset : one.offset + one.length])
        assert one.value == again
        found.setdefault(one.key, []).append(again)
    assert found == {key: value for key, value in HELD.items() if isinstance(value, list) and value}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_an_empty_object_and_the_mark_of_utf_8(tmp_path, mark):
    path = tmp_path / "held.json"
    for text, count in ((b"{}", 0), (b' {"a" : [ 1 ,2 ] } \n', 2)):
        path.write_bytes(mark + text)
        assert len(list(elements(path))) == count


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at byte 0 it ends where { is expected; it was cut short"),
        ('{"a": [{"b": 1}, {"b"', "it has a value that is not whole, or not JSON"),
        ('{"a": [{"b": 1}', "it ends where , or ] is expected; it was cut short"),
        ('{"a": [{"b": 1},', "it has a value that is not whole"),
        ('{"a": [1]', "it ends where , or } is expected; it was cut short"),
        ('{"a": [1] "b": 2}', "it has '\"' where , or } is expected"),
        ('{"a": [1]} {}', "it has more than one value"),
        ('{"a": ["\xdf"]}', "it has a text that is not UTF-8"),
        ("[1]", "at byte 0 it has '[' where { is expected"),
        ("{1: 2}", "it has a name that is not a text"),
        ('{"a": [nonsense]}', "it has a value that is not whole, or not JSON"),
        ('{"a": ' + "[" * 100_000, "it is nested too deep"),
    ],
)
def test_what_is_not_whole_is_said_with_its_place(tmp_path, text, said):
    path = tmp_path / "held.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(ScenesError) as error:
        list(elements(path))
    assert str(error.value).startswith(f"{path} is not a whole JSON object: at byte ")
    assert said in str(error.value)


def test_a_value_that_never_ends_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(json_lists, "BLOCK", 1000)
    monkeypatch.setattr(json_lists, "MAX_ELEMENT", 5000)
    path = tmp_path / "held.json"
    path.write_text('{"a": ["' + "x" * 100_000)
    with pytest.raises(ScenesError, match="larger than"):
        list(elements(path))

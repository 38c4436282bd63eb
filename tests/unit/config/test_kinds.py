"""Each kind of sets is declared once; what spells its setting out for readers agrees with the declaration."""

import inspect
from dataclasses import fields, replace

import pytest

import samclr
from samclr.config.kinds import KINDS, kinds_that_take, named_sets
from samclr.config.registry import PROTOCOLS, resolve
from samclr.errors import PluginError
from samclr.evaluation.protocols.base import Task
from samclr.evaluation.protocols.knn_spec import SPEC
from samclr.study.plan import Given


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_kind_is_whole(kind):
    assert callable(resolve(kind.opens))
    task = resolve(kind.task)
    assert issubclass(task, Task)
    assert task.kind == kind.name
    assert kind.setting in inspect.signature(samclr.evaluate).parameters
    assert kind.setting in {one.name for one in fields(Given)}
    assert any(spec.kind == kind.name for spec in PROTOCOLS.values())


def test_settings_that_a_kind_opens_with():
    assert {one.name for one in kinds_that_take("image_column")} == {"labelled"}
    assert kinds_that_take("nothing") == ()


def test_kinds_in_a_sentence():
    labelled, dense = KINDS["labelled"], KINDS["dense"]
    assert named_sets([labelled]) == "labelled sets with `on`"
    text = named_sets([labelled, dense, replace(dense, sets="others", setting="others_on")])
    assert text == "labelled sets with `on`, sets with label maps with `dense_on`, or others with `others_on`"
    assert dense.option == "--dense-on"


def test_a_protocol_is_of_a_kind_that_is_there():
    with pytest.raises(PluginError, match="the protocol knn is of the kind 'video'; expected labelled or dense or"):
        replace(SPEC, kind="video")

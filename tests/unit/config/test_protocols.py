"""Protocols are found by name, their options never meet, and old settings of their images are moved."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest

from samclr.config import EvaluationConfig, EvaluationData, KnnConfig
from samclr.config.protocols import ProtocolConfig, protocols_of, refuse_equal_options, register_protocol
from samclr.config.registry import PROTOCOLS, resolve
from samclr.config.serialise import Share, from_dict, to_dict
from samclr.errors import PluginError
from samclr.evaluation.protocols.knn_spec import SPEC
from samclr.runs.saved import read_config


@dataclass(frozen=True, kw_only=True)
class NearConfig(ProtocolConfig):
    """A protocol with an option of kNN's."""

    name: ClassVar[str] = "near"

    knn_k: Share = 0.5


@dataclass(frozen=True, kw_only=True)
class OtherConfig(ProtocolConfig):
    """A protocol without settings."""

    name: ClassVar[str] = "other"


def test_the_protocols_of_the_house_are_found_in_their_order():
    labelled = ["knn", "linear", "few_shot", "crop_probe", "fine_tune"]
    assert [spec.name for spec in protocols_of()] == [*labelled, "dense", "multilabel", "objects", "detection"]
    assert [spec.name for spec in protocols_of("dense")] == ["dense"]
    for spec in PROTOCOLS.values():
        assert callable(resolve(spec.build))
        assert {one.measure for one in spec.shown} <= set(spec.measures)


def test_another_protocol_is_registered_once(monkeypatch):
    monkeypatch.setattr(PROTOCOLS, "_specs", dict(PROTOCOLS))
    spec = replace(SPEC, title="other", config=OtherConfig, prefix="other_")
    assert register_protocol(spec) is PROTOCOLS["other"]
    assert EvaluationConfig().of("other") == OtherConfig()
    with pytest.raises(PluginError, match="two protocols called other"):
        register_protocol(replace(spec, title="another"))


def test_settings_bear_their_prefix():
    with pytest.raises(PluginError, match="near has the setting knn_k; expected names that begin with near_"):
        replace(SPEC, config=NearConfig, prefix="near_")


def test_two_protocols_never_share_an_option(monkeypatch):
    refuse_equal_options()
    monkeypatch.setattr(PROTOCOLS, "_specs", dict(PROTOCOLS) | {"near": replace(SPEC, config=NearConfig)})
    with pytest.raises(PluginError, match="knn and near both have the setting knn_k; rename one"):
        refuse_equal_options()


@pytest.mark.parametrize("number", [1, 2])
def test_images_of_older_configs_are_moved(number):
    saved = {"knn": {"image_px": 24, "num_train": 5, "num_test": None, "knn_k": 3, "knn_temperature": 0.1}}
    saved["method"] = {"name": "simclr"}
    config = read_config({"format": number, "config": saved})
    assert config.evaluation == EvaluationData(image_px=24, num_train=5)
    assert config.knn == KnnConfig(knn_k=3, knn_temperature=0.1)
    assert from_dict(type(config), to_dict(config)) == config
    assert not {"evaluation", "knn"} & config.settings().keys()  # they decide nothing of the weights

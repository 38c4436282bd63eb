"""kNN and linear probe during training: labelled images are decoded once and kept, features are computed each time."""

import os
from pathlib import Path

import torch
from torch import nn

from samclr.config.normalisation import normalisation_of
from samclr.config.protocols import EvaluationData, KnnConfig
from samclr.datasets.labelled import open_labelled
from samclr.evaluation.features import pixel_features
from samclr.evaluation.linear import linear_probe
from samclr.evaluation.neighbours import knn_predict, top1
from samclr.evaluation.protocols.linear_spec import ProbeConfig
from samclr.evaluation.squares import decode_square
from samclr.log import say_once

SHORT_PROBE = ProbeConfig(probe_epochs=10)


class OnlineProbes:
    """Measures the backbone on one labelled set."""

    def __init__(self, path: Path, data: EvaluationData, config: KnnConfig, device: torch.device):
        labelled = open_labelled(path)
        splits = labelled.train.subset(data.num_train), labelled.test.subset(data.num_test)
        self._pixels = [decode_square(split.refs, data.image_px, os.cpu_count() or 1) for split in splits]
        self._labels = [torch.from_numpy(split.labels) for split in splits]
        if config.knn_k > len(splits[0].refs):
            say_once(f"{labelled.name} has {len(splits[0].refs)} training images: all of them vote, not {config.knn_k}")
        self._num_classes, self._config, self._device = len(labelled.classes), config, device

    def measure(self, backbone: nn.Module) -> dict[str, float]:
        """top-1 of the test split by kNN and by a short linear probe."""
        normalisation = normalisation_of(backbone)
        train, test = (pixel_features(backbone, pixels, self._device, normalisation) for pixels in self._pixels)
        config = self._config
        predicted = knn_predict(test, train, self._labels[0], self._num_classes, config.knn_k, config.knn_temperature)
        curve = linear_probe(train, self._labels[0], test, self._labels[1], self._num_classes, SHORT_PROBE)
        return {"knn_top1": top1(predicted, self._labels[1]), "linear_top1": curve.top1[-1]}

"""MoCo (He et al., CVPR 2020) with the projector of MoCo v2 (Chen et al., arXiv 2003.04297)."""

import math
from typing import Any

import torch
from torch import nn

from samclr.draws import shuffled
from samclr.methods.base import Embeddings, Encoder, Method, Pixels, StepOutput
from samclr.methods.loss_arguments import expect_views
from samclr.methods.losses import queue_contrast
from samclr.methods.metrics import embedding_metrics
from samclr.methods.moco_spec import MocoConfig
from samclr.methods.queue import Queue
from samclr.methods.ranks import gather
from samclr.models.backbone import feature_width
from samclr.models.devices import upload
from samclr.models.heads import moco_head
from samclr.models.momentum import follow, momentum_copy, scheduled_momentum
from samclr.views.batch import ViewBatch


class MoCo(Method):
    """A query finds its key, made by a momentum encoder from another view, among the keys of past steps."""

    def __init__(self, backbone: nn.Module, projector: nn.Module, config: MocoConfig, seed: int, num_steps: int):
        super().__init__()
        self.online_encoder = Encoder(backbone, projector)
        self.momentum_encoder = momentum_copy(self.online_encoder)
        self.queue = Queue(config.queue_size, config.projector.projector_out)
        self.config, self.seed, self.num_steps = config, seed, num_steps
        self.first_key = 0 if config.symmetric else 1  # a view that is always the query needs no key

    @torch.no_grad()
    def targets(self, pixels: Pixels, step: int) -> Embeddings:
        """Keys of the views. In shuffled parts, so that batch norm sees a key in other company than its query."""
        expect_views(pixels[0], "[b v c h w]", "views")
        views = pixels[0][:, self.first_key :]
        flat = views.flatten(0, 1)
        order = upload(shuffled(self.seed, step, len(flat)), flat.device)
        parts = [self.momentum_encoder(part) for part in flat[order].chunk(self.config.key_splits)]
        return (torch.cat(parts)[order.argsort()].unflatten(0, views.shape[:2]),)

    def contrast(self, embeddings: Embeddings, targets: Embeddings, batch: ViewBatch) -> StepOutput:
        """InfoNCE of each query with the key of each other view of its row, against the queue as it was."""
        (queries,), (keys,) = embeddings, targets
        left_out = None
        if self.config.same_image_negatives == "ignore":
            left_out = batch.image_index[:, None] == self.queue.image_index[None]
        terms = [
            queue_contrast(queries[:, query], keys[:, key], self.queue.keys, self.config.temperature, left_out)
            for query in range(queries.shape[1] if self.config.symmetric else 1)
            for key in range(keys.shape[1])
            if key + self.first_key != query
        ]
        return StepOutput(
            loss=torch.stack(terms).mean(),
            chance_loss=math.log(1 + self.config.queue_size),
            metrics=embedding_metrics(queries, batch.image_index, batch.step),
            pending={"keys": keys, "image_index": batch.image_index},
        )

    def after_step(self, step: int, pending: dict[str, Any]) -> None:
        """The momentum encoder follows; then all ranks' keys enter the queue, once."""
        momentum = scheduled_momentum(self.config.ema_momentum, self.config.ema_momentum_end, step, self.num_steps)
        follow(self.momentum_encoder, self.online_encoder, momentum)
        keys, image_index = gather(pending["keys"]), gather(pending["image_index"])
        self.queue.enqueue(keys.flatten(0, 1), image_index.repeat_interleave(keys.shape[1]))


def build(backbone: nn.Module, config: MocoConfig, seed: int, num_steps: int) -> MoCo:
    """MoCo with the projector of its version 2."""
    return MoCo(backbone, moco_head(feature_width(backbone), config.projector), config, seed, num_steps)

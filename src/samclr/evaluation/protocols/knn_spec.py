"""kNN: titles. Its settings stand lower, since training measures by it too."""

from samclr.config.protocols import KnnConfig, ProtocolSpec, Shown

SPEC = ProtocolSpec(
    title="kNN",
    config=KnnConfig,
    build="samclr.evaluation.protocols.knn:build",
    measures={"top1": "top-1", "top5": "top-5"},
    shown=(Shown(measure="top1", title="kNN"),),
    prefix="knn_",
    per_class="per_class_accuracy",
    told={"knn_k": "k", "knn_temperature": "temperature"},
    order=10,
)

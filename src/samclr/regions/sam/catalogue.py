"""Which SAM a name means, where its weights are, and under which licence. Imports neither torch nor transformers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samclr.errors import UsageError
from samclr.models.hub import cached_weights

SHIPPED = Path(__file__).parent / "sam_digits"
OWN_TERMS = "SAM License (Meta's own, gated: accept it on the model's page, then `hf auth login`)"


@dataclass(frozen=True, kw_only=True)
class KnownModel:
    """One row of `samclr segmenters`. `size_mb` is that of the float32 weights."""

    name: str
    hub_id: str
    size_mb: int
    licence: str = "Apache-2.0"
    remark: str = ""


KNOWN = {
    model.name: model
    for model in (
        KnownModel(name="sam-digits", hub_id="", size_mb=2, licence="MIT", remark="ships with samclr: digits only"),
        KnownModel(name="sam-vit-b", hub_id="facebook/sam-vit-base", size_mb=375),
        KnownModel(name="sam-vit-l", hub_id="facebook/sam-vit-large", size_mb=1249),
        KnownModel(name="sam-vit-h", hub_id="facebook/sam-vit-huge", size_mb=2564),
        KnownModel(name="sam-hq-vit-b", hub_id="syscv-community/sam-hq-vit-base", size_mb=379),
        KnownModel(name="sam-hq-vit-l", hub_id="syscv-community/sam-hq-vit-large", size_mb=1254),
        KnownModel(
            name="sam-hq-vit-h", hub_id="syscv-community/sam-hq-vit-huge", size_mb=2570, remark="the paper's segmenter"
        ),
        KnownModel(name="slimsam-77", hub_id="Zigeng/SlimSAM-uniform-77", size_mb=39, remark="small and fast"),
        KnownModel(name="sam2.1-tiny", hub_id="facebook/sam2.1-hiera-tiny", size_mb=156),
        KnownModel(name="sam2.1-small", hub_id="facebook/sam2.1-hiera-small", size_mb=184),
        KnownModel(name="sam2.1-base-plus", hub_id="facebook/sam2.1-hiera-base-plus", size_mb=323),
        KnownModel(name="sam2.1-large", hub_id="facebook/sam2.1-hiera-large", size_mb=898),
        KnownModel(name="edgetam", hub_id="yonigozlan/EdgeTAM-hf", size_mb=56, remark="small and fast"),
        KnownModel(name="facebook/sam3", hub_id="facebook/sam3", size_mb=3440, licence=OWN_TERMS, remark="its tracker"),
    )
}


def hub_id_or_folder(segmenter: str) -> str:
    """What transformers' from_pretrained takes for a --segmenter. A folder wins over a hub id of the same spelling."""
    if segmenter == "sam-digits":
        return str(SHIPPED)
    if Path(segmenter).is_dir():
        return segmenter
    if segmenter in KNOWN:
        return KNOWN[segmenter].hub_id
    if segmenter.startswith((".", "/", "~")) or segmenter.count("/") > 1:
        raise UsageError(f"no such folder: {segmenter}; expected one with config.json and model.safetensors")
    return segmenter


def sam_rows() -> list[dict[str, Any]]:
    """The known models in the table of `samclr segmenters`."""
    return [
        {
            "segmenter": model.name,
            "hub_id": model.hub_id or None,
            "size_mb": model.size_mb,
            "licence": model.licence,
            "is_here": not model.hub_id or cached_weights(model.hub_id) is not None,
            "remark": model.remark,
        }
        for model in KNOWN.values()
    ]

"""Models: backbones from timm, and the heads put on them."""

"""How others name the tensors of their backbones, one family a file."""

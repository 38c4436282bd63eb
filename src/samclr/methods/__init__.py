"""Methods: each paper's loss in one file, declared by the torch-free spec beside it."""

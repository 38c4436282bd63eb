"""The main job on generated scenes."""

"""What vectors remember of their making: commands find scenes and backbone again, or say where they were."""

import json

import pytest
from support.scenes import write_scenes

import samclr
from samclr.config.explorer import ExplorerData
from samclr.embedding.origin import ORIGIN
from samclr.errors import PartsError
from samclr.pages.explorer.source import Source

SMALL = ("--image-px", 32, "--device", "cpu", "--workers", 1)


@pytest.fixture
def made(call, scenes, tmp_path, monkeypatch):
    """Vectors of scenes that were named by a relative path."""
    monkeypatch.chdir(tmp_path)
    status, _, said = call("embed", "scenes", "--backbone", "small-cnn", *SMALL, "--seed", 3, "--out", "v")
    assert status == 0, said
    monkeypatch.chdir("/")
    return tmp_path / "v"


def test_scenes_are_found_again_from_anywhere(call, made, scenes, tmp_path):
    origin = samclr.open_vectors(made).origin
    assert (origin.scenes, origin.found_at) == (("scenes",), (str(scenes),))
    page, file = tmp_path / "page.html", tmp_path / "some.txt"
    status, _, said = call("similar", made, "--to", "a/000.png", "--page", page)
    assert status == 0, said
    assert said.splitlines()[0] == f"scenes: scenes, as {made} remembers them"
    assert page.read_text().count("data:image/jpeg") == 11
    status, out, said = call("similar", made, "--to", "a/000.png", "--box", 0, 0, 9, 9, "--kind", "image", "--json")
    assert (status, len(json.loads(out)["similar"])) == (0, 10), said
    assert call("duplicates", made, "--out", file)[0] == 0
    assert len(Source((), ExplorerData(vectors=made)).catalogue.ids) == 12
    assert call("select", made, "--num", 3, "--out", file)[0] == 0
    assert f"# scenes: {scenes}" in file.read_text().splitlines()


def test_moved_scenes_are_named_and_may_be_told(call, made, scenes, tmp_path):
    scenes.rename(tmp_path / "elsewhere")
    moved = f"the scenes that {made} was made of, scenes, are not there now: no such folder or file: {scenes}"
    status, _, said = call("duplicates", made)
    assert (status, said.strip()) == (1, f"samclr: error: {moved}; name them with --scenes")
    status, _, said = call("explore", "--vectors", made, "--port", 0)
    assert (status, said.strip()) == (1, f"samclr: error: {moved}; name them: samclr explore PATH...")
    status, _, said = call("duplicates", made, "--scenes", tmp_path / "elsewhere")
    assert (status, "remembers" in said) == (0, False)
    status, _, said = call("select", made, "--num", 3, "--out", tmp_path / "some.txt")
    assert (status, moved in said, "some.txt@SCENES takes it" in said) == (0, True, True)
    status, _, said = call(
        "embed", tmp_path / "elsewhere", "--backbone", "small-cnn", *SMALL, "--seed", 3, "--out", made
    )
    assert (status, "(0 new)" in said) == (0, True)  # the same images: it remembers where they are now
    assert call("duplicates", made)[0] == 0


def test_an_untrained_backbone_of_any_seed_embeds_other_images(call, made, scenes, tmp_path):
    (scenes / "a/000.png").rename(tmp_path / "other.png")
    status, out, said = call("similar", made, "--to", tmp_path / "other.png", "--device", "cpu", "--json")
    assert status == 0, said
    first = json.loads(out)["similar"][0]
    assert (first["id"], round(first["similarity"], 2)) == ("a/000.png", 1.0)


def test_a_backbone_that_is_gone_is_named(call, scenes, tmp_path, monkeypatch):
    from safetensors.torch import save_file

    from samclr.config.pretrain import ModelConfig
    from samclr.models.backbone import create_backbone

    monkeypatch.chdir(tmp_path)
    for name in ("w.safetensors", "again.safetensors"):
        save_file(create_backbone(ModelConfig(backbone="small-cnn"), 32).state_dict(), name)
        words = ("--backbone", "w.safetensors", "--architecture", "small-cnn", *SMALL)
        if name == "w.safetensors":
            assert call("embed", scenes, *words, "--out", tmp_path / "v")[0] == 0
            content = (tmp_path / name).read_bytes()
    monkeypatch.chdir("/")
    query = ("similar", tmp_path / "v", "--to", write_scenes(tmp_path / "more", 1) / "a/000.png", "--device", "cpu")
    status, _, said = call(*query)
    assert status == 0, said
    (tmp_path / "w.safetensors").rename(tmp_path / "moved.safetensors")
    status, _, said = call(*query)
    was = f"w.safetensors, is no longer at {tmp_path / 'w.safetensors'}; name it with --backbone"
    assert (status, was in said) == (1, True)
    assert call(*query, "--backbone", tmp_path / "moved.safetensors")[0] == 0
    assert (tmp_path / "moved.safetensors").read_bytes() == content
    status, _, said = call(*query, "--backbone", tmp_path / "again.safetensors")
    assert (status, "has other weights than those that" in said) == (1, True)


def test_folders_that_remember_nothing_open_as_before(call, made, scenes, tmp_path):
    (made / ORIGIN).unlink()
    assert samclr.open_vectors(made).origin is None
    status, _, said = call("duplicates", made)
    does_not = f"the pictures are compared, and {made} does not remember its scenes; name them with --scenes"
    assert (status, does_not in said) == (2, True)
    assert call("duplicates", made, "--scenes", scenes)[0] == 0
    status, _, said = call("similar", made, "--to", "a/000.png", "--box", 0, 0, 9, 9)
    assert (status, "--box in an image of VECTORS needs its pixels, and" in said) == (2, True)
    status, _, said = call("similar", made, "--to", "a/000.png", "--page", tmp_path / "page.html")
    assert (status, "a page shows pictures, and" in said) == (2, True)
    status, _, said = call("select", made, "--num", 3, "--out", tmp_path / "some.txt")
    assert (status, "some.txt@SCENES takes it" in said) == (0, True)


@pytest.mark.parametrize("content", ['{"scenes": 3}', "[]", '{"scenes": [], "found_at": [], "strange": 1}', "{"])
def test_a_damaged_memory_is_said(made, content):
    (made / ORIGIN).write_text(content)
    with pytest.raises(PartsError, match=r"origin.json is damaged.*; remove it"):
        samclr.open_vectors(made).origin  # noqa: B018 - it is read here

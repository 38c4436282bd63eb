"""Names of imported entries against scenes: the whole path decides, and nothing is guessed."""

from samclr.regions.matching import match_names


def test_loosened_paths_are_matched_and_counted():
    names = ["images\\a.jpg", "my%20photo.jpg", "img.jpg", "\u00e9.jpg", "./ok.jpg", "plain.jpg"]
    ids = ["images/a.jpg", "my photo.jpg", "IMG.JPG", "e\u0301.jpg", "ok.jpg", "plain.jpg"]
    found = match_names(names, ids)
    assert found.scene_of == dict(zip(names, ids, strict=True))
    assert sum(found.loosened.values()) == 5


def test_a_base_name_alone_matches_nothing():
    found = match_names(["cam1/1.jpg", "cam2/1.jpg"], ["cam1/1.jpg", "cam1/2.jpg"])
    assert found.scene_of == {"cam1/1.jpg": "cam1/1.jpg"}
    assert found.unmatched == ["cam2/1.jpg"]


def test_two_names_for_one_scene_are_left_out():
    found = match_names(["A.jpg", "a.JPG"], ["a.jpg"])
    assert (found.scene_of, sorted(found.ambiguous)) == ({}, ["A.jpg", "a.JPG"])


def test_a_folder_that_all_names_share():
    found = match_names(["data/x/1.jpg", "data/x/2.jpg"], ["1.jpg", "2.jpg"])
    assert len(found.scene_of) == 2
    assert "data/x/" in next(iter(found.loosened))

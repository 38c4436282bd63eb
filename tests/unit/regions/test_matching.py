"""Names of imported entries against scenes: the whole path decides, and nothing is guessed."""

from samclr.regions.matching import match_names, shared_folder


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


def test_folders_are_left_out_only_when_stated():
    names, ids = ["data\\x\\1.jpg", "data/x/2.jpg", "3.jpg"], ["1.jpg", "2.jpg", "3.jpg"]
    assert match_names(names, ids).scene_of == {"3.jpg": "3.jpg"}
    for prefix in ("data/x", "data/x/", "data\\x\\"):
        assert match_names(names, ids, prefix).scene_of == dict(zip(names, ids, strict=True))
    assert match_names(["cam2/1.jpg"], ["1.jpg"]).unmatched == ["cam2/1.jpg"]
    assert match_names(["cam2/1.jpg", "1.jpg"], ["1.jpg"], "cam2").ambiguous == ["cam2/1.jpg", "1.jpg"]
    assert match_names(["data/x1.jpg"], ["1.jpg"], "data/x").unmatched == ["data/x1.jpg"]


def test_folders_of_the_scenes_are_added_when_stated():
    names, ids = ["1.jpg", "./2.jpg", "x\\3.jpg"], ["val/1.jpg", "val/2.jpg", "val/x/3.jpg"]
    assert not match_names(names, ids).scene_of
    for prefix in ("val", "val/", "val\\"):
        assert match_names(names, ids, add_prefix=prefix).scene_of == dict(zip(names, ids, strict=True))
    assert match_names(["data/1.jpg"], ids, "data", "val").scene_of == {"data/1.jpg": "val/1.jpg"}
    assert match_names(["val/1.jpg"], ids, add_prefix="val").unmatched == ["val/1.jpg"]


def test_the_folder_that_all_names_share():
    assert shared_folder(["data/x/1.jpg", "data\\x\\y\\2.jpg"]) == "data/x/"
    assert shared_folder(["data/x/1.jpg", "1.jpg"]) == ""
    assert shared_folder([]) == ""


def test_a_path_of_many_folders_takes_no_time():
    assert match_names(["a/" * 100_000 + "1.jpg"], ["1.jpg"]).unmatched

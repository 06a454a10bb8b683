import contextlib
import json
import re
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.posetrack import evaluate_posetrack
from eval.posetrack_frames import JOINTS
from eval.posetrack_read import read_posetrack
from eval.posetrack_regions import strictly_inside
from posefix_track.errors import InputError
from tests.posetrack_random import write_perfect_set, write_random_set
from tests.posetrack_slow import inside

COCO = ["nose", "left_eye", "right_eye", *(f"joint_{i}" for i in range(14))]


def broken(tmp_path, side, change):
    """The message about a set of which one side's file was changed."""
    folders = write_perfect_set(tmp_path)
    path = folders[side == "pred"] / "video.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(InputError) as caught:
        evaluate_posetrack(*folders)
    message = str(caught.value)
    assert f"{side}/video.json" in message
    assert "\n" not in message
    return message


def first(document):
    return document["annotations"][0]


@pytest.mark.parametrize(
    ("side", "change", "words"),
    [
        ("pred", lambda d: d.pop("categories"), "'categories', got nothing"),
        ("pred", lambda d: d.pop("images"), "'images', got nothing"),
        ("gt", lambda d: d.pop("annotations"), "'annotations', got nothing"),
        ("pred", lambda d: d.update(annotations=[3]), "'annotations', got a list of 1"),
        ("pred", lambda d: d.update(categories=d["categories"] * 2), "exactly one entry"),
        ("pred", lambda d: d["categories"][0].pop("keypoints"), "joint names"),
        ("pred", lambda d: d["categories"][0].update(keypoints=COCO), "head_bottom"),
        ("pred", lambda d: first(d).pop("track_id"), "integer track_id, got nothing"),
        ("pred", lambda d: first(d).update(track_id="7"), "integer track_id, got '7'"),
        ("gt", lambda d: first(d).update(track_id=True), "integer track_id, got True"),
        ("pred", lambda d: first(d).update(track_id=2**70), "track_id"),
        ("pred", lambda d: first(d).update(track_id=1), "track_id 1 stands twice in frame 'video/000000.jpg'"),
        ("gt", lambda d: first(d).update(track_id=1), "track_id 1 stands twice"),
        ("gt", lambda d: first(d).pop("bbox_head"), "4 finite numbers in bbox_head, got nothing"),
        ("gt", lambda d: first(d).update(bbox_head=[1, 2, 3]), "bbox_head, got a list of 3"),
        ("pred", lambda d: first(d).update(keypoints=[0] * 48), "51 finite numbers in keypoints, got a list of 48"),
        ("pred", lambda d: first(d).update(keypoints=["1"] * 51), "51 finite numbers in keypoints"),
        ("pred", lambda d: first(d).update(keypoints=[None] * 51), "51 finite numbers in keypoints"),
        ("pred", lambda d: first(d).update(scores=[1] * 3), "17 finite numbers in scores, got a list of 3"),
        ("pred", lambda d: first(d).update(image_id="0"), "integer image_id, got '0'"),
        ("pred", lambda d: first(d).update(image_id=99), "image id 99, which 'images' does not list"),
        ("pred", lambda d: d["images"][1].update(id=0), "image id 0 stands twice"),
        ("pred", lambda d: d["images"][1].update(id="1"), "integer id, got '1'"),
        ("pred", lambda d: [d["images"][i].update(vid_id=str(i)) for i in (0, 1)], "2 videos"),
        ("gt", lambda d: d["images"][0].update(ignore_regions_x=[[1]], ignore_regions_y=[]), "one entry per region"),
        ("gt", lambda d: d["images"][0].update(ignore_regions_x=[[1]], ignore_regions_y=[[]]), "as many x as y"),
        ("pred", lambda d: first(d).update(keypoints=[float("nan")] * 51), "is not strict JSON"),
        ("pred", lambda d: d.update(images=d["images"] * 2), "stands twice"),
        ("pred", lambda d: d["images"][0].update(file_name="video/000001.jpg"), "is 'video/000001.jpg' here"),
    ],
)  # fmt: skip
def test_broken_files_are_refused_by_name(tmp_path, side, change, words):
    message = broken(tmp_path, side, change)
    assert re.search(words, message), message


def test_other_frames_are_refused_by_name(tmp_path):
    def replace_last(document):
        document["images"][3] = {"id": 9, "file_name": "video/000009.jpg"}
        document["annotations"] = document["annotations"][:6]

    message = broken(tmp_path, "pred", replace_last)
    assert "1 missing (first: 'video/000003.jpg'), 1 unknown (first: 'video/000009.jpg')" in message


def test_a_subset_of_frames_is_refused_in_one_sentence(tmp_path):
    def keep_two(document):
        document["images"] = document["images"][:2]
        document["annotations"] = document["annotations"][:4]

    assert "it lists 2 and should list 4, 2 missing (first: 'video/000002.jpg')" in broken(tmp_path, "pred", keep_two)


def test_ids_and_names_that_contradict_are_refused(tmp_path):
    def exchange(document):
        names = [image["file_name"] for image in document["images"]]
        for image, name in zip(document["images"], reversed(names), strict=True):
            image["file_name"] = name

    assert "image id 0 is 'video/000003.jpg' here and 'video/000000.jpg' in" in broken(tmp_path, "pred", exchange)


def test_missing_files_and_folders_are_refused(tmp_path):
    truth, prediction = write_perfect_set(tmp_path)
    with pytest.raises(InputError, match="nowhere: expected a folder"):
        evaluate_posetrack(truth, tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no \.json file"):
        evaluate_posetrack(tmp_path, prediction)
    (prediction / "video.json").rename(prediction / "other.json")
    with pytest.raises(InputError, match=r"no prediction for 1 of 1 sequences \(video\.json\)"):
        evaluate_posetrack(truth, prediction)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"images": NaN}', "3"])
def test_what_is_not_a_posetrack_file_is_refused(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        read_posetrack(tmp_path / "a.json", "prediction")


def test_missing_scores_are_noted(tmp_path):
    folders = write_perfect_set(tmp_path)
    document = json.loads((folders[1] / "video.json").read_text())
    for row in document["annotations"]:
        del row["scores"]
    (folders[1] / "video.json").write_text(json.dumps(document))
    result = evaluate_posetrack(*folders)
    assert any("8 predicted people have no joint scores" in note for note in result.notes)
    assert result.metrics["ap"][-1] == 100


def to_2017(document):
    """The same annotations as an `annolist`."""
    names = document["categories"][0]["keypoints"]
    frames = []
    for image in document["images"]:
        rows = [row for row in document["annotations"] if row["image_id"] == image["id"]]
        regions = zip(image.get("ignore_regions_x", []), image.get("ignore_regions_y", []), strict=True)
        frame = {"image": [{"name": image["file_name"]}], "is_labeled": [int(image["is_labeled"])]}
        frame["ignore_regions"] = [
            {"point": [{"x": [x], "y": [y]} for x, y in zip(xs, ys, strict=True)]} for xs, ys in regions
        ]
        frames.append(frame | {"annorect": [rect_2017(row, names) for row in rows]})
    return {"annolist": frames}


def rect_2017(row, names):
    x, y, width, height = row.get("bbox_head", [0, 0, 0, 0])
    points = []
    for joint, name in enumerate(JOINTS):
        k = names.index(name)
        px, py, v = row["keypoints"][3 * k : 3 * k + 3]
        if (px, py, v) != (0, 0, 0):
            points.append({"id": [joint], "x": [px], "y": [py], "score": [row["scores"][k] if row["scores"] else 0]})
    box = {"x1": [x], "y1": [y], "x2": [x + width], "y2": [y + height]}
    return {"track_id": [row["track_id"]], "annopoints": [{"point": points}], **box}


@pytest.mark.parametrize("seed", range(4))
def test_posetrack_2017_files_give_the_same_numbers(tmp_path, seed):
    folders = write_random_set(tmp_path, seed)
    before = evaluate_posetrack(*folders)
    for folder in folders:
        for path in folder.glob("*.json"):
            path.write_text(json.dumps(to_2017(json.loads(path.read_text()))))
    np.testing.assert_equal(evaluate_posetrack(*folders).metrics, before.metrics)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda frame: frame.pop("image"), "needs one image with a name"),
        (lambda frame: frame["annorect"][0].pop("track_id"), "integer track_id, got nothing"),
        (lambda frame: frame["annorect"][0].pop("x1"), "head box x1, y1, x2, y2"),
        (lambda frame: frame["annorect"][0].update(annopoints=3), "list of dictionaries, got 3"),
        (lambda frame: frame["annorect"][0]["annopoints"][0]["point"][0].update(id=[15]), "0 to 14, each once"),
        (lambda frame: frame["annorect"][0]["annopoints"][0]["point"][0].update(x=["3"]), "x, y and score"),
        (lambda frame: frame.update(annorect=[3]), "list of dictionaries"),
    ],
)  # fmt: skip
def test_broken_2017_files_are_refused(tmp_path, change, words):
    folders = write_perfect_set(tmp_path)
    document = to_2017(json.loads((folders[0] / "video.json").read_text()))
    change(document["annolist"][0])
    (folders[0] / "video.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=words):
        read_posetrack(folders[0] / "video.json", "ground truth")


def test_2017_rectangles_without_points_are_no_people(tmp_path):
    document = {"annolist": [{"image": [{"name": "1.jpg"}], "annorect": {"x1": [0], "track_id": [0]}}]}
    (tmp_path / "a.json").write_text(json.dumps(document))
    file = read_posetrack(tmp_path / "a.json", "ground truth")
    assert len(file.people) == 0
    assert file.annotated.tolist() == [True]


def test_posetrack21_fields_change_nothing(tmp_path):
    folders = write_perfect_set(tmp_path)
    document = json.loads((folders[1] / "video.json").read_text())
    for row in document["annotations"]:
        row["person_id"] = 77
        row["keypoints"][2::3] = [0] * 17
    for image in document["images"]:
        image["has_labeled_person"] = True
    (folders[1] / "video.json").write_text(json.dumps(document))
    assert evaluate_posetrack(*folders).metrics["mota"][-1] == 100


def nodes(value, path=()):
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from nodes(value[key], (*path, key))


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=3),
    st.just([]), st.just({}), st.lists(st.integers(0, 3), max_size=3), st.just([{}]), st.just({"point": 3}),
)  # fmt: skip


def write_changed_set(folder, is_2017, data):
    """A perfect set in which one value of one file is another."""
    folders = write_perfect_set(folder, frames=2, people=1)
    files = [folder / "video.json" for folder in folders]
    for file in files if is_2017 else ():
        file.write_text(json.dumps(to_2017(json.loads(file.read_text()))))
    changed = data.draw(st.sampled_from(files))
    document = parent = json.loads(changed.read_text())
    path = data.draw(st.sampled_from([path for path in nodes(document) if path]))
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = data.draw(ANYTHING)
    changed.write_text(json.dumps(document))
    return folders


@pytest.mark.parametrize("is_2017", [False, True])
@settings(deadline=None)
@given(data=st.data())
def test_any_change_of_a_file_is_evaluated_or_refused(is_2017, data):
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(InputError):
        result = evaluate_posetrack(*write_changed_set(Path(folder), is_2017, data))
        assert result.sequences == 1


# Whole numbers, so that the slow rule is exact; a small range, so that points often lie on outlines.
COORDINATES = st.tuples(st.integers(0, 8), st.integers(0, 8))


@given(st.lists(COORDINATES, min_size=3, max_size=8), st.lists(COORDINATES, min_size=1, max_size=20))
def test_strictly_inside_equals_the_slow_rule(outline, points):
    expected = [inside(point, outline) for point in points]
    assert strictly_inside(np.array(points, float), np.array(outline, float)).tolist() == expected


def test_points_next_to_a_slope_are_told_apart_by_their_last_bit():
    # Halves and quarters are exact, so the middle of the slope is on it and its float64 neighbours are not.
    outline = np.array([[0.0, 0.0], [1.5, 0.25], [0.0, 0.25]])
    on_slope = np.array([0.75, 0.125])
    left, right = (np.array([np.nextafter(0.75, to), 0.125]) for to in (0, 1))
    assert strictly_inside(np.array([left, on_slope, right]), outline).tolist() == [True, False, False]


def test_degenerate_outlines_hold_nothing():
    for outline in ([], [(0, 0)], [(0, 0), (5, 5)], [(0, 0), (5, 5), (2, 2)]):
        assert not strictly_inside(np.array([[1.0, 1.0], [0.0, 0.0]]), np.array(outline, float).reshape(-1, 2)).any()

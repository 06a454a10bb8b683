import json
from pathlib import Path

import numpy as np
import pytest

from eval.bootstrap import interval, resample_weights, share
from eval.diagnose import diagnose
from eval.diagnose_files import read_comparison
from eval.diagnose_match import box_overlaps
from eval.diagnose_output import failed_conditions
from eval.diagnose_people import Comparison, Detections, People, pair_detections
from eval.diagnose_tables import DiagnosisTables
from posefix_track.error_classes import GOOD, INVERSION, MISS, NONE
from posefix_track.errors import InputError, UsageError
from posefix_track.keypoints import COCO_17

SHARED = Path(__file__).parents[1] / ".." / "shared"
SIGMAS, FLIP = COCO_17.sigmas, COCO_17.flip_index


def _people(rng, images, each, spread=60.0):
    """Crowds on a coarse grid, so that joints coincide and similarities tie."""
    count = images * each
    keypoints = rng.uniform(0, spread, (count, 17, 2)).round(-1) + 100
    return People(
        image=np.repeat(np.arange(images), each),
        keypoints=keypoints,
        labelled=rng.random((count, 17)) < 0.8,
        area=rng.choice([2000.0, 9000.0, 40000.0], count),
        bbox_xyxy=np.concatenate([keypoints.min(1), keypoints.max(1)], 1),
        crowd=np.zeros(count, bool),
        ids=tuple(range(count)),
    )


def _detections(people, keypoints, scores=None):
    scores = np.linspace(1, 0.5, len(people)) if scores is None else scores
    return Detections(people.image, keypoints, (keypoints != 0).any(-1), scores)


def _comparison(people, before, after=None):
    images = int(people.image.max()) + 1
    names = tuple(f"{i}.jpg" for i in range(images))
    after = before if after is None else after
    return Comparison(COCO_17, people, before, after, names, tuple(range(images)), ("",) * images)


def test_the_annotation_itself_is_all_good():
    people = _people(np.random.default_rng(0), 20, 3)
    tables = DiagnosisTables(diagnose(_comparison(people, _detections(people, people.keypoints))))
    assert tables.overall.before[0, GOOD] == tables.overall.before.sum() > 0
    assert tables.intervals["harm"].value == 0


def test_mirrored_poses_are_inverted_where_the_partner_is_annotated_and_far():
    rng = np.random.default_rng(0)
    people = _people(rng, 30, 1, spread=600.0)
    poses = _detections(people, people.keypoints[:, FLIP])
    codes = diagnose(_comparison(people, poses), match_oks=1e-9).before.codes
    distance = np.linalg.norm(people.keypoints - people.keypoints[:, FLIP], axis=-1)
    far = distance > 2 * SIGMAS * np.sqrt(-2 * people.area[:, None] * np.log(0.5))  # KS .5 at this distance
    clear = far & people.labelled & people.labelled[:, FLIP] & (codes != NONE)
    assert clear.sum() > 100
    assert (codes[clear] == INVERSION).all()
    centre = people.labelled[:, 0] & (codes[:, 0] != NONE)
    assert (codes[centre, 0] == GOOD).all()


def test_the_order_of_the_people_does_not_matter():
    rng = np.random.default_rng(3)
    people = _people(rng, 15, 4)
    poses = people.keypoints + rng.normal(0, 5, people.keypoints.shape)
    order = rng.permutation(len(people))
    columns = ("image", "keypoints", "labelled", "area", "bbox_xyxy", "crowd")
    shuffled = People(**{name: getattr(people, name)[order] for name in columns}, ids=people.ids)
    scores = rng.permutation(len(people)) / len(people)
    tables = [DiagnosisTables(diagnose(_comparison(p, _detections(people, poses, scores)))) for p in (people, shuffled)]
    np.testing.assert_array_equal(tables[0].overall.before, tables[1].overall.before)


def test_an_absent_joint_is_missed():
    people = _people(np.random.default_rng(0), 1, 1)
    poses = people.keypoints.copy()
    poses[0, 5:9] = 0
    codes = diagnose(_comparison(people, _detections(people, poses)), match_oks=0.01).before.codes[0]
    assert set(codes[5:9][people.labelled[0, 5:9]]) == {MISS}


@pytest.fixture(scope="module")
def tables():
    rng = np.random.default_rng(5)
    people = _people(rng, 40, 3, spread=150.0)
    before = people.keypoints + rng.normal(0, 8, people.keypoints.shape)
    after = people.keypoints + rng.normal(0, 5, people.keypoints.shape)
    return DiagnosisTables(diagnose(_comparison(people, _detections(people, before), _detections(people, after))))


def test_frequencies_add_up_to_1(tables):
    group = tables.overall.to_dict()["all"]
    for side in ("before", "after"):
        assert sum(group[side]["counts"].values()) == group["joints"]
        assert sum(group[side]["frequencies"].values()) == pytest.approx(1, abs=1e-12)  # five rounded quotients


def test_every_breakdown_counts_the_same_joints(tables):
    for tally in (tables.by_joint, tables.by_visible, tables.by_overlap, tables.by_size):
        np.testing.assert_array_equal(tally.before.sum(0), tables.overall.before[0])
        np.testing.assert_array_equal(tally.transitions.sum(0), tables.overall.transitions[0])


def test_transitions_lead_from_before_to_after(tables):
    overall = tables.overall
    np.testing.assert_array_equal(overall.transitions.sum(2), overall.before)
    np.testing.assert_array_equal(overall.transitions.sum(1), overall.after)
    before, after = tables.diagnosis.before.codes, tables.diagnosis.after.codes
    harmed = ((before == GOOD) & (after != GOOD)).sum()
    assert tables.intervals["harm"].value == pytest.approx(harmed / (before == GOOD).sum(), rel=1e-12)


def test_oks_bins_hold_every_matched_person(tables):
    bins, both = tables.oks_bins, tables.diagnosis.before.detection >= 0
    assert bins.people.sum() == both.sum()
    full = bins.people > 0
    assert (np.abs(bins.before - (bins.edges[:-1] + 0.025))[full] <= 0.025 + 1e-12).all()
    total = (bins.people[full] * bins.after[full]).sum() / both.sum()
    assert total == pytest.approx(tables.diagnosis.after.oks[both].mean(), rel=1e-12)


def test_intervals_hold_their_value(tables):
    assert all(i.low <= i.value <= i.high for i in tables.intervals.values())
    assert tables.intervals["good change"].low > 0


def test_small_people_are_outside_the_main_figures():
    people = _people(np.random.default_rng(0), 10, 2)
    people.area[:4] = 1000.0
    tables = DiagnosisTables(diagnose(_comparison(people, _detections(people, people.keypoints))))
    assert tables.by_size.before[0].sum() == people.labelled[:4].sum()
    assert tables.overall.before.sum() == people.labelled[4:].sum()
    assert tables.including_small.before.sum() == people.labelled.sum()


@pytest.mark.parametrize(
    ("condition", "fails"),
    [
        ("good<+1.0", False),
        ("good<+99", True),
        ("harm>0", True),
        ("harm > 100", False),
        ("miss>+0.0", False),
        ("good<100", True),
        ("oks<10", False),
        ("swap>-50", True),
    ],
)
def test_conditions(tables, condition, fails):
    assert bool(failed_conditions(tables, [condition])) == fails


@pytest.mark.parametrize("condition", ["good", "good<", "harm>+1", "harm=1", "best<1", "good<1 or 2"])
def test_an_unreadable_condition_is_refused(tables, condition):
    with pytest.raises(UsageError, match="cannot read the condition"):
        failed_conditions(tables, [condition])


def test_a_condition_on_nothing_fails():
    people = _people(np.random.default_rng(0), 2, 1)
    nobody = Detections(people.image[:0], people.keypoints[:0], people.labelled[:0], people.area[:0])
    empty = DiagnosisTables(diagnose(_comparison(people, nobody)))
    assert len(failed_conditions(empty, ["good<+1.0", "harm>0.5"])) == 2


def _named(image, ids=None, track_ids=None):
    count = len(image)
    return Detections(
        np.array(image), np.ones((count, 17, 2)), np.ones((count, 17), bool), np.ones(count), ids, track_ids
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (_named([0, 0, 1], ids=(7, 8, 9)), _named([1, 0, 0], ids=(9, 8, 7)), [2, 1, 0]),
        (_named([0, 0, 1], track_ids=(1, 2, 1)), _named([1, 0, 0], track_ids=(1, 2, 1)), [2, 1, 0]),
        (_named([0, 0, 1]), _named([1, 0, 0]), [1, 2, 0]),  # by position in the image
        (_named([0, 0, 1], ids=(1, 1, 1)), _named([0, 0, 1], ids=(1, 1, 1)), [0, 1, 2]),  # ids that are none
    ],
)
def test_poses_are_paired_by_id_track_or_position(before, after, expected):
    assert pair_detections(before, after).tolist() == expected


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (_named([0, 0, 1]), _named([0, 1])),
        (_named([0, 0, 1]), _named([0, 1, 1])),
        (_named([0, 0], ids=(1, 2)), _named([0, 0], ids=(1, 3))),
        (_named([0, 0], ids=(1, 2)), _named([0, 1], ids=(1, 2))),
    ],
)
def test_poses_without_a_partner_are_refused(before, after):
    with pytest.raises(InputError, match="each"):
        pair_detections(before, after)


def test_overlaps_count_the_other_boxes_of_the_image():
    people = _people(np.random.default_rng(0), 2, 3)
    people.bbox_xyxy[:] = [[0, 0, 10, 10], [0, 0, 10, 9], [100, 0, 110, 10], *[[0, 0, 0, 0]] * 3]
    assert box_overlaps(people).tolist() == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("options", [{"thresholds": (0.9, 0.5)}, {"match_oks": 0.0}, {"sigmas": np.ones(3)}])
def test_impossible_options_are_refused(options):
    people = _people(np.random.default_rng(0), 1, 1)
    with pytest.raises(UsageError):
        diagnose(_comparison(people, _detections(people, people.keypoints)), **options)


def test_resamples_draw_as_many_images_as_there_are():
    weights = resample_weights(7, 50, seed=1)
    assert (weights.sum(1) == 7).all()
    np.testing.assert_array_equal(weights, resample_weights(7, 50, seed=1))


def test_an_interval_holds_the_middle_95_percent_of_the_resamples():
    found = interval(np.array([0.4, *np.linspace(0, 1, 1001), np.nan]))
    assert (found.value, found.low, found.high) == (0.4, 0.025, 0.975)


def test_a_share_of_nothing_is_undefined():
    assert np.isnan(share([0, 0], [0, 0], resample_weights(2, 3))).all()


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared reference data is not beside the checkout")
def test_recorded_diagnosis_is_reproduced():
    recorded = json.loads((SHARED / "golden/coco_ap/dev_diagnosis.json").read_text())
    poses = SHARED / "data/coco/simplepose_val.json"
    tables = DiagnosisTables(diagnose(read_comparison(SHARED / "data/coco/person_keypoints_val.json", poses, poses)))
    assert tables.counted.sum() == recorded["matched_people"]
    assert tables.overall.to_dict()["all"]["before"] == {k: recorded[k] for k in ("counts", "frequencies")}
    small = recorded["including_people_below_the_area_limit"]
    assert tables.including_small.to_dict()["all"]["before"]["counts"] == small["counts"]
    by_joint = {name: group["before"]["counts"] for name, group in tables.by_joint.to_dict().items()}
    assert by_joint == recorded["per_joint_counts"]
    codes = dict(zip(tables.diagnosis.comparison.people.ids, tables.diagnosis.before.codes, strict=True))
    labels = {p["gt_id"]: "".join("GJISM-"[code] for code in codes[p["gt_id"]]) for p in recorded["per_person_labels"]}
    assert labels == {p["gt_id"]: p["labels"] for p in recorded["per_person_labels"]}

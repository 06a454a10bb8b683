import json
import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from eval.__main__ import main
from eval.bootstrap import Interval
from eval.diagnose_tables import OksBins
from eval.report_figures import frequency_figure, oks_figure
from eval.report_tables import MOST_ROWS
from posefix_track.error_classes import ERROR_CLASSES
from posefix_track.errors import InputError
from posefix_track.keypoints import COCO_17, POSETRACK_18

IMAGES = 4


def _write(path, content):
    path.write_text(json.dumps(content))
    return path


def _files(folder, images=IMAGES, name="{}.jpg"):
    """Two people an image; refinement helps the first and harms the second."""
    rng, people, sides = np.random.default_rng(0), [], ([], [])
    for i in range(2 * images):
        truth = np.c_[rng.uniform(20, 180, (17, 2)), np.full(17, 2)]
        people.append({"id": i, "image_id": i // 2, "area": 12000.0, "keypoints": truth.ravel().tolist()})
        for side, noise in zip(sides, (9, 2) if i % 2 else (3, 6), strict=True):
            entry = {"image_id": i // 2, "category_id": 1, "score": float(rng.random())}
            side.append(entry | {"keypoints": (truth + rng.normal(0, noise, truth.shape)).ravel().tolist()})
    listed = [{"id": i, "file_name": name.format(i)} for i in range(images)]
    gt = {"images": listed, "annotations": people, "categories": [{"id": 1, "keypoints": list(COCO_17.joints)}]}
    _write(folder / "gt.json", gt)
    for path, side in zip(("a.json", "b.json"), sides, strict=True):
        _write(folder / path, side)


def _page(folder, *options):
    files = [str(folder / name) for name in ("gt.json", "a.json", "b.json", "page.html")]
    arguments = [x for pair in zip(("--gt", "--before", "--after", "-o"), files, strict=True) for x in pair]
    assert main(["report", *arguments, *options]) == 0
    return (folder / "page.html").read_text()


class _Links(HTMLParser):
    """Collects what a browser would load, and checks that every element is closed."""

    def __init__(self):
        super().__init__()
        self.loaded, self.open = [], []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "rect", "path", "circle", "line"):
            self.open.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href", "data", "srcset", "poster")]

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(IMAGES):
        picture = np.full((200, 200, 3), 40 * i, np.uint8)
        cv2.imwrite(str(folder / f"{i}.jpg"), picture)
    return folder


def test_the_page_loads_nothing_from_elsewhere_and_is_well_formed(tmp_path, pictures):
    _files(tmp_path)
    links = _Links()
    links.feed(_page(tmp_path, "--images", str(pictures)))
    assert links.open == []
    assert len(links.loaded) == 3 * 2 * IMAGES  # before, after and annotation of everybody
    assert all(link.startswith("data:image/jpeg;base64,") for link in links.loaded)


def test_the_page_has_no_script_and_no_address(tmp_path):
    _files(tmp_path)
    page = _page(tmp_path)
    assert "<script" not in page
    assert not re.search(r"https?://|@import|url\(", page)


def test_the_page_shows_the_headline_numbers(tmp_path, capsys):
    _files(tmp_path)
    page = _page(tmp_path)
    for side, shown in (("a", r'class="old">{} \u2192'), ("b", r"</span> {}</p>")):
        assert main(["coco", "--gt", str(tmp_path / "gt.json"), "--pred", str(tmp_path / f"{side}.json")]) == 0
        ap = capsys.readouterr().out.split()[-10]
        assert shown.replace(r"\u2192", "\u2192").format(ap) in page


def test_text_from_files_is_escaped(tmp_path):
    _files(tmp_path, name="<b>{}.jpg")
    page = _page(tmp_path, "--title", "a <script> & b")
    assert "a &lt;script&gt; &amp; b" in page
    assert "<b>0.jpg" not in page


def test_a_missing_image_leaves_its_people_out_and_is_named(tmp_path, pictures):
    _files(tmp_path)
    (pictures / "1.jpg").unlink()
    page = _page(tmp_path, "--images", str(pictures))
    assert page.count("data:image/jpeg") == 3 * 2 * (IMAGES - 1)
    assert page.count("image &#x27;1.jpg&#x27; is not in") == 1


def test_an_image_name_that_leads_out_of_the_folder_is_not_read(tmp_path, pictures):
    cv2.imwrite(str(tmp_path / "secret.jpg"), np.zeros((9, 9, 3), np.uint8))
    _files(tmp_path, name="../secret.jpg")
    page = _page(tmp_path, "--images", str(pictures))
    assert "data:image/jpeg" not in page
    assert "leads out of the image folder" in page


def test_a_folder_without_images_is_refused(tmp_path, capsys):
    _files(tmp_path)
    (tmp_path / "none").mkdir()
    files = ["--gt", "gt.json", "--before", "a.json", "--after", "b.json", "-o", "page.html"]
    files = [part if part.startswith("-") else str(tmp_path / part) for part in files]
    assert main(["report", *files, "--images", str(tmp_path / "none")]) == InputError.exit_code
    assert "no image" in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()


def test_many_images_are_cut_to_those_that_changed_most(tmp_path):
    _files(tmp_path, images=MOST_ROWS + 10)
    page = _page(tmp_path)
    assert len(re.findall(r"<th>\d+\.jpg</th>", page)) == MOST_ROWS
    assert "10 with smaller changes" in page


def _metrics(ap, mota):
    return {"ap": {"total": ap}, "mota": {"total": mota}, "hota": {"total": None}}


def test_posetrack_sequences_have_their_own_rows_and_metrics(tmp_path):
    rng = np.random.default_rng(0)
    pose = np.c_[rng.uniform(50, 350, (17, 2)), np.ones(17)]
    pose[3:5] = 0
    for side in ("gt", "before", "after"):
        (tmp_path / side).mkdir()
        for name in ("first", "second"):
            people = [{"image_id": 1, "track_id": 0, "category_id": 1, "keypoints": pose.ravel().tolist()}]
            images = [{"id": 1, "file_name": f"{name}/0.jpg"}]
            category = {"id": 1, "keypoints": list(POSETRACK_18.joints)}
            _write(
                tmp_path / side / f"{name}.json", {"images": images, "annotations": people, "categories": [category]}
            )
    reports = []
    for side, shift in (("a", 0.0), ("b", 3.5)):
        content = _metrics(70 + shift, 50.0) | {"per_sequence": {"first": _metrics(61 + shift, 50.0)}}
        reports.append(str(_write(tmp_path / f"{side}_metrics.json", content)))
    sides = [x for side in ("gt", "before", "after") for x in (f"--{side}", str(tmp_path / side))]
    assert main(["report", *sides, "--posetrack-json", *reports, "-o", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "COCO AP" not in page
    assert '<span class="old">70.0 \u2192</span> 73.5' in page
    assert "<th>first</th>" in page
    assert '<span class="old">61.0</span> <b class="better">64.5</b>' in page
    assert "HOTA" not in page  # undefined on both sides


@pytest.fixture
def intervals():
    shares = dict(zip(ERROR_CLASSES, (0.6, 0.2, 0.1, 0.04, 0.06), strict=True))
    return {f"{c} {side}": Interval(v, v - 0.02, v + 0.02) for c, v in shares.items() for side in ("before", "after")}


def test_bars_are_as_long_as_their_shares(intervals):
    figure = ElementTree.fromstring(frequency_figure(intervals))
    widths = [float(bar.get("width")) for bar in figure.iter("rect")][::2]
    assert np.array(widths[1:]) / widths[1] == pytest.approx([1, 0.5, 0.2, 0.3], abs=0.005)  # a tenth of a unit
    assert [text.text for text in figure.iter("text")].count("60.0 %") == 2


def test_bars_survive_undefined_shares():
    nothing = Interval(float("nan"), float("nan"), float("nan"))
    figure = frequency_figure({f"{c} {side}": nothing for c in ERROR_CLASSES for side in ("before", "after")})
    assert "nan" not in figure
    ElementTree.fromstring(figure)


def test_every_bin_with_people_has_two_points_at_its_means():
    people = np.zeros(20, np.int64)
    people[[4, 19]] = 3, 9
    before, after = np.full(20, np.nan), np.full(20, np.nan)
    before[[4, 19]], after[[4, 19]] = (0.22, 0.97), (0.5, 0.95)
    figure = ElementTree.fromstring(oks_figure(OksBins(np.arange(21) * 0.05, people, before, after)))
    heights = [240 - float(point.get("cy")) for point in figure.iter("circle")]
    assert np.array(heights) / 220 == pytest.approx([0.22, 0.5, 0.97, 0.95], abs=0.001)  # a tenth of a unit
    assert [line.get("class") for line in figure.iter("line")][-2:] == ["up", "down"]

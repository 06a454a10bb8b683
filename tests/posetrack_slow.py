"""A slow, obvious PoseTrack evaluator in plain loops."""

import json
import math
from collections import defaultdict
from itertools import permutations
from pathlib import Path
from typing import Any

JOINTS = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
)  # fmt: skip
NAN = float("nan")


def slow_evaluate(truth_folder: Path, prediction_folder: Path, strict: bool) -> dict[str, list[float]]:
    """Metric -> fifteen joints and total, percent, NaN where undefined."""
    ranked: list[list[tuple[float, bool]]] = [[] for _ in JOINTS]
    counts = [defaultdict(float) for _ in JOINTS]
    for path in sorted(truth_folder.glob("*.json")):
        frames = _load(json.loads(path.read_text()), json.loads((prediction_folder / path.name).read_text()), strict)
        for people, predicted in frames:
            _rank(people, predicted, ranked, counts)
        for j in range(len(JOINTS)):
            _track(j, frames if strict else frames[:-1], counts[j], strict)
    rows = [_ap(ranked[j], counts[j]["annotated"], strict) + _mot(counts[j], strict) for j in range(len(JOINTS))]
    names = ("ap", "ap_precision", "ap_recall", "mota", "motp", "mot_precision", "mot_recall")
    columns = zip(*rows, strict=True)
    return {name: [*column, _mean(column)] for name, column in zip(names, columns, strict=True)}


def _mean(values: Any) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else NAN


def _load(truth: Any, prediction: Any, strict: bool) -> list[tuple[list[Any], list[Any]]]:
    """(annotated people, predicted people) of every frame that counts."""
    frames = []
    for image in truth["images"]:
        people, predicted = (_people(document, image["id"]) for document in (truth, prediction))
        if people or (strict and image["is_labeled"]):
            outlines = [list(zip(*xy, strict=True)) for xy in _regions(image)]
            frames.append((_without(people, outlines), _without(predicted, outlines)))
    return frames


def _regions(image: Any) -> Any:
    return zip(image.get("ignore_regions_x", []), image.get("ignore_regions_y", []), strict=True)


def _people(document: Any, image_id: int) -> list[Any]:
    names = document["categories"][0]["keypoints"]
    return [_person(row, names) for row in document["annotations"] if row["image_id"] == image_id]


def _person(row: Any, names: list[str]) -> Any:
    joints = {}
    for k, name in enumerate(names):
        x, y, v = row["keypoints"][3 * k : 3 * k + 3]
        if name in JOINTS and (x, y, v) != (0, 0, 0):
            joints[JOINTS.index(name)] = (x, y, row["scores"][k] if row["scores"] else 0)
    head = 0.6 * math.hypot(*row["bbox_head"][2:]) if "bbox_head" in row else NAN
    return {"id": row["track_id"], "joints": joints, "head": head}


def _without(people: list[Any], outlines: list[Any]) -> list[Any]:
    if not outlines:
        return people
    for person in people:
        person["joints"] = {j: p for j, p in person["joints"].items() if not any(inside(p, o) for o in outlines)}
    return [person for person in people if person["joints"]]


def inside(point: Any, outline: list[Any]) -> bool:
    """Even-odd rule for whole-number coordinates; a point on an edge is outside."""
    x, y = point[:2]
    inside = False
    for (x1, y1), (x2, y2) in zip(outline, outline[1:] + outline[:1], strict=True):
        cross = (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1)
        if cross == 0 and min(x1, x2) <= x <= max(x1, x2) and min(y1, y2) <= y <= max(y1, y2):
            return False
        if (y1 > y) != (y2 > y) and (cross > 0) == (y2 > y1):
            inside = not inside
    return inside


def _distance(person: Any, predicted: Any, j: int) -> float:
    if j not in person["joints"] or j not in predicted["joints"]:
        return math.inf
    (x1, y1, _), (x2, y2, _) = person["joints"][j], predicted["joints"][j]
    return math.sqrt((x1 - x2) ** 2 + (y1 - y2) ** 2) / person["head"]


def _rank(people: list[Any], predicted: list[Any], ranked: Any, counts: Any) -> None:
    for person in people:
        for j in person["joints"]:
            counts[j]["annotated"] += 1
    partner = _partners(people, predicted)
    for k, candidate in enumerate(predicted):
        for j, (_, _, score) in candidate["joints"].items():
            correct = k in partner and _distance(people[partner[k]], candidate, j) <= 0.5
            ranked[j].append((score, correct))


def _partners(people: list[Any], predicted: list[Any]) -> dict[int, int]:
    """Predicted person -> annotated person that keeps it."""
    best: dict[int, tuple[float, int]] = {}
    for k, candidate in enumerate(predicted):
        shares = []
        for person in people:
            found = sum(_distance(person, candidate, j) <= 0.5 for j in range(len(JOINTS)))
            shares.append(found / max(1, len(person["joints"])))
        if shares and max(shares) > 0:
            chosen = shares.index(max(shares))
            if chosen not in best or max(shares) > best[chosen][0]:
                best[chosen] = (max(shares), k)
    return {k: chosen for chosen, (_, k) in best.items()}


def _ap(ranked: list[tuple[float, bool]], annotated: float, strict: bool) -> tuple[float, float, float]:
    if not ranked:
        return (NAN, NAN, NAN) if strict and not annotated else (0.0, NAN if strict else 0.0, 0.0)
    if not annotated:
        return NAN, 0.0, NAN
    ranked, points, found = sorted(ranked, key=lambda pair: -pair[0]), [], 0
    for n, (score, correct) in enumerate(ranked, 1):
        found += correct
        if not strict or n == len(ranked) or ranked[n][0] != score:
            points.append((found / n, found / annotated))
    area, reached = 0.0, 0.0
    for i, (_, recall) in enumerate(points):
        area += (recall - reached) * max(precision for precision, _ in points[i:])
        reached = recall
    return 100 * area, 100 * points[-1][0], 100 * points[-1][1]


def _track(j: int, frames: Any, counts: Any, strict: bool) -> None:
    partner: dict[int, int] = {}
    for people, predicted in frames:
        if not strict and not (people and predicted):
            for name in ("objects", "misses", "false_positives"):
                counts[name] += 1
            continue
        objects, candidates = ([p for p in side if j in p["joints"]] for side in (people, predicted))
        pairs, switches = _pairs(j, objects, candidates, partner)
        counts["objects"] += len(objects)
        counts["misses"] += len(objects) - len(pairs)
        counts["false_positives"] += len(candidates) - len(pairs)
        counts["detections"] += len(pairs)
        counts["switches"] += switches
        counts["distance"] += sum(_distance(objects[i], candidates[k], j) for i, k in pairs)
        partner.update({objects[i]["id"]: candidates[k]["id"] for i, k in pairs})


def _pairs(j: int, objects: Any, candidates: Any, partner: dict[int, int]) -> tuple[list[tuple[int, int]], int]:
    kept: list[tuple[int, int]] = []
    for i, person in enumerate(objects):
        for k, candidate in enumerate(candidates):
            is_last = partner.get(person["id"]) == candidate["id"] and k not in [k for _, k in kept]
            if is_last and _distance(person, candidate, j) <= 0.5:
                kept.append((i, k))
    rows = [i for i in range(len(objects)) if i not in [i for i, _ in kept]]
    columns = [k for k in range(len(candidates)) if k not in [k for _, k in kept]]
    new = cheapest([[_distance(objects[i], candidates[k], j) for k in columns] for i in rows])
    new = [(rows[i], columns[k]) for i, k in new]
    return kept + new, sum(objects[i]["id"] in partner for i, _ in new)


def cheapest(cost: list[list[float]]) -> list[tuple[int, int]]:
    """As many pairs as possible within 0.5, then the smallest sum, by trying everything."""
    columns = [*range(len(cost[0]) if cost else 0), *[None] * len(cost)]
    best: tuple[int, float, list[tuple[int, int]]] = (0, 0.0, [])
    for choice in set(permutations(columns, len(cost))):
        pairs = [(i, k) for i, k in enumerate(choice) if k is not None and cost[i][k] <= 0.5]
        candidate = (-len(pairs), sum(cost[i][k] for i, k in pairs), pairs)
        best = min(best, candidate)
    return best[2]


def _mot(counts: Any, strict: bool) -> tuple[float, float, float, float]:
    errors = counts["misses"] + counts["switches"] + counts["false_positives"]
    found, objects = counts["detections"], counts["objects"]
    mota = 100 * (1 - errors / objects) if objects else NAN
    motp = 100 * (1 - counts["distance"] / found) if found else (NAN if strict else 0.0)
    predicted = found + counts["false_positives"]
    return mota, motp, 100 * found / predicted if predicted else NAN, 100 * found / objects if objects else NAN

"""Random people, rooms and light."""

import colorsys

import cv2
import numpy as np
import numpy.typing as npt

from posefix_track.figures.body import Build
from posefix_track.figures.canvas import Colour, Light, Paint
from posefix_track.figures.figure import Look

Float = npt.NDArray[np.float32]

# BGR, from pale to dark.
_SKINS = (
    (190, 205, 240),
    (160, 188, 232),
    (135, 172, 224),
    (105, 145, 205),
    (80, 115, 172),
    (60, 85, 130),
    (40, 58, 92),
)
_HAIRS = ((25, 22, 20), (30, 40, 60), (45, 65, 100), (90, 140, 190), (60, 85, 170), (150, 150, 155), (205, 205, 210))
_EYES = ((30, 40, 55), (60, 80, 50), (120, 90, 60))


def random_look(rng: np.random.Generator) -> Look:
    """Body shape, skin, hair and clothes of one person."""
    shirt, trousers = _cloth(rng, 0.55), _cloth(rng, 0.2)
    build = Build(
        shoulders=float(rng.uniform(0.88, 1.12)),
        hips=float(rng.uniform(0.9, 1.12)),
        girth=float(np.clip(rng.normal(1.02, 0.12), 0.8, 1.4)),
        head=float(rng.uniform(0.95, 1.15)),
        legs=float(rng.uniform(0.95, 1.04)),
    )
    return Look(
        build,
        skin=Paint(_varied(rng, _SKINS), roughness=0.02),
        hair=Paint(_varied(rng, _HAIRS), roughness=0.1),
        eyes=Paint(_varied(rng, _EYES)),
        shirt=shirt,
        trousers=trousers,
        shoes=Paint(_colour(rng), roughness=0.02),
        sleeves=float(rng.choice([0.0, 0.55, 0.7, 1.0, 2.0, 2.0])),
        trouser_legs=float(rng.choice([0.5, 0.8, 1.0, 2.0, 2.0, 2.0])),
        skirt=_cloth(rng, 0.2) if rng.random() < 0.15 else None,
        hair_style=str(rng.choice(["short", "short", "long", "bald"])),
    )


def random_light(rng: np.random.Generator) -> Light:
    """A lamp above and before the scene."""
    direction = np.array([rng.uniform(-0.8, 0.8), rng.uniform(-0.8, -0.2), rng.uniform(0.4, 0.9)])
    x, y, z = direction / np.linalg.norm(direction)
    return Light((float(x), float(y), float(z)), float(rng.uniform(0.35, 0.6)), float(rng.uniform(0.45, 0.75)))


def random_background(rng: np.random.Generator, height: int, width: int) -> Float:
    """A textured wall and floor with things in front: float32 [H, W, 3], BGR 0-255."""
    horizon = int(height * rng.uniform(0.35, 0.6))
    picture = np.empty((height, width, 3), np.float32)
    picture[:horizon] = _gradient(rng, horizon)
    picture[horizon:] = _gradient(rng, height - horizon)
    things = picture.astype(np.uint8)
    for _ in range(int(rng.integers(4, 14))):
        _draw_thing(things, rng, horizon)
    picture = things.astype(np.float32) + _clouds(rng, height, width) * float(rng.uniform(2, 14))
    # Slightly out of focus, as behind a person in front.
    return np.asarray(cv2.GaussianBlur(np.clip(picture, 0, 255), (0, 0), float(rng.uniform(0.4, 1.6))), np.float32)


def _cloth(rng: np.random.Generator, patterned: float) -> Paint:
    pattern = str(rng.choice(["hoops", "stripes", "block"])) if rng.random() < patterned else "plain"
    count = float(rng.integers(3, 9))
    return Paint(_colour(rng), _colour(rng), pattern, count, float(rng.uniform(0.02, 0.12)))


def _colour(rng: np.random.Generator) -> Colour:
    hue, saturation, value = rng.random(), rng.beta(1.6, 2.2), rng.uniform(0.12, 0.98)
    red, green, blue = colorsys.hsv_to_rgb(float(hue), float(saturation), float(value))
    return 255 * blue, 255 * green, 255 * red


def _varied(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> Colour:
    blue, green, red = np.array(colours[rng.integers(len(colours))]) * rng.uniform(0.9, 1.08, 3)
    return float(blue), float(green), float(red)


def _gradient(rng: np.random.Generator, rows: int) -> Float:
    weight = np.linspace(0, 1, rows, dtype=np.float32)[:, None, None]
    top, bottom = (np.array(_colour(rng)) for _ in range(2))
    colours = top + weight * 0.5 * (bottom - top)
    # Rooms and streets are greyer than clothes.
    return np.asarray(colours + 0.6 * (colours.mean(-1, keepdims=True) - colours), np.float32)


def _draw_thing(picture: npt.NDArray[np.uint8], rng: np.random.Generator, horizon: int) -> None:
    """A box, a ball, a pole or a tilted board standing about the horizon."""
    height, width = picture.shape[:2]
    x, y = int(rng.uniform(0, width)), int(horizon + rng.normal(0, height * 0.2))
    w, h = (int(rng.uniform(0.03, 0.25) * side) for side in (width, height))
    kind, colour = rng.integers(4), _colour(rng)
    if kind == 0:
        cv2.rectangle(picture, (x - w // 2, y - h), (x + w // 2, y), colour, -1)
    elif kind == 1:
        cv2.ellipse(picture, (x, y), (w // 2, h // 2), float(rng.uniform(0, 180)), 0, 360, colour, -1, cv2.LINE_AA)
    elif kind == 2:
        cv2.line(picture, (x, y - 3 * h), (x + w // 6, y + h), colour, max(1, w // 8), cv2.LINE_AA)
    else:
        corners = np.array([[x, y - h], [x + w, y - h // 2], [x + w // 2, y + h], [x - w // 2, y]], np.int32)
        cv2.fillPoly(picture, [corners], colour, cv2.LINE_AA)


def _clouds(rng: np.random.Generator, height: int, width: int) -> Float:
    """Noise of several sizes about 0, [H, W, 1], of about unit strength."""
    total = np.zeros((height, width), np.float32)
    for cells in (4, 16, 64, max(height, width)):
        grid = rng.normal(0, 0.6, (min(cells, height), min(cells, width))).astype(np.float32)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total[..., None]

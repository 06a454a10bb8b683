"""What happens to the pixels of training crops."""

from dataclasses import replace

import numpy as np

from tests.training_data import NO_AUGMENTATION
from trainer.augment import coarsen, paste

CROPS = np.stack([np.full((64, 48, 3), i, np.uint8) for i in range(200)])


def test_parts_of_the_crop_before_are_pasted() -> None:
    crops = CROPS[:20].copy()
    paste(crops, replace(NO_AUGMENTATION, paste=1), np.random.default_rng(0))
    for i, crop in enumerate(crops):
        changed = (crop != CROPS[i]).all(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        assert changed[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (crop[changed] == CROPS[(i - 1) % 20][0, 0]).all()
        # 8 to 35 % of each side, in whole pixels.
        assert 5 <= len(rows) <= 22 and 3 <= len(columns) <= 16


def test_a_pasted_part_keeps_its_pixels() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2, 64, 48, 3)).astype(np.uint8)
    crops = noise.copy()
    paste(crops, replace(NO_AUGMENTATION, paste=1), np.random.default_rng(2))
    rows, columns = (np.flatnonzero((crops[1] != noise[1]).any(axes)) for axes in ((1, 2), (0, 2)))
    part = crops[1, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    windows = np.lib.stride_tricks.sliding_window_view(noise[0], part.shape)[:, :, 0]
    assert (windows == part).all((2, 3, 4)).sum() == 1


def test_a_coarse_crop_has_less_detail_and_the_same_brightness() -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 48, 3)).astype(np.uint8)
    for seed in range(20):
        crop = noise.copy()
        coarsen(crop, replace(NO_AUGMENTATION, coarsen=1), np.random.default_rng(seed))
        assert crop.std() <= noise.std()
        # The mean of 9,216 values rounded to whole grey levels, and of the rim that interpolation counts twice.
        assert abs(crop.mean() - noise.mean()) < 2
    assert crop.std() < 0.9 * noise.std()


def test_as_many_crops_change_as_asked_for() -> None:
    crops = CROPS.copy()
    paste(crops, replace(NO_AUGMENTATION, paste=0.35), np.random.default_rng(0))
    # Four standard deviations of a share of 200.
    assert abs((crops != CROPS).any((1, 2, 3)).mean() - 0.35) < 0.135
    noise = np.random.default_rng(1).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    rng, changed = np.random.default_rng(0), 0
    for _ in range(400):
        crop = noise.copy()
        coarsen(crop, replace(NO_AUGMENTATION, coarsen=0.35), rng)
        changed += bool((crop != noise).any())
    assert abs(changed / 400 - 0.35) < 0.095


def test_what_is_not_asked_for_draws_no_random_numbers() -> None:
    rng, crops = np.random.default_rng(0), CROPS.copy()
    paste(crops, NO_AUGMENTATION, rng)
    coarsen(crops[0], NO_AUGMENTATION, rng)
    assert (crops == CROPS).all() and rng.random() == np.random.default_rng(0).random()

"""Recipes: what they say, and that each shipped one trains."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from posefix_track.errors import InputError
from posefix_track.network import PoseFix, original_config
from tests.training_data import recipe, write_training_data
from trainer.recipe import Recipe, RenderedConfig, TrainConfig, ValidationConfig, read_recipe
from trainer.schedule import learning_rate
from trainer.train import Run, load_samples

FOLDER = Path(__file__).parents[1] / "trainer" / "recipes"
RECIPES = sorted(FOLDER.glob("*.toml"))


def scaled_down(read: Recipe) -> Recipe:
    """The same network and settings on the tiny set: one step of two small crops."""
    network = replace(read.network, input_size=(64, 64))
    data = tuple(replace(recipe().data[0], weight=entry.weight) for entry in read.data)
    train = replace(read.train, batch_size=2, steps=1, epochs=0, drops=(), warmup_steps=0)
    return replace(
        read, network=network, data=data, train=train, rendered=RenderedConfig(), validation=ValidationConfig()
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.stem)
def test_each_shipped_recipe_takes_a_step(tmp_path: Path, path: Path) -> None:
    write_training_data(tmp_path)
    samples = load_samples(scaled_down(read_recipe(path)), tmp_path)
    torch.manual_seed(0)
    run = Run.begin(samples.recipe, tmp_path / "out", PoseFix(samples.recipe.network), torch.device("cpu"))
    before = run.network.head.final.weight.detach().clone()
    losses = run.step(samples[0])
    assert losses and all(loss.isfinite() for loss in losses.values())
    torch.stack([*losses.values()]).sum().backward()
    run.optimizer.step()
    assert not torch.equal(run.network.head.final.weight, before)
    assert all(p.isfinite().all() for p in run.network.parameters())


@pytest.mark.parametrize(("name", "size"), [("coco_r50_256x192", (256, 192)), ("coco_r152_384x288", (384, 288))])
def test_the_papers_recipes_have_the_original_network_and_schedule(name: str, size: tuple[int, int]) -> None:
    read = read_recipe(FOLDER / f"{name}.toml")
    assert read.network == original_config(name.split("_")[1].replace("r", "resnet"), size)
    train = replace(read.train, batch_size=128).with_steps(150_000)
    epoch = 1172  # ceil(150,000 / 128)
    assert train.steps == 140 * epoch
    rates = [learning_rate(step, train) for step in (0, 90 * epoch - 1, 90 * epoch, 120 * epoch, 140 * epoch - 1)]
    assert rates == pytest.approx([5e-4, 5e-4, 5e-5, 5e-6, 5e-6])


def test_the_posetrack_recipe_goes_on_from_the_coco_one() -> None:
    read, coco = (read_recipe(FOLDER / f"{name}.toml") for name in ("posetrack18_finetune", "coco_r152_384x288"))
    assert read.network == replace(coco.network, keypoints="posetrack18")
    assert len(read.network.keypoint_set) == len(coco.network.keypoint_set)
    assert read.augment == coco.augment and read.synthesis == coco.synthesis


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "either steps or epochs, got steps 0, epochs 0"),
        ({"epochs": 3}, "either steps or epochs, got steps 5, epochs 3"),
        ({"optimizer": "sgd"}, "optimizer must be one of adamw, adam, got 'sgd'"),
        ({"schedule": "flat"}, "schedule must be one of cosine, drops, got 'flat'"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig(**({"steps": 5} | changes))


def test_an_epoch_draws_as_many_people_as_there_are(tmp_path: Path) -> None:
    write_training_data(tmp_path)
    by_epochs = recipe(train=replace(recipe().train, steps=0, epochs=2.5, batch_size=4, drops=(1, 2)))
    samples = load_samples(by_epochs, tmp_path)
    assert samples.epoch_steps == 2  # six people in fours
    assert len(samples) == samples.recipe.train.steps == 5
    assert samples.recipe.train.drops == (2, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[train", "not a readable TOML recipe"),
        ("", "missing or malformed setting: 'data'"),
        ("data = []\n[train]\nbatch_size = 3", "steps"),
        ("data = []\n[train]\nsteps = 3\npace = 4", r"\['pace'\] in a TrainConfig; known: .*'batch_size'"),
        ("data = []\n[train]\nsteps = 3\n[network]\ncolour = 4", r"\['colour'\]; known: .*'backbone'"),
        ("data = []\ntrain = 3", "not iterable"),
        ("data = 5\n[train]\nsteps = 3", "not iterable"),
    ],
)
def test_a_broken_recipe_names_file_and_setting(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=rf"broken\.toml: .*{message}"):
        read_recipe(path)


def test_unreadable_recipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    for name in ("none.toml", "binary.toml"):
        with pytest.raises(InputError, match=rf"{name}: not a readable TOML recipe"):
            read_recipe(tmp_path / name)

"""What a run tells about itself: CSV files, TensorBoard, pictures, and how long the device waited for data."""

import csv
import io
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import cv2
import torch

from posefix_track.errors import InputError, ResourceError
from posefix_track.formats.atomic import write_file
from trainer.images import Image

Item = TypeVar("Item")


class Progress:
    """Writes log.csv, validation.csv, pictures.png and, where asked for, TensorBoard's files into a folder.

    Args:
        out: the folder.
        first: step that the run goes on from; what an interrupted run wrote about later ones is dropped.
        tensorboard: whether to write for it too.

    Raises:
        ResourceError: tensorboard is not installed.
    """

    def __init__(self, out: Path, first: int = 0, tensorboard: bool = False) -> None:
        self.out = out
        for name in ("log.csv", "validation.csv"):
            _forget_after(out / name, first)
        self._board = _board(out / "tensorboard", first) if tensorboard else None

    def row(self, name: str, step: int, values: Mapping[str, float]) -> None:
        """Add a row to ``name``.csv and to TensorBoard. Raises InputError where the file has other columns."""
        row: dict[str, Any] = {"step": step, **{key: f"{value:.6g}" for key, value in values.items()}}
        path = self.out / f"{name}.csv"
        header = _header(path)
        if header not in ([], list(row)):
            raise InputError(f"{path}: has columns {header}, expected {list(row)}; train into an empty folder")
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if not header:
                writer.writeheader()
            writer.writerow(row)
        if self._board:
            for key, value in values.items():
                self._board.add_scalar(f"{name}/{key}", value, step)

    def pictures(self, step: int, grid: Image) -> None:
        """Show a BGR picture [H, W, 3]."""
        write_file(self.out / "pictures.png", cv2.imencode(".png", grid)[1].tobytes())
        if self._board:
            self._board.add_image("pictures", grid[:, :, ::-1].copy(), step, dataformats="HWC")

    def close(self) -> None:
        """Write what is still held back."""
        if self._board:
            self._board.close()


class DataWait:
    """Measures the share of time in which the device had nothing to do because the next batch was not there.

    On a GPU the time between the end of one step's work and the arrival of the next batch is measured by the GPU
    itself, which costs no synchronisation until ``share`` is asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._waits: list[tuple[Any, Any]] = []
        self._since = time.perf_counter()

    def watch(self, batches: Iterable[Item]) -> Iterator[Item]:
        """The batches, with the waiting for each measured."""
        iterator = iter(batches)
        while True:
            before = self._now()
            try:
                batch = next(iterator)
            except StopIteration:
                return
            self._waits.append((before, self._now()))
            yield batch

    def share(self) -> tuple[float, float]:
        """Share of the time since the last call, in [0, 1], and that time in seconds."""
        if self._cuda:
            torch.cuda.synchronize()
        now = time.perf_counter()
        waited = sum(a.elapsed_time(b) / 1000 if self._cuda else b - a for a, b in self._waits)
        seconds = now - self._since
        self._waits, self._since = [], now
        return min(waited / max(seconds, 1e-9), 1.0), seconds

    def _now(self) -> Any:
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event


def _board(folder: Path, first: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ResourceError('--tensorboard needs: pip install -e ".[train]"') from error
    return SummaryWriter(str(folder), purge_step=first or None)


def _header(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return next(csv.reader(file), [])


def _forget_after(path: Path, step: int) -> None:
    if not path.is_file():
        return
    with path.open(newline="") as file:
        header, *rows = [*csv.reader(file)] or [[]]
    kept = io.StringIO(newline="")
    csv.writer(kept).writerows([header, *(row for row in rows if row and row[0].isdecimal() and int(row[0]) <= step)])
    write_file(path, kept.getvalue().encode())

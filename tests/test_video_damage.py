"""Damaged videos: told, never raised, and no pose ever meets a picture that is not its own."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from benchmarks.video_mutants import CLIPS, DAMAGES, Tally, mutated, new_reader, numbered_poses, refined, touched_groups
from posefix_track.cli import main
from posefix_track.errors import InputError
from posefix_track.formats import read_poses, write_native
from posefix_track.network import NetworkConfig, PoseFix
from posefix_track.pairing import Pairing
from posefix_track.poses import PoseSequence
from posefix_track.transport_stream import read_transport_stream
from posefix_track.video import VideoFile, open_source
from posefix_track.video_probe import probe
from posefix_track.weights import save_weights
from tests.clips import FRAMES, VFR, Clip, cut_end, number_on, with_sound

READER = new_reader()


@pytest.mark.parametrize("number", range(20))
def test_pose_meets_its_own_picture_or_none(tmp_path: Path, number: int) -> None:
    """A slice of ``python -m benchmarks.video_mutants``, with seeds of its own."""
    clip, damage = CLIPS[number % len(CLIPS)], [*DAMAGES][number % len(DAMAGES)]
    original = clip.write(tmp_path)
    damaged = mutated(original.read_bytes(), damage, 1000 + number)
    path = tmp_path / f"damaged{original.suffix}"
    path.write_bytes(damaged)
    touched = touched_groups(original, damaged)
    tally = Tally()
    tally.add(clip.name, f"{clip.name} {damage}", refined(path, READER), touched)
    assert tally.failures == []


def test_undamaged_clips_are_refined_whole(tmp_path: Path) -> None:
    for clip in CLIPS:
        result = refined(clip.write(tmp_path), READER)
        assert (result.outcome, result.sound, result.garbled, result.others) == (0, FRAMES, 0, [])


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("clip", [Clip("clip.mp4", muxer={"movflags": "+faststart"}), Clip("clip.mkv"), Clip("clip.ts"),
                                  Clip("vfr.mp4", times=VFR, muxer={"movflags": "+faststart"})],
                         ids=lambda clip: clip.name)  # fmt: skip
def test_cut_file_gives_its_first_frames_and_says_so(tmp_path: Path, clip: Clip, share: float) -> None:
    source = open_source(cut_end(clip.write(tmp_path), tmp_path / f"cut-{clip.name}", share))
    frames = list(source)
    # B-frames of the last, broken group of pictures may be lost; where frames are no steady beat, as many as a codec
    # could have reordered.
    assert FRAMES * share - (20 if "vfr" in clip.name else 14) < len(frames) < FRAMES
    assert [number_on(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert source.damage is not None


def transport_faults(path: Path) -> list[int]:
    return read_transport_stream(path, 256).faults


def without(source: Path, target: Path, lost: set[int]) -> Path:
    """Copy a video but for some packets, whose bytes become a Matroska element that libav cannot read."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        for number, packet in enumerate(p for p in container.demux(video=0) if p.size):
            if number in lost and packet.pos is not None:
                data[packet.pos - 7 : packet.pos + packet.size] = bytes(packet.size + 7)
    target.write_bytes(data)
    return target


def lossy(folder: Path, times: np.ndarray | None = None) -> Path:
    whole = Clip("whole.mkv", b_frames=0, key_every=10, times=times).write(folder)
    return without(whole, folder / "lossy.mkv", {23})


def test_frames_after_lost_ones_keep_their_numbers(tmp_path: Path) -> None:
    source = VideoFile(lossy(tmp_path))
    frames = list(source)
    assert [number_on(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert frames[-1].index == FRAMES - 1 and 23 not in [frame.index for frame in frames]
    # libav shows a picture only when the next has come, so that the one before the hole is in doubt as well.
    assert source.uncounted > 0 and "damaged from frame 22 on" in str(source.damage)


def test_numbers_end_where_a_video_without_a_beat_has_lost_frames(tmp_path: Path) -> None:
    source = VideoFile(lossy(tmp_path, np.arange(FRAMES) / 30 + np.random.default_rng(0).uniform(0, 0.03, FRAMES)))
    frames = list(source)
    assert [number_on(frame.image) for frame in frames] == [frame.index for frame in frames] == list(range(22))
    assert "cannot be told" in str(source.damage)


def poses_up_to(last: int) -> PoseSequence:
    poses = numbered_poses()
    return PoseSequence(poses.keypoint_set, poses.frames[: last + 1])


@pytest.mark.parametrize(("last", "refined_after_loss"), [(FRAMES - 1, True), (FRAMES - 30, False)])
def test_poses_beyond_lost_frames_are_left_alone_unless_they_surely_count_them(
    tmp_path: Path, last: int, refined_after_loss: bool
) -> None:
    """A tracker that ran on the damaged video has counted pictures, and cannot have come to its last number."""
    pairing = Pairing(VideoFile(lossy(tmp_path)), poses_up_to(last))
    met = [position for pair in pairing for position in pair.positions]
    assert any(position > 23 for position in met) == refined_after_loss
    assert sorted([*met, *pairing.unmatched]) == list(range(last + 1))


def test_gaps_in_time_without_damage_are_no_lost_frames(tmp_path: Path) -> None:
    """Cameras and screen recorders leave frames out; trackers count the others."""
    times = np.delete(np.arange(FRAMES + 5) / 30, [20, 21, 22, 40, 50])
    source = open_source(Clip("gaps.mkv", times=times).write(tmp_path))
    assert [(frame.index, number_on(frame.image)) for frame in source] == [(i, i) for i in range(FRAMES)]
    assert source.damage is None


def test_pictures_that_build_on_a_damaged_one_are_left_out(tmp_path: Path) -> None:
    path = Clip("clip.mp4", b_frames=0, key_every=10, muxer={"movflags": "+faststart"}).write(tmp_path)
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
    keys, packet = [i for i, p in enumerate(packets) if p.is_keyframe], packets[18]
    data = bytearray(path.read_bytes())
    assert packet.pos is not None and {16, 24} <= set(keys)
    data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    source = open_source(path)
    found = [frame.index for frame in source]
    # The decoder works on eight packets at once, and does not say which of them it refused.
    assert set(range(10)) <= set(found) and not {18, 19, 20, 21, 22, 23} & set(found) and found[-1] == FRAMES - 1
    assert f"{len(found)} of 60 frames are sound" in str(source.damage)


@pytest.mark.parametrize("packets", [1, 3, 16])
def test_lost_transport_packets_are_found_by_their_numbers(tmp_path: Path, packets: int) -> None:
    path = Clip("clip.ts").write(tmp_path)
    data = bytearray(path.read_bytes())
    assert transport_faults(path) == []
    del data[188 * 110 : 188 * (110 + packets)]
    path.write_bytes(data)
    # Sixteen packets of one stream would come back to the same number; here they belong to several.
    assert transport_faults(path)
    source = open_source(path)
    frames = list(source)
    assert [number_on(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert FRAMES // 3 < len(frames) < FRAMES and source.damage is not None


@pytest.mark.parametrize("at", [0, 5 * 188, 70 * 188])
def test_transport_stream_out_of_step_is_found(tmp_path: Path, at: int) -> None:
    data = Clip("clip.ts").write(tmp_path).read_bytes()
    (tmp_path / "torn.ts").write_bytes(data[:at] + b"\x00" * 7 + data[at:])
    if at:
        assert transport_faults(tmp_path / "torn.ts")[0] == at
    (tmp_path / "tail.ts").write_bytes(data + b"\x47\x00")
    assert transport_faults(tmp_path / "tail.ts") == [len(data)]


def test_frame_table_that_repeats_samples_is_refused(tmp_path: Path) -> None:
    path = with_sound(Clip("clip.mp4", b_frames=0).write(tmp_path), tmp_path / "sound.mp4")
    data = bytearray(path.read_bytes())
    chunks = data.index(b"stco") + 12
    data[chunks + 8 : chunks + 12] = data[chunks + 4 : chunks + 8]  # the third chunk is the second once more
    path.write_bytes(data)
    with pytest.raises(InputError, match="frame table"):
        probe(path)


def test_first_frame_may_be_damaged(tmp_path: Path) -> None:
    path = Clip("clip.mp4", b_frames=0, key_every=10, muxer={"movflags": "+faststart"}).write(tmp_path)
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        first = next(container.demux(video=0))
    assert first.pos is not None
    data[first.pos : first.pos + first.size] = bytes(first.size)
    path.write_bytes(data)
    frames = list(open_source(path))
    assert [number_on(frame.image) for frame in frames] == [frame.index for frame in frames]
    assert frames[0].index > 0 and frames[-1].index == FRAMES - 1


def test_command_line_passes_poses_through_and_exits_with_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_weights(tmp_path / "random.safetensors", PoseFix(NetworkConfig(input_size=(64, 64))), {})
    write_native(tmp_path / "in.jsonl", numbered_poses(), {"path": "lossy.mkv"})
    options = ["--weights", tmp_path / "random.safetensors", "--engine", "torch", "--no-gate"]
    files = [lossy(tmp_path), "--poses", tmp_path / "in.jsonl", "-o", tmp_path / "out.jsonl"]
    command = [*files, *options]
    assert main([str(part) for part in command]) == 4
    assert "damaged from frame 22 on" in capsys.readouterr().err
    before, after = (read_poses(tmp_path / name).sequences[0].frames for name in ("in.jsonl", "out.jsonl"))
    same = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if (a.keypoints == b.keypoints).all()]
    report = json.loads((tmp_path / "out.jsonl.report.json").read_text())
    assert {22, 23} <= set(same) and len(same) == report["missing_frames"] < FRAMES // 2

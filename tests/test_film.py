"""Videos: the frames that are written, against ek.frames, and what a decoder reads back."""

import warnings

import numpy as np
import pytest
from eventkit.cli import main
from making import make_events

import eventkit as ek
from eventkit import OptionError, film, viz


@pytest.mark.parametrize("length", [1, 777, 5000, 10**7])
@pytest.mark.parametrize("chunk", [1, 37, 1000])
def test_windows_are_the_frames_of_that_duration(length, chunk):
    events = make_events(300, (9, 7), step=40)
    whole = events.t[-1] - events.t[0]
    n = int(whole // length) + 1
    chunks = [events[i : i + chunk] for i in range(0, 300, chunk)]
    found = np.stack(list(film.windows(chunks, int(events.t[0]), length, n)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of frames without events
        wanted = ek.frames(events, duration=length)
    assert np.array_equal(found, wanted)


def test_events_outside_and_times_that_go_back_do_no_harm():
    events = ek.Events([0, 10, 5, 30, 40], [0, 1, 2, 2, 9], [0] * 5, [1, 1, 0, 1, 1], (3, 1))
    found = list(film.windows([events], 0, 10, 5))
    assert [int(frame.sum()) for frame in found] == [1, 2, 0, 1, 0]
    assert found[1][0, 0, 2] == 1  # late: counted where the film is by then


def test_colours_are_those_of_pictures():
    frames = np.random.default_rng(0).integers(0, 3, (4, 2, 9, 9), np.uint16)
    scale = film.full_scale(frames, 4)
    assert scale == np.percentile(frames[frames > 0], 99.5)
    found = np.stack(list(film.coloured(frames, scale)))
    assert np.array_equal(found, viz.palette_indices(frames))


def test_a_video_has_every_frame_in_its_colours(tmp_path):
    av = pytest.importorskip("av", reason="needs the extra video")
    frames = np.zeros((5, 2, 5, 9), np.uint16)
    for k in range(5):
        frames[k, k % 2, 1, k] = 3
    path = film.film(film.coloured(frames, 3), tmp_path / "a.mp4", fps=20, side=63)
    with av.open(str(path)) as video:
        stream = video.streams.video[0]
        assert stream.average_rate == 20
        pictures = [frame.to_ndarray(format="rgb24") for frame in video.decode(stream)]
    assert len(pictures) == 5
    assert pictures[0].shape == (36, 64, 3)  # 35 x 63, padded to even sides
    _, _, off, on = viz.THEMES["dark"]
    for k, picture in enumerate(pictures):
        centre = picture[7 + 3, 7 * k + 3].astype(int)
        right, wrong = (np.abs(centre - hue).sum() for hue in ((off, on), (on, off))[k % 2])
        assert right < wrong
    with pytest.raises(OptionError, match="no frames"):
        film.film([], tmp_path / "b.mp4")
    assert not (tmp_path / "b.mp4").exists()


def test_a_recording_and_a_store_become_videos(tmp_path, capsys):
    av = pytest.importorskip("av", reason="needs the extra video")
    (tmp_path / "pets/train/cat").mkdir(parents=True)
    (tmp_path / "pets/test/cat").mkdir(parents=True)
    for split in ("train", "test"):
        ek.write(tmp_path / f"pets/{split}/cat/0.aedat", make_events(4000, step=50))
    recording = tmp_path / "pets/train/cat/0.aedat"
    length = int(np.ptp(ek.read(recording).t))
    assert main(["view", str(recording), "--out", str(tmp_path / "a.mp4"), "--fps", "50"]) == 0
    assert "1 x real time" in capsys.readouterr().out
    for kind in (["--events"], ["--frames", "4"]):
        store = tmp_path / f"{kind[0]}.zarr"
        assert main(["convert", str(tmp_path / "pets"), *kind, "--out", str(store)]) == 0
        assert main(["view", str(store), "--out", f"{store}.mp4", "--fps", "50"]) == 0
    frames = {"a.mp4": length // 20_000 + 1, "--frames.zarr.mp4": 4}
    frames["--events.zarr.mp4"] = frames["a.mp4"]
    for name, n in frames.items():
        with av.open(str(tmp_path / name)) as video:
            assert sum(1 for _ in video.decode(video=0)) == n

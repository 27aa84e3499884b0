"""Pictures of frames: which colour, which size, which bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventkit import OptionError, viz

Image = pytest.importorskip("PIL.Image", reason="needs the extra viz")

GROUND = {theme: np.array(colours[0]) for theme, colours in viz.THEMES.items()}


def blank(t=4, height=5, width=7, channels=2, dtype=np.uint16):
    return np.zeros((t, channels, height, width), dtype)


def gif_frames(path):
    with Image.open(path) as picture:
        for i in range(picture.n_frames):
            picture.seek(i)
            yield np.asarray(picture.convert("RGB"))


@given(
    st.integers(1, 4),
    st.integers(1, 2),
    st.integers(1, 9),
    st.integers(1, 9),
    st.sampled_from([np.uint8, np.uint16, np.int32, np.float32]),
    st.integers(0, 2**32 - 1),
)
def test_any_frames_have_a_colour_and_stay_as_they_are(t, channels, height, width, dtype, seed):
    frames = (
        np.random.default_rng(seed).integers(0, 200, (t, channels, height, width)).astype(dtype)
    )
    before = frames.copy()
    colours = viz.colourise(frames)
    assert colours.shape == (t, height, width, 3)
    assert colours.dtype == np.uint8
    assert np.array_equal(frames, before)
    drawn = (colours != GROUND["dark"]).any(axis=3)
    assert np.array_equal(drawn, frames.any(axis=1))


@pytest.mark.parametrize("theme", viz.THEMES)
def test_off_is_blue_on_is_orange_and_nothing_is_ground(theme):
    frames = blank(1)
    frames[0, 0, 1, 2], frames[0, 1, 3, 4] = 9, 9
    (picture,) = viz.colourise(frames, theme=theme)
    _, _, off, on = viz.THEMES[theme]
    assert tuple(picture[1, 2]) == off
    assert tuple(picture[3, 4]) == on
    assert tuple(picture[0, 0]) == tuple(GROUND[theme])


def test_both_polarities_on_one_pixel_mix():
    frames = blank(1)
    frames[0, :, 0, 0], frames[0, 0, 0, 1], frames[0, 1, 0, 2] = 5, 5, 5
    row = viz.colourise(frames)[0, 0].astype(int)
    assert np.abs(row[0] - (row[1] + row[2]) / 2).max() <= 1


def test_one_channel_is_signed():
    signed, counts = blank(1, channels=1, dtype=np.int32), blank(1)
    signed[0, 0, 0, 0], signed[0, 0, 1, 1] = -3, 3
    counts[0, 0, 0, 0], counts[0, 1, 1, 1] = 3, 3
    assert np.array_equal(viz.colourise(signed), viz.colourise(counts))


def test_a_hot_pixel_does_not_darken_the_rest():
    frames = np.ones((1, 2, 40, 40), np.uint16)
    calm = viz.colourise(frames)
    frames[0, 0, 0, 0] = 65535
    assert np.array_equal(viz.colourise(frames), calm)


def test_more_events_are_never_darker():
    frames = blank(1, 1, 50)
    frames[0, 1, 0] = np.arange(50)
    distance = np.abs(viz.colourise(frames)[0, 0].astype(int) - GROUND["dark"]).sum(axis=1)
    assert (np.diff(distance) >= 0).all()
    assert distance[1] > 0


def test_sheet_shows_every_frame_exactly(tmp_path):
    frames = np.random.default_rng(0).integers(0, 3, (5, 2, 34, 34), np.uint16)
    path = viz.sheet(frames, tmp_path / "a.png", title="five", captions=list("abcde"))
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    k = round(viz.SIDE / 34)
    for tile in viz.colourise(frames).repeat(k, axis=1).repeat(k, axis=2):
        windows = np.lib.stride_tricks.sliding_window_view(pixels[:, :, 0], tile.shape[:2])
        corners = np.argwhere((windows[:, :, ::k, ::k] == tile[::k, ::k, 0]).all(axis=(2, 3)))
        found = [
            (y, x)
            for y, x in corners
            if np.array_equal(pixels[y : y + 34 * k, x : x + 34 * k], tile)
        ]
        assert len(found) == 1


def test_animation_shows_every_frame_exactly_for_its_time(tmp_path):
    frames = np.random.default_rng(1).integers(0, 4, (6, 2, 34, 34), np.uint16)
    path = viz.animate(frames, tmp_path / "a.gif", fps=20)
    k = round(2 * viz.SIDE / 34)
    shown = list(gif_frames(path))
    assert len(shown) == 6
    for picture, colours in zip(shown, viz.colourise(frames), strict=True):
        assert np.array_equal(picture, colours.repeat(k, axis=0).repeat(k, axis=1))
    with Image.open(path) as picture:
        assert picture.info["duration"] == 50
        assert picture.info["loop"] == 0


def test_same_frames_same_bytes(tmp_path):
    frames = np.random.default_rng(2).integers(0, 4, (3, 2, 20, 30), np.uint16)
    for draw, name in ((viz.sheet, "x.png"), (viz.animate, "x.gif")):
        first = draw(frames, tmp_path / name).read_bytes()
        assert draw(frames, tmp_path / name).read_bytes() == first


def test_large_sensors_shrink_by_sums_so_that_no_event_vanishes(tmp_path):
    frames = blank(2, 720, 1280)
    frames[0, 1, 700, 1279] = 1
    path = viz.sheet(frames, tmp_path / "a.png", captions=["", ""])
    with Image.open(path) as picture:
        assert picture.width < 800
        colours = {colour for _, colour in picture.convert("RGB").getcolors()}
    assert viz.THEMES["dark"][3] in colours


def test_empty_recording_is_a_dark_picture(tmp_path):
    assert (viz.colourise(blank()) == GROUND["dark"]).all()
    assert viz.sheet(blank(), tmp_path / "a.png").is_file()
    assert viz.animate(blank(), tmp_path / "a.gif").is_file()


@pytest.mark.parametrize("shape", [(2, 5, 7), (4, 3, 5, 7), (0, 2, 5, 7), (4, 2, 0, 7)])
def test_wrong_shape_is_named(shape):
    with pytest.raises(OptionError, match=r"expected \(T, 2, H, W\)"):
        viz.colourise(np.zeros(shape))


def test_values_that_are_not_finite_are_refused():
    frames = blank(dtype=np.float32)
    frames[0, 0, 0, 0] = np.nan
    with pytest.raises(OptionError, match="NaN or infinite"):
        viz.colourise(frames)


def test_wrong_options_are_named(tmp_path):
    with pytest.raises(OptionError, match="theme is 'grey', expected one of dark, light"):
        viz.colourise(blank(), theme="grey")
    with pytest.raises(OptionError, match="fps is 99"):
        viz.animate(blank(), tmp_path / "a.gif", fps=99)
    with pytest.raises(OptionError, match="2 captions for 4 frames"):
        viz.sheet(blank(), tmp_path / "a.png", captions=["1", "2"])
    with pytest.raises(OptionError, match="draw fewer"):
        viz.sheet(blank(10_000, 34, 34, dtype=np.uint8), tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_failed_write_leaves_nothing_behind(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(OptionError, match=r"a\.png is a folder"):
        viz.sheet(blank(), tmp_path / "a.png")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]

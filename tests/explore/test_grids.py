"""Every picture is in its place, whole and unchanged."""

import numpy as np
import pytest

from hpax.explore import colour, grids


def pictures(rows, columns, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 9, 6, 3), dtype=np.uint8)


def find(page, picture):
    """The places (y, x) at which a page holds a picture pixel for pixel."""
    windows = np.lib.stride_tricks.sliding_window_view(page, picture.shape)[:, :, 0]
    return np.argwhere((windows == picture).all((2, 3, 4)))


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("words", [{}, {"names": ["one", "a longer name"], "titles": ["a", "b", "c"], "title": "all"}])
def test_each_picture_is_found_once_in_row_and_column(scale, words):
    drawn = pictures(2, 3)
    page = grids.grid(drawn, scale=scale, **words)
    large = drawn.repeat(scale, 2).repeat(scale, 3)
    places = np.array([[find(page, picture) for picture in row] for row in large])
    assert places.shape == (2, 3, 1, 2)
    y, x = places[..., 0, 0], places[..., 0, 1]
    assert (y == y[:, :1]).all()
    assert (x == x[:1]).all()
    assert (np.diff(y[:, 0]) >= 9 * scale).all()
    assert (np.diff(x[0]) >= 6 * scale).all()


def test_words_leave_ink_beside_the_pictures_and_change_nothing_in_them():
    black = np.zeros((2, 2, 20, 60, 3), np.uint8)
    assert grids.grid(black).max() == max(grids.PAPER)
    for words in ({"names": ["row", "two"]}, {"titles": ["left", "right"]}, {"title": "all"}):
        assert grids.grid(black, **words).max() > 200
        assert len(find(grids.grid(black, **words), black[0, 0])) == 4


def test_the_same_grid_gives_the_same_bytes():
    words = {"names": ["µ", "→"], "titles": ["a", "b"]}
    first, again = (colour.png(grids.grid(pictures(2, 2), **words)) for _ in range(2))
    assert first == again


def test_an_inpainting_shows_source_markers_prediction_and_truth_in_this_order():
    random = np.random.default_rng(0)
    source, target = random.random((2, 4, 16, 16, 3), np.float32)
    predicted = random.random((4, 16, 16, 1), np.float32)
    page = grids.inpainting(source, target, predicted, titles=list("abcd"), scale=1)
    truth = target.copy()
    truth[..., 1:] = 0
    markers = target.copy()
    markers[..., 0] = 0
    shown = [colour.picture(part)[1] for part in (source, markers, np.pad(predicted, [(0, 0)] * 3 + [(0, 2)]), truth)]
    places = [find(page, picture) for picture in shown]
    assert [len(place) for place in places] == [1, 1, 1, 1]
    heights = [place[0, 0] for place in places]
    assert heights == sorted(heights)
    assert len({place[0, 1] for place in places}) == 1


@pytest.mark.parametrize("width", [0, 10, 40, 100])
def test_shortened_text_fits_and_is_a_beginning(width):
    font, text = grids.letters(), "Vesicles and punctate cytosolic patterns"
    short = grids.shortened(text, width, font)
    assert font.getlength(short) <= width
    assert text.startswith(short.rstrip("…"))
    assert grids.shortened(text, 10_000, font) == text


BLANK = np.zeros((2, 2, 3), np.uint8)


@pytest.mark.parametrize(
    ("rows", "words", "told"),
    [
        ([], {}, "one size"),
        ([[BLANK], []], {}, "one length"),
        ([[BLANK, BLANK[:1]]], {}, "one size"),
        ([[BLANK]], {"names": ["a", "b"]}, "2 names"),
        ([[BLANK]], {"titles": ["a", "b"]}, "2 titles"),
    ],
)
def test_a_grid_with_holes_is_refused(rows, words, told):
    with pytest.raises(ValueError, match=told):
        grids.grid(rows, **words)

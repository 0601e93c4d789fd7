"""Maps over frames: where the colours are, and what is left of the frame."""

import numpy as np
import pytest
from PIL import Image

from strf_cuda import pictures
from strf_cuda.data.tracklets import Tracklet
from strf_cuda.drawing.attention import AttentionBlock, draw_attention
from strf_cuda.drawing.masks import MaskColumn, MaskRow, draw_masks
from strf_cuda.drawing.overlays import RING, overlay, wrapped
from strf_cuda.drawing.ranking import Answers, Section, draw_compared_rankings
from strf_cuda.errors import InputError

FRAME = np.full((40, 20, 3), (200, 30, 30), np.uint8)


def lightness(picture):
    return np.asarray(Image.fromarray(picture).convert("L")).astype(int)


def test_larger_values_are_lighter_and_lie_where_their_position_does():
    values = np.zeros((4, 2))
    values[2, 1] = 1
    light = lightness(overlay(FRAME, values))
    assert np.unravel_index(light.argmax(), light.shape)[0] in range(20, 30)
    assert light[20:30, 10:].mean() > light[20:30, :10].mean() > light[:10].mean()


def test_positions_are_rectangles_where_they_are_not_smoothed():
    values = np.array([[0, 0.5], [1, 0.25]])
    picture = overlay(FRAME, values, smooth=False)
    cells = picture.reshape(2, 20, 2, 10, 3).swapaxes(1, 2)  # [rows, columns, 20, 10, 3]
    assert all(len(np.unique(cells[i, j].reshape(-1, 3), axis=0)) == 1 for i in range(2) for j in range(2))
    order = np.array([[lightness(cells[i, j]).mean() for j in range(2)] for i in range(2)])
    assert (order.ravel().argsort() == values.ravel().argsort()).all()


def test_a_frame_is_grey_under_its_map():
    red, green = (np.full((8, 8, 3), colour, np.uint8) for colour in ((100, 0, 0), (0, 51, 0)))
    assert (lightness(red) == lightness(green)).all()
    assert (overlay(red, np.ones((2, 2))) == overlay(green, np.ones((2, 2)))).all()


def test_a_picture_has_a_block_for_each_clip_and_a_row_for_each_model(tmp_path):
    def size(blocks, models):
        block = AttentionBlock("0001 / c1", "", np.stack([FRAME] * 3), [np.ones((3, 4, 2))] * models)
        path = tmp_path / "attention.png"
        draw_attention([block] * blocks, ["P3DC"] * models, path, title="t", full_scale="1")
        with Image.open(path) as picture:
            return picture.size

    (width, height), (wider, same), (_, higher) = size(1, 1), size(2, 1), size(1, 2)
    assert wider > width and same == height and higher == height + 42
    assert size(5, 1)[0] == size(4, 1)[0] and size(5, 1)[1] > 2 * height - 150
    with pytest.raises(InputError, match="no clips"):
        size(0, 1)


def test_sentences_are_wrapped_between_words_and_lose_none():
    sentences = ["a sentence of several words that do not fit into one line", "short"]
    lines = wrapped(sentences, 13, 120)
    assert len(lines) > 3 and " ".join(lines) == " ".join(sentences) and lines[-1] == "short"


def test_the_position_is_framed_on_every_frame_and_map(tmp_path):
    def framed(position):
        weights = np.full((4, 2), 0.125)
        row = MaskRow(["query 0"], np.stack([FRAME] * 3), position, [weights] * 2, [("a", "b")] * 2)
        columns = [MaskColumn("one", "", "first"), MaskColumn("two", "")]
        draw_masks([row], columns, tmp_path / "masks.png", title="t")
        ring = (np.asarray(Image.open(tmp_path / "masks.png")) == RING).all(2)
        return ring.any(1).nonzero()[0].min(), ring.any(0).nonzero()[0].min(), int(ring.sum())

    top, left, pixels = framed((0, 0))
    lower, right, as_many = framed((2, 1))
    assert (lower - top, right - left) == (2 * 10, 10) and pixels == as_many
    box = (10 + 2) ** 2 - (10 - 2) ** 2  # two pixels wide around 10 x 10
    assert pixels == 5 * box - 0
    with pytest.raises(InputError, match="no positions"):
        draw_masks([], [], tmp_path / "masks.png", title="t")


def test_compared_rankings_frame_right_answers_green_and_wrong_ones_red_in_a_row_for_each_model(tmp_path):
    tracklets = []
    for person in (1, 2):
        Image.fromarray(FRAME).save(tmp_path / f"{person}.png")
        tracklets.append(Tracklet([str(tmp_path / f"{person}.png")], person, person))

    def colours(*rankings):
        answers = [Answers("P3DC", ["AP 50.0"], np.array(ranking), np.zeros(2)) for ranking in rankings]
        path = tmp_path / "ranking.png"
        draw_compared_rankings([Section("all", [(tracklets[0], "query 0", answers)])], tracklets, path, title="t")
        picture = np.asarray(Image.open(path))
        return [int((picture == colour).all(2).sum()) for colour in (pictures.GREEN, pictures.RED)]

    green, red = colours([0, -1])
    assert green > 0 == red
    assert colours([0, 1])[0] == green and colours([0, 1])[1] > 0
    assert colours([0, 1], [1, 0])[0] == 2 * green
    with pytest.raises(InputError, match="no queries"):
        draw_compared_rankings([], tracklets, tmp_path / "ranking.png", title="t")

"""The ranking picture: who is framed how, what an empty place looks like, and how the file comes to be."""

import numpy as np
import pytest
from PIL import Image

from strf_cuda import pictures
from strf_cuda.data.tracklets import JUNK_PERSON, Tracklet
from strf_cuda.errors import InputError
from strf_cuda.pictures import draw_rankings

SHADES = [(240, 200, 0), (0, 200, 240), (120, 0, 240)]


@pytest.fixture
def gallery(tmp_path):
    """Persons 1, 2 and 0; the middle one of each one's three frames has the shade of its own."""
    tracklets = []
    for index, (shade, person) in enumerate(zip(SHADES, (1, 2, 0), strict=True)):
        paths = [str(tmp_path / f"{index}-{frame}.png") for frame in range(3)]
        for frame, path in enumerate(paths):
            Image.new("RGB", (8, 16), shade if frame == 1 else (0, 0, 0)).save(path)
        tracklets.append(Tracklet(paths, person, index + 1))
    return tracklets


def frame_and_inside(picture, row, column):
    """The colour of the frame, and of the picture within, at a place; column -1 is the query."""
    cell = pictures.FRAME_WIDTH + 2 * pictures.BORDER
    left = pictures.MARGIN
    if column >= 0:
        left += cell + pictures.QUERY_GAP + column * (cell + pictures.GAP)
    height = pictures.FRAME_HEIGHT + 2 * pictures.BORDER + pictures.LABEL_HEIGHT + pictures.GAP
    top = pictures.MARGIN + pictures.TITLE_HEIGHT + row * height
    return picture.getpixel((left + 1, top + 1)), picture.getpixel((left + cell // 2, top + height // 2))


def test_right_is_green_wrong_is_red_and_places_hold_the_middle_frames(gallery, tmp_path):
    queries = [gallery[0], gallery[1]]
    draw_rankings(queries, gallery, np.array([[0, 1, 2], [2, 1, -1]]), tmp_path / "out" / "ranking.png")
    picture = Image.open(tmp_path / "out" / "ranking.png")
    places = {(row, column): frame_and_inside(picture, row, column) for row in range(2) for column in range(-1, 3)}
    green, red, query = pictures.GREEN, pictures.RED, pictures.QUERY_FRAME
    assert places == {
        (0, -1): (query, SHADES[0]),
        (0, 0): (green, SHADES[0]),
        (0, 1): (red, SHADES[1]),
        (0, 2): (red, SHADES[2]),
        (1, -1): (query, SHADES[1]),
        (1, 0): (red, SHADES[2]),
        (1, 1): (green, SHADES[1]),
        (1, 2): (pictures.WHITE, pictures.WHITE),
    }


def test_where_nobody_knows_who_it_is_an_answer_is_neither_right_nor_wrong(gallery, tmp_path):
    unknown = [Tracklet(tracklet.paths, JUNK_PERSON, 1) for tracklet in gallery]
    draw_rankings([gallery[0], unknown[0]], [unknown[1], gallery[2]], [[0, 1], [0, 1]], tmp_path / "ranking.png")
    picture = Image.open(tmp_path / "ranking.png")
    frames = [frame_and_inside(picture, row, column)[0] for row in range(2) for column in range(2)]
    assert frames == [pictures.GREY, pictures.RED, pictures.GREY, pictures.GREY]


def test_right_and_wrong_differ_without_colour(gallery, tmp_path):
    same_pixels = [gallery[0], Tracklet(gallery[0].paths, 2, 1)]
    draw_rankings([gallery[0]], same_pixels, [[0, 1]], tmp_path / "ranking.png")
    picture = np.asarray(Image.open(tmp_path / "ranking.png"))
    cell = pictures.FRAME_WIDTH + 2 * pictures.BORDER
    left = pictures.MARGIN + cell + pictures.QUERY_GAP
    top = pictures.MARGIN + pictures.TITLE_HEIGHT + pictures.BORDER
    white = (picture == 255).all(axis=2)[top : top + pictures.FRAME_HEIGHT]
    right, wrong = white[:, left : left + cell], white[:, left + cell + pictures.GAP :][:, :cell]
    assert right.any() and wrong.any() and (right != wrong).any()


def test_labels_are_blue_and_names_show(gallery, tmp_path):
    def blue_pixels(**options):
        path = tmp_path / "ranking.png"
        draw_rankings([gallery[0]], gallery, [[1]], path, **options)
        return (np.asarray(Image.open(path)) == pictures.BLUE).all(axis=2)

    plain = blue_pixels()
    named = blue_pixels(person_names={1: "Ann", 2: "a name that is far too long for its place"})
    assert plain.any() and (plain != named).any()


def test_nothing_but_the_picture_is_left_behind(gallery, tmp_path):
    folder = tmp_path / "out"
    draw_rankings([gallery[0]], gallery, [[1, 2]], folder / "ranking.png", distances=[[0.25, 0.5]])
    assert [file.name for file in folder.iterdir()] == ["ranking.png"]


def test_unreadable_frame_is_named_and_leaves_the_old_picture(gallery, tmp_path):
    target = tmp_path / "ranking.png"
    target.write_bytes(b"old")
    broken = Tracklet([str(tmp_path / "gone.jpg")], 3, 1)
    with pytest.raises(InputError, match=r"gone\.jpg"):
        draw_rankings([gallery[0]], [broken], [[0]], target)
    assert target.read_bytes() == b"old"


@pytest.mark.parametrize("ranking", [[[0], [1]], [0], [[]]])
def test_ranking_of_another_shape_is_refused(gallery, tmp_path, ranking):
    with pytest.raises(InputError, match="1 queries"):
        draw_rankings([gallery[0]], gallery, ranking, tmp_path / "ranking.png")


def test_distances_of_another_shape_are_refused(gallery, tmp_path):
    with pytest.raises(InputError, match=r"distances are \[1, 1\]"):
        draw_rankings([gallery[0]], gallery, [[0, 1]], tmp_path / "ranking.png", distances=[[0.1]])

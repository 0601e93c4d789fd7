"""`python -m strf_cuda.data`: what it counts, what it finds, which layouts it knows, and the contact sheet."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import trees
from images import noise_jpeg
from strf_cuda import contact_sheet, pack
from strf_cuda.cli import run
from strf_cuda.data import __main__ as data_command
from strf_cuda.data import inspection, problems
from strf_cuda.data.layouts import recognise
from strf_cuda.data.registry import open_dataset

SIZE = (16, 32)


@pytest.fixture
def said(capsys):
    """Runs the command; gives what it printed, and how it ended."""

    def said(*argv, status=0):
        assert run(lambda: data_command.main([str(word) for word in argv])) == status
        printed = capsys.readouterr()
        return printed.err if status else printed.out

    return said


def row(text, name):
    """The cells of the line that begins with a name."""
    (line,) = [line for line in text.splitlines() if re.match(rf"{name}\s\s+", line)]
    return re.split(r"\s\s+", line)[1:]


def part(text, heading):
    """The lines under a heading."""
    lines = text.splitlines()
    if heading not in lines:
        return []
    rest = lines[lines.index(heading) + 1 :]
    return rest[: next((index for index, line in enumerate(rest) if not line.startswith(" ")), len(rest))]


def noisy(path, seed):
    """A picture unlike all others."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


@pytest.fixture
def people(tmp_path):
    """Four people by two cameras in two tracklets of three frames, all pictures different."""
    for index in range(48):
        person, rest = divmod(index, 12)
        camera, rest = divmod(rest, 6)
        tracklet, frame = divmod(rest, 3)
        noisy(tmp_path / "people" / "abcd"[person] / f"c{camera}" / f"t{tracklet}" / f"{frame + 1}.jpg", index)
    return tmp_path / "people"


def test_lists_are_counted_as_they_are(tmp_path, said):
    text = said(trees.small_mars(tmp_path, SIZE))
    assert row(text, "train") == ["2", "3", "12", "3", "4", "4.0", "5", "1", "3"]
    assert row(text, "query") == ["2", "4", "13", "1", "3", "3.2", "6", "2", "4"]
    assert row(text, "gallery") == ["2", "6", "21", "1", "3.5", "3.5", "6", "3", "6"]
    assert row(text, "1") == ["2", "9", "1", "4", "2", "9"]
    assert row(text, "3") == ["0", "0", "1", "6", "1", "6"]
    assert row(text, "queries") == ["4 of 4 have a match by another camera, 1 to 2 (median 1) each, 5 in all"]
    assert row(text, "rankings")[0].startswith("5 pairs")
    assert row(text, "distractors")[0].startswith("1 gallery tracklets")
    assert row(text, "junk")[0].startswith("1 tracklets")
    assert row(text, "challenges") == ["queries: 1 occluded"]
    assert row(text, "a training person") == ["1 to 2 (median 1.5) tracklets, seen by 1 to 2 (median 1.5) cameras"]
    assert any("partial copy of MARS: 3 of 8,298" in line for line in part(text, "notes"))
    assert part(text, "problems")[0] == "  3 of 5 cameras of the test have no training tracklet: 3, 5, 6"


def test_people_whom_no_query_looks_for_are_counted(tmp_path, said):
    lists = {"train/a/x/1": 2, "query/b/x/1": 2, "gallery/b/y/1": 2, "gallery/c/x/1": 2, "gallery/c/x/2": 1}
    text = said(trees.write_folder(tmp_path, lists, SIZE))
    assert row(text, "without a query") == ["2 gallery tracklets of 1 people"]


def test_a_list_without_tracklets_has_no_lengths(tmp_path, said):
    trees.write_folder(tmp_path / "frames", {"1": 1}, SIZE)
    (tmp_path / "list.csv").write_text("path,person,camera,tracklet,split\nframes/1/1.jpg,p,c,1,train\n")
    text = said(tmp_path / "list.csv")
    assert row(text, "query") == ["0", "0", "0", "-", "-", "-", "-", "-", "-"]
    assert "list.csv lists no query tracklet" in text


@pytest.mark.parametrize("kind", trees.SMALL)
def test_every_layout_is_recognised(kind, tmp_path):
    name, write = trees.SMALL[kind]
    assert recognise(write(tmp_path)) == name


def test_walkers_and_packed_copies_are_recognised(tiny_walkers, tmp_path):
    assert recognise(tiny_walkers) == "walkers"
    (tmp_path / "index.npz").touch()
    assert recognise(tmp_path) == "packed"


def test_a_packed_copy_is_described_as_its_original(people, tmp_path, said):
    pack.main([str(people), str(tmp_path / "packed"), "--name=folder"])
    said(people)
    original = said(people, "--decode", "--workers=1")
    copied = said(tmp_path / "packed", "--decode", "--workers=1")
    assert copied.splitlines()[1:] == original.splitlines()[1:]


def test_an_unknown_layout_gets_one_sentence_that_says_what_was_looked_for(tmp_path, said):
    (tmp_path / "a").mkdir()
    message = said(tmp_path, status=2)
    assert message.count("\n") == 1 and "Traceback" not in message
    for word in ("bbox_train", "i-LIDS-VID/sequences", "prid_2011/multi_shot", "index.npz", "person/camera/tracklet"):
        assert word in message
    assert "does not exist" in said(tmp_path / "nowhere", status=2)
    (tmp_path / "notes.txt").touch()
    assert "not a table (.csv)" in said(tmp_path / "notes.txt", status=2)


@pytest.mark.parametrize(("kind", "given"), [("duke", "train"), ("folder", "a"), ("ilids", "i-LIDS-VID/sequences")])
def test_a_data_set_a_level_above_is_named(tmp_path, said, kind, given):
    name, write = trees.SMALL[kind]
    root = write(tmp_path)
    above = (root / given).parent
    assert said(root / given, status=2).endswith(f"; {above} is one ({name}): give that\n")


@pytest.mark.parametrize("kind", ["mars", "duke", "prid", "folder", "divided"])
def test_a_data_set_a_level_below_is_named(tmp_path, said, kind):
    name, write = trees.SMALL[kind]
    root = write(tmp_path / "data")
    given, named = (tmp_path, root.parent) if kind == "mars" else (root.parent, root)  # that is found a level below
    assert said(given, status=2).endswith(f"; {named} is one ({name}): give that\n")


def test_a_name_overrides_the_layout(tmp_path, said):
    assert "frames must lie in" in said(trees.small_mars(tmp_path), "--name", "folder", status=2)
    assert "needs its folder or file" in said("--name", "mars", status=2)


def test_a_split_is_taken_from_the_command_line(tmp_path, said):
    root = trees.small_ilids(tmp_path, SIZE)
    assert "split 3 of" in said(root, "--split", 3)
    assert "splits 0 to 9" in said("--split=10", root, status=2)


def test_the_root_stands_anywhere_and_once(people, said):
    text = said(people, "--decode", "--workers", 1)
    assert said("--decode", people, "--workers", 1) == text == said("--workers=1", "--decode=true", people)
    assert "belongs to no option" in said(people, people, status=2)


def test_a_sound_data_set_has_no_problems(people, said):
    text = said(people, "--decode", "--workers", 1)
    assert "no problems found" in text and not part(text, "problems")
    assert row(text, "frame sizes") == ["32x16 (height x width) in all 48 that were decoded"]
    assert row(text, "frame files")[0].startswith("JPEG RGB 48; ")


def test_all_bad_frames_are_listed_by_worker_processes(people, said, monkeypatch):
    monkeypatch.setattr(data_command, "SAMPLE", 20)
    (people / "a/c0/t0/2.jpg").write_bytes(b"")
    (people / "b/c1/t1/3.jpg").write_bytes(noise_jpeg()[:900])
    found = part(said(people, "--decode", "--workers", 2), "problems")
    assert found[0] == "  2 of 48 frames cannot be decoded:"
    bad, worse = sorted(found[1:])
    assert "a/c0/t0/2.jpg is empty" in bad and "b/c1/t1/3.jpg is damaged" in worse


def test_a_sample_is_decoded_of_what_has_more_frames(people, said, monkeypatch):
    assert "--decode decodes all" not in said(people)
    monkeypatch.setattr(data_command, "SAMPLE", 20)
    for path in people.rglob("*.jpg"):
        path.write_bytes(b"")
    text = said(people)
    assert "20 frames were decoded; --decode decodes all" in text
    found = part(text, "problems")
    assert found[0] == "  20 of 20 frames cannot be decoded:" and found[-1] == "    and 10 more" and len(found) == 12


def test_a_sample_is_spread_over_all_frames(people):
    tracklets = inspection.distinct(open_dataset("folder", str(people)))
    paths = [path for paths in inspection.sample(tracklets, 24) for path in paths]
    assert len(set(paths)) == 24
    assert len({path.rpartition("/")[0] for path in paths}) == 16
    assert len(inspection.sample(tracklets, 1_000)) == 48
    assert inspection.sample([], 24) == []


def test_sizes_and_kinds_of_frames_are_told(people, said):
    Image.new("L", (40, 20), 200).save(people / "a/c0/t0/1.jpg")
    text = said(people, "--decode", "--workers=1")
    assert row(text, "frame sizes") == ["height 20 to 32, width 16 to 40; 32x16 in 47 of 48 that were decoded"]
    assert "JPEG RGB 47, JPEG L 1; " in row(text, "frame files")[0]
    found = "\n".join(part(text, "problems"))
    assert "1 of 48 frames decoded are of one colour" in found and "1 of 48 frames decoded are wider than high" in found


COPIES = {
    "of two people at once": ("train/a/x/1/1.jpg", "train/b/x/1/2.jpg"),
    "to train on and to test on": ("train/a/x/1/1.jpg", "gallery/a/x/1/1.jpg"),
    "of two cameras at once": ("train/a/x/1/1.jpg", "train/a/y/1/1.jpg"),
    "in two tracklets of one list": ("train/a/x/1/1.jpg", "train/a/x/2/1.jpg"),
    "that come again in one tracklet": ("train/a/x/1/1.jpg", "train/a/x/1/3.jpg"),
}


@pytest.mark.parametrize("kind", [*COPIES, None])
def test_repeated_pictures_are_told_by_what_they_spoil(kind, tmp_path, said):
    places = ["train/a/x/1", "train/a/x/2", "train/a/y/1", "train/b/x/1"]
    places += ["query/c/x/1", "gallery/c/x/1", "gallery/a/x/1"]
    for index, place in enumerate(places):
        for frame in (1, 2, 3):
            noisy(tmp_path / place / f"{frame}.jpg", 3 * index + frame)
    # A query's copy in the gallery, as it should be.
    (tmp_path / "gallery/c/x/1/1.jpg").write_bytes((tmp_path / "query/c/x/1/1.jpg").read_bytes())
    if kind:
        first, second = (tmp_path / path for path in COPIES[kind])
        second.write_bytes(first.read_bytes())
    found = [line for line in part(said(tmp_path, "--decode", "--workers=1"), "problems") if "pictures" in line]
    assert len(found) == bool(kind)
    if kind:
        assert found[0].startswith(f"  pictures {kind}: 1, such as ")
        assert str(first) in found[0] and str(second) in found[0]


def test_pictures_of_one_colour_are_no_copies_of_each_other(tmp_path, said):
    found = part(said(trees.small_folder(tmp_path, SIZE), "--decode", "--workers=1"), "problems")
    assert found == ["  32 of 32 frames decoded are of one colour all over"]


def numbered(folder, numbers):
    for number in numbers:
        noisy(folder / f"cam1_{number:05d}.jpg", number)


def holes(tmp_path, numbers):
    numbered(tmp_path / "people/a/x/1", numbers)
    numbered(tmp_path / "people/b/x/1", [500, 501])
    return problems.holes(open_dataset("folder", str(tmp_path / "people")))


@pytest.mark.parametrize("numbers", [[1], [1, 9], [7, 8, 9], [12, 24, 36, 48], [1, 5, 7, 20, 22, 31]])
def test_steady_and_unsteady_numbers_have_no_holes(numbers, tmp_path):
    assert holes(tmp_path, numbers) == []


def test_numbers_that_stay_for_some_frames_are_not_the_frames(tmp_path):
    trees.write_frames(tmp_path / "people/a/x/1", ["5_1.jpg", "5_2.jpg", "5_3.jpg", "9_1.jpg"])
    trees.write_frames(tmp_path / "people/b/x/1", ["1.jpg"])
    assert problems.holes(open_dataset("folder", str(tmp_path / "people"))) == []


@pytest.mark.parametrize(
    ("names", "numbers"),
    [
        (["0001C1T0001F009.jpg", "0001C1T0001F010.jpg"], [9, 10]),
        (["9.jpg", "10.jpg", "11.jpg"], [9, 10, 11]),
        (["f7_x120.jpg", "f8_x95.jpg"], [7, 8]),
        (["0001_C6_F0001_X30012.jpg", "0001_C6_F0002_X30024.jpg"], [1, 2]),
        (["left.jpg", "right.jpg"], []),
        (["a1.jpg", "a.jpg"], []),
    ],
)
def test_the_first_number_that_changes_is_the_frames(names, numbers):
    assert problems.frame_numbers([name.encode() for name in names]) == numbers


@pytest.mark.parametrize(
    ("numbers", "missing", "before"),
    [([1, 2, 5, 6, 7], 2, 5), ([12, 24, 36, 60, 72, 84, 120], 3, 60)],
)
def test_holes_are_counted_in_frames(numbers, missing, before, tmp_path):
    (found,) = holes(tmp_path, numbers)
    assert found.startswith(f"1 of 2 tracklets have holes in the numbers of their frames, {missing} frames in all")
    assert found.endswith(f"cam1_{before:05d}.jpg")


def test_numbers_that_fall_are_told(tmp_path, said):
    for frame in (1, 2, 3):
        noisy(tmp_path / f"{frame}.jpg", frame)
    lines = ["path,person,camera,tracklet,split", *(f"{frame}.jpg,p,c,1,train" for frame in (1, 3, 2))]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    (found,) = part(said(tmp_path / "list.csv"), "problems")
    assert found.startswith("  in 1 of 1 tracklets the numbers of the frames do not rise") and found.endswith("2.jpg")


def test_frames_of_two_tracklets_and_pictures_of_none_are_told(tmp_path, said):
    for frame in range(1, 5):
        noisy(tmp_path / "f" / f"{frame}.jpg", frame)
    noisy(tmp_path / "elsewhere" / "1.jpg", 9)  # beside a table anything may lie
    rows = [("1", "1"), ("2", "1"), ("2", "2"), ("3", "2")]
    lines = ["path,person,camera,tracklet,split", *(f"f/{frame}.jpg,p,c,{number},train" for frame, number in rows)]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    found = part(said(tmp_path / "list.csv"), "problems")
    assert found == [
        f"  frames listed more than once: 1, first {tmp_path}/f/2.jpg",
        f"  pictures in no list: 1, folders that hold some: 1, first {tmp_path}/f/4.jpg",
    ]


def test_what_lies_beside_the_tracklets_is_told_and_junk_is_not(tmp_path, said):
    root = trees.small_mars(tmp_path, SIZE)
    (root / "bbox_test/0099").mkdir()
    trees.write_frames(root / "bbox_train/0098", ["a.jpg", ".hidden.jpg", "note.txt"])
    found = "\n".join(part(said(root), "problems"))
    assert f"pictures in no list: 1, folders that hold some: 1, first {root}/bbox_train/0098/a.jpg" in found
    assert f"the folder {root}/bbox_test/0099 is empty" in found


def test_the_sheet_shows_the_right_frames_and_marks_bad_ones(tmp_path):
    lists = {"train/a/x/1": 1, "train/a/y/1": 1, "train/b/x/1": 1, "query/c/y/1": 1, "gallery/c/x/1": 1}
    root = trees.write_folder(tmp_path / "set", lists, SIZE)
    (root / "query/c/y/1/1.jpg").write_bytes(b"nothing")
    contact_sheet.draw_contact_sheet(open_dataset("folder", str(root)), tmp_path / "out" / "sheet.png")
    sheet = Image.open(tmp_path / "out" / "sheet.png")
    column = 6 * (48 + contact_sheet.FRAME_GAP) - contact_sheet.FRAME_GAP + contact_sheet.GAP
    row_height = contact_sheet.FRAME_HEIGHT + contact_sheet.CAPTION_HEIGHT + contact_sheet.GAP
    top = contact_sheet.MARGIN + contact_sheet.TITLE_HEIGHT

    def pixel(row, camera, across=24, sections=1):
        left = contact_sheet.MARGIN + contact_sheet.LABEL_WIDTH + camera * column
        return sheet.getpixel(
            (left + across, top + row * row_height + (sections - 1) * contact_sheet.TITLE_HEIGHT + 40)
        )

    def shade(path):
        return Image.open(root / path).getpixel((0, 0))

    assert np.allclose(pixel(0, 0), shade("train/a/x/1/1.jpg"), atol=3)
    assert np.allclose(pixel(0, 1), shade("train/a/y/1/1.jpg"), atol=3)
    assert np.allclose(pixel(1, 0, sections=2), shade("gallery/c/x/1/1.jpg"), atol=3)
    assert pixel(1, 1, across=0, sections=2) == contact_sheet.RED
    assert sheet.height == 2 * contact_sheet.MARGIN + 2 * contact_sheet.TITLE_HEIGHT + 2 * row_height


def test_the_sheet_stays_small_with_many_cameras_and_people(tmp_path):
    lists = {f"train/p{person}/c{camera}/1": 1 for person in range(9) for camera in range(12)}
    lists |= {"query/q/c1/1": 1, "gallery/q/c2/1": 1}
    root = trees.write_folder(tmp_path / "set", lists, (20, 200))
    contact_sheet.draw_contact_sheet(open_dataset("folder", str(root)), tmp_path / "sheet.png")
    sheet = Image.open(tmp_path / "sheet.png")
    assert sheet.width < 1_600 and sheet.height < 1_100


def test_only_the_sheet_is_written_and_only_where_asked(people, tmp_path, said):
    before = sorted(people.rglob("*"))
    assert "contact sheet" not in said(people)
    assert sorted(tmp_path.iterdir()) == [people]
    assert "sheet.png: the contact sheet" in said(people, f"--out={tmp_path / 'sheet.png'}")
    assert sorted(tmp_path.iterdir()) == [people, tmp_path / "sheet.png"]
    assert sorted(people.rglob("*")) == before
    assert "is a .png file" in said(people, "--out=sheet.jpg", status=2)


def test_help_needs_no_torch():
    script = "import sys\nfrom strf_cuda.data.__main__ import main\ntry:\n main(['--help'])\n"
    script += "finally:\n assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--decode" in done.stdout

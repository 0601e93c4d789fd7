"""`python -m strf_cuda.search`: the nearest people for tracklets, in words, as JSON and as a picture."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from galleries import make_embeddings
from reading import one_sentence
from strf_cuda import extract, search
from strf_cuda.cli import run
from strf_cuda.data import MARS
from strf_cuda.data.packing import make_plan, pack
from strf_cuda.data.tracklets import JUNK_PERSON
from strf_cuda.embeddings import encode_paths, read_embeddings, write_embeddings
from strf_cuda.errors import InputError
from strf_cuda.retrieval import ExactGallery, Selection
from strf_cuda.retrieval.finding import find
from strf_cuda.retrieval.queries import embedded_queries, gallery_queries
from strf_cuda.retrieval.times import read_time, show_span, show_time

NAMES = {str(number): f"p{number}" for number in range(1, 7)}


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: search.main([str(word) for word in argv]))


@pytest.fixture
def embeddings(tmp_path):
    """60 tracklets of people 1 to 6, distractors and unknown people, all with one frame file."""
    frame = tmp_path / "frame.png"
    Image.new("RGB", (8, 16), "blue").save(frame)
    made = make_embeddings(60)
    paths, ends = encode_paths([[str(frame)] * count for count in made.frames])
    description = {"fingerprint": "0" * 64, "model": "a.ckpt", "dataset": "made", "person_names": NAMES}
    return dataclasses.replace(made, paths=paths, path_ends=ends, description=description)


@pytest.fixture
def gallery(embeddings):
    return ExactGallery(embeddings, "g")


@pytest.fixture
def path(embeddings, tmp_path):
    write_embeddings(tmp_path / "g.safetensors", embeddings)
    return tmp_path / "g.safetensors"


@pytest.fixture
def fails(path, capsys):
    """Searches the file, which must end with status 2 and one sentence, which is returned."""

    def fails(*argv, gallery=path):
        assert command(gallery, *argv) == 2
        return one_sentence(capsys.readouterr().err)

    return fails


def row_of(embeddings, known=True):
    """A row of a known person whose camera has seen it more than once, or one of an unknown person."""
    for row in range(len(embeddings)):
        same = (embeddings.persons == embeddings.persons[row]) & (embeddings.cameras == embeddings.cameras[row])
        if (embeddings.persons[row] > 0 and same.sum() > 1) if known else embeddings.persons[row] == JUNK_PERSON:
            return row
    raise AssertionError("there is none")


def order(embeddings, row, kept):
    distances = np.where(kept, 1 - embeddings.vectors @ embeddings.vectors[row], np.inf)
    return np.argsort(distances, kind="stable")[: kept.sum()]


# ---- What is found ---------------------------------------------------------------------------------------------------


def test_a_known_query_is_answered_without_junk(embeddings, gallery):
    row = row_of(embeddings)
    same = (embeddings.persons == embeddings.persons[row]) & (embeddings.cameras == embeddings.cameras[row])
    kept = ~same & (embeddings.persons != JUNK_PERSON)
    (found,) = find(gallery, gallery_queries(gallery, [row]), 60)
    assert found.rows.tolist() == order(embeddings, row, kept).tolist()
    assert found.same_camera == same.sum() - 1
    assert found.unknown == (embeddings.persons == JUNK_PERSON).sum() > 0


def test_junk_can_be_kept_but_a_query_is_never_its_own_answer(embeddings, gallery):
    row = row_of(embeddings)
    (found,) = find(gallery, gallery_queries(gallery, [row]), 60, leave_out_junk=False)
    assert found.rows.tolist() == order(embeddings, row, np.arange(60) != row).tolist()
    assert (found.same_camera, found.unknown) == (0, 0)


def test_of_a_query_that_nobody_knows_nothing_is_junk(embeddings, gallery):
    row = row_of(embeddings, known=False)
    both = find(gallery, gallery_queries(gallery, [row, row_of(embeddings)]), 60)
    assert both[0].rows.tolist() == order(embeddings, row, np.arange(60) != row).tolist()
    assert both[1].same_camera > 0


def test_answers_by_person_are_the_nearest_tracklet_of_each(embeddings, gallery):
    row = row_of(embeddings, known=False)
    (all_of_them,) = find(gallery, gallery_queries(gallery, [row]), 60)
    expected = []
    for other in all_of_them.rows.tolist():
        person = embeddings.persons[other]
        if person > 0 and person not in embeddings.persons[expected]:
            expected.append(other)
    for k in (1, 3, 6, 9):
        (found,) = find(gallery, gallery_queries(gallery, [row]), k, by_person=True)
        assert found.rows.tolist() == expected[:k]
    assert len(expected) == 6


def test_people_of_another_file_are_known_by_their_names(embeddings, gallery):
    def persons(**description):
        other = dataclasses.replace(embeddings, description={**embeddings.description, **description})
        return embedded_queries(other, "q", None, gallery).labels.persons

    known = np.where(embeddings.persons > 0, embeddings.persons, JUNK_PERSON)
    assert np.array_equal(persons(), known)
    turned = {str(7 - number): f"p{number}" for number in range(1, 7)}
    assert np.array_equal(persons(person_names=turned), np.where(known > 0, 7 - known, JUNK_PERSON))
    assert (persons(person_names={"1": "somebody"}) == JUNK_PERSON).all()
    assert (persons(person_names={}) == JUNK_PERSON).all()


def test_numbers_are_people_within_one_data_set_only(embeddings):
    plain = {**embeddings.description, "person_names": {}}
    gallery = ExactGallery(dataclasses.replace(embeddings, description=plain), "g")
    for dataset, expected in (("made", embeddings.persons), ("another", np.full(60, JUNK_PERSON))):
        other = dataclasses.replace(embeddings, description={**plain, "dataset": dataset})
        assert np.array_equal(embedded_queries(other, "q", None, gallery).labels.persons, expected)


# ---- What is printed and written -------------------------------------------------------------------------------------


def test_rows_of_the_gallery_are_searched_for(path, embeddings, gallery, tmp_path, capsys):
    row, unknown = row_of(embeddings), row_of(embeddings, known=False)
    assert command(path, f"--rows={row},{unknown}", "-k", 3, f"--out={tmp_path}/found") == 0
    printed = capsys.readouterr().out
    expected = find(gallery, gallery_queries(gallery, [row, unknown]), 3)
    assert f"row {row}: person p{embeddings.persons[row]}, camera {embeddings.cameras[row]}, 0:" in printed
    left_out = f"{expected[0].same_camera} of the same person by the same camera, {expected[0].unknown} of unknown"
    assert f"left out as junk: {left_out} people; --keep_junk keeps them" in printed
    assert f"row {unknown}: person unknown" in printed and "nobody knows who this is in the gallery" in printed
    matches = json.loads((tmp_path / "found" / "matches.json").read_text())
    for match, answers in zip(matches, expected, strict=True):
        assert [answer["row"] for answer in match["answers"]] == answers.rows.tolist()
        for answer in match["answers"]:
            other = answer["row"]
            line = next(line for line in printed.splitlines() if f" {answer['distance']:.4f} " in line)
            span = show_span(embeddings.start[other], embeddings.end[other])
            assert line.split()[2] == str(other) and span in line and line.endswith(f"  {tmp_path}/frame.png")
            assert answer["person"] == embeddings.persons[other] and answer["start"] == embeddings.start[other]
    with Image.open(tmp_path / "found" / "matches.png") as picture:
        assert picture.height > 2 * 192


def test_where_nobody_knows_the_frames_all_but_the_picture_is_there(embeddings, tmp_path, capsys):
    paths, ends = encode_paths([[]] * 60)
    write_embeddings(tmp_path / "no.safetensors", dataclasses.replace(embeddings, paths=paths, path_ends=ends))
    assert command(tmp_path / "no.safetensors", "--rows=0", "-k", 1, f"--out={tmp_path}/found") == 0
    *_, answer, _, written = capsys.readouterr().out.splitlines()
    assert answer.endswith("  ?") and written == f"matches.json is in {tmp_path}/found"
    assert json.loads((tmp_path / "found" / "matches.json").read_text())[0]["answers"][0]["first_frame"] is None


def test_names_that_are_no_text_or_several_lines_are_printed_in_one(embeddings, tmp_path, capsys):
    paths, ends = encode_paths([[os.fsdecode(b"\xff\n.jpg")]] * 60)
    names = {number: f"p\n{number}" for number in range(1, 7)}
    description = {**embeddings.description, "person_names": names}
    odd = dataclasses.replace(embeddings, paths=paths, path_ends=ends, description=description)
    write_embeddings(tmp_path / "g\n.safetensors", odd)
    assert command(tmp_path / "g\n.safetensors", "--rows=0", "-k", 2) == 0
    *_, query, _, header, first, second = capsys.readouterr().out.splitlines()
    assert header.startswith("rank ") and all(line.endswith("\\udcff\\n.jpg") for line in (query, first, second))
    assert "p\\n" in first


def test_an_embeddings_file_is_a_query(path, embeddings, capsys):
    assert command(path, path, "--rows=7", "--top=1", "--keep_junk") == 0
    printed = capsys.readouterr().out
    assert "row 7 of g.safetensors: person" in printed and "1       0.0000    7" in printed


def test_cameras_and_times_select(path, embeddings, gallery, capsys):
    row = row_of(embeddings, known=False)
    assert command(path, f"--rows={row}", "--cameras=1,5", "--since=0:10:00", "--until=1800", "-k", 60) == 0
    printed = capsys.readouterr().out
    selection = Selection([1, 5], 600.0, 1800.0)
    expected = int(gallery.allowed(selection).sum())
    assert 0 < expected < 60 and f"60 tracklets, {expected} of them selected" in printed
    (found,) = find(gallery, gallery_queries(gallery, [row]), 60, selection=selection)
    assert [line.split()[2] for line in printed.splitlines() if line[:1].isdigit()] == [str(r) for r in found.rows]


def test_cameras_have_names_too(tmp_path, embeddings, capsys):
    names = {**embeddings.description, "camera_names": {"1": "door", "2": "hall", "5": "yard"}}
    write_embeddings(tmp_path / "n.safetensors", dataclasses.replace(embeddings, description=names))
    assert command(tmp_path / "n.safetensors", "--rows=0", "--cameras=hall, 5", "--keep_junk", "-k", 60) == 0
    printed = capsys.readouterr().out
    assert "hall" in printed and "yard" in printed and "  door  " not in printed
    assert command(tmp_path / "n.safetensors", "--rows=0", "--cameras=halls") == 2
    assert "has no camera named 'halls': its cameras are door, hall, yard" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("0:01:30", 90), ("30:00:00.5", 108000.5), ("1970-01-02T00:00:00", 86400)],
)
def test_times_are_seconds_or_clock_times_or_dates(text, seconds):
    assert read_time("since", text) == seconds
    with pytest.raises(InputError, match="since is 'x', but it must be seconds, h:mm:ss, or a date"):
        read_time("since", "x")


def test_times_are_shown_as_clock_times_or_dates():
    assert show_time(3725.25) == "1:02:05.2" and show_time(59.96) == "0:01:00.0" and show_time(float("nan")) == ""
    assert show_time(1763890200.5) == "2025-11-23 09:30:00.5"
    assert show_span(1.0, 2.0) == "0:00:01.0 to 0:00:02.0" and show_span(float("nan"), float("nan")) == ""


# ---- Folders of frames -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def extracted(tiny_walkers, tiny_checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("gallery") / "walkers.safetensors"
    argv = [f"--checkpoint={tiny_checkpoint}", f"--out={out}", "--device=cpu", "--lists=test", "--stride=1", "--flip"]
    assert run(lambda: extract.main(argv)) == 0
    return out


def copy_frames(paths, folder):
    folder.mkdir(parents=True)
    for frame in paths:
        shutil.copy(frame, folder)


def test_a_folder_of_frames_is_embedded_with_the_settings_of_the_gallery(extracted, tiny_checkpoint, tmp_path, capsys):
    """Else it would not be at the distance 0 of itself."""
    copy_frames(read_embeddings(extracted).paths_of(5), tmp_path / "somebody")
    options = [f"--checkpoint={tiny_checkpoint}", "--device=cpu", "--top=2", f"--out={tmp_path}/found"]
    assert command(extracted, tmp_path / "somebody", *options) == 0
    printed = capsys.readouterr().out
    assert f"{tmp_path}/somebody: person unknown, camera ?" in printed
    (match,) = json.loads((tmp_path / "found" / "matches.json").read_text())
    assert match["answers"][0]["row"] == 5 and match["answers"][0]["distance"] < 1e-6


def test_a_picture_is_a_tracklet_of_one_frame(fails, extracted, tiny_checkpoint, tmp_path, capsys):
    picture = tmp_path / "10:30 -1.JPG"
    shutil.copy(read_embeddings(extracted).paths_of(5)[0], picture)
    assert command(extracted, picture, f"--checkpoint={tiny_checkpoint}", "--device=cpu", "--top=1") == 0
    assert f"{picture}: person unknown, camera ?, 1 frames" in capsys.readouterr().out
    assert f"{picture} is a picture: give the model" in fails(picture, gallery=extracted)
    assert f"{picture} is a picture, which has no rows" in fails(picture, "--rows=0", gallery=extracted)
    (tmp_path / "a.txt").write_text("somebody")
    refused = fails(tmp_path / "a.txt", gallery=extracted)
    assert refused.startswith(f"{tmp_path}/a.txt is no embeddings file but text, which begins with 'somebody'; ")
    assert refused.endswith("a query is a folder of frames, a picture, or an embeddings file")


def test_folders_of_another_model_or_without_frames_are_refused(fails, extracted, tiny_baseline, tmp_path):
    copy_frames(read_embeddings(extracted).paths_of(5)[:2], tmp_path / "somebody")
    query = tmp_path / "somebody"
    refused = fails(query, f"--checkpoint={tiny_baseline}", gallery=extracted)
    assert refused.startswith(f"the gallery {extracted} was made by another model (") and str(tiny_baseline) in refused
    assert "give the model that made the gallery, with --checkpoint" in fails(query, gallery=extracted)
    assert "which has no rows" in fails(query, "--rows=1", gallery=extracted)
    (tmp_path / "empty").mkdir()
    refused = fails(tmp_path / "empty", f"--checkpoint={tiny_baseline}", gallery=extracted)
    assert refused.startswith(f"{tmp_path}/empty holds no frames")


def test_tracklets_of_a_packed_data_set_are_drawn_too(tiny_walkers, tiny_checkpoint, tmp_path):
    pack(make_plan([MARS(tiny_walkers)], tiny_walkers), tmp_path / "packed")
    source = [f"--checkpoint={tiny_checkpoint}", "--data=packed", f"--root={tmp_path}/packed", "--lists=query"]
    assert run(lambda: extract.main([*source, f"--out={tmp_path}/p.safetensors", "--device=cpu"])) == 0
    assert command(tmp_path / "p.safetensors", "--rows=0", "-k", 2, f"--out={tmp_path}/found") == 0
    assert (tmp_path / "found" / "matches.png").exists()


# ---- Mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        ([], "there is nobody to search for: give --query, or --rows of the gallery itself"),
        (["--rows=60"], "row 60 is not there:"),
        (["--rows=3;4"], "rows is '3;4', but it must be numbers with commas between them"),
        (["--rows=1", "-k", "0"], "top is 0, but it must be 1 or more"),
        (["--rows=1", "--cameras=3"], "has no camera 3, but 1, 2, 5"),
        (["--rows=1", "--cameras=door"], "has no camera named 'door', and its cameras have no names"),
        (["--rows=1", "--since=2:00:00"], "none of the 60 tracklets of"),
        (["--rows=1", "--since=9", "--until=8"], "since is 9, which is after until, 8"),
        (["--rows=1", "--until=noon"], "until is 'noon', but it must be seconds, h:mm:ss"),
        (["/no/such"], "there is no /no/such: a query is a folder of frames, a picture, or an embeddings file"),
        (["--rows=1", "--toop=3"], "unknown option --toop; did you mean top?"),
    ],
)
def test_a_mistake_is_one_sentence(fails, argv, sentence):
    assert sentence in fails(*argv)


def test_galleries_that_cannot_be_searched_are_one_sentence(fails, tmp_path, embeddings, path):
    write_embeddings(tmp_path / "empty.safetensors", make_embeddings(0))
    assert "empty.safetensors holds no tracklets to search for" in fails(tmp_path / "empty.safetensors")
    assert "empty.safetensors is empty: there is nobody" in fails("--rows=0", gallery=tmp_path / "empty.safetensors")
    assert "there is no embeddings file" in fails("--rows=0", gallery=tmp_path / "no.safetensors")
    other = {**embeddings.description, "fingerprint": "1" * 64}
    write_embeddings(tmp_path / "other.safetensors", dataclasses.replace(embeddings, description=other))
    refused = fails(tmp_path / "other.safetensors")
    assert refused.startswith(
        f"the gallery {path} was made by another model (a.ckpt) than {tmp_path}/other.safetensors"
    )
    (tmp_path / "cut.safetensors").write_bytes(path.read_bytes()[:-9])
    assert "cut.safetensors is no embeddings file, or damaged" in fails(
        "--rows=0", gallery=tmp_path / "cut.safetensors"
    )
    assert fails("--rows=0", f"--out={path}") == f"cannot make the folder {path}: File exists"


def test_a_query_for_which_all_is_junk_is_told_so(tmp_path, embeddings, capsys):
    one = dataclasses.replace(embeddings, persons=np.ones(60, np.int64), cameras=np.ones(60, np.int64))
    write_embeddings(tmp_path / "one.safetensors", one)
    assert command(tmp_path / "one.safetensors", "--rows=0", f"--out={tmp_path}/found") == 0
    printed = capsys.readouterr().out
    assert "left out as junk: 59 of the same person" in printed and "nobody is left to be found" in printed
    assert sorted(file.name for file in (tmp_path / "found").iterdir()) == ["matches.json"]


def test_help_and_rows_need_no_torch(path):
    for words in (["--help"], [str(path), "--rows=1"]):
        code = (
            "import sys\nfrom strf_cuda import search\n"
            f"try:\n    search.main({words})\nexcept SystemExit as end:\n    assert not end.code\n"
            "print('torch' in sys.modules, file=sys.stderr)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "False\n"), done.stderr

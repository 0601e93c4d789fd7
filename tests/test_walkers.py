"""The synthetic walkers: the MARS layout on disk, the same bytes always, and look-alikes that only their gait tells."""

import csv
import hashlib
import json
import subprocess
import sys
from dataclasses import asdict, fields, replace

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.io import loadmat

from strf_cuda import synthesize
from strf_cuda.data import MARS
from strf_cuda.data.walkers import SIZES, WalkersConfig, make_walkers, write
from strf_cuda.data.walkers.config import FRAMES_PER_SECOND, stream
from strf_cuda.data.walkers.disturbances import misplaced, occluder, well_placed
from strf_cuda.data.walkers.figure import View, figure, pose
from strf_cuda.data.walkers.people import GAIT_RANGES, Gait, Walker, sample_appearance, sample_gait, sample_people
from strf_cuda.data.walkers.plan import plan_queries, plan_split
from strf_cuda.data.walkers.render import draw_tracklet
from strf_cuda.errors import InputError

SMALL = WalkersConfig(
    train_people=10,
    test_people=12,
    gait_groups=1,
    pace_groups=1,
    cameras_per_person=2,
    tracklets_per_person=3,
    distractors=3,
    junk=2,
    height=32,
    width=16,
    frames=5,
    occluded=0.3,
    misaligned=0.3,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return make_walkers(tmp_path_factory.mktemp("walkers") / "small", SMALL, progress=False)


def digest(folder):
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    sums = [(str(file), hashlib.sha256((folder / file).read_bytes()).hexdigest()) for file in files]
    assert sums
    return sums


def info(root, file, variable):
    return loadmat(root / "info" / file)[variable]


def challenge_lines(root):
    with open(root / "info" / "challenges.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("workers", [1, 2])
def test_bytes_are_the_same_on_every_run_and_for_any_number_of_processes(root, tmp_path, workers):
    assert digest(make_walkers(tmp_path / "again", SMALL, workers=workers, progress=False)) == digest(root)


def test_another_seed_gives_other_people():
    people, others = sample_people(SMALL, "test"), sample_people(replace(SMALL, seed=1), "test")
    assert not {walker.appearance for walker in people} & {walker.appearance for walker in others}
    assert not {walker.gait for walker in people} & {walker.gait for walker in others}


@pytest.mark.parametrize("split", ["train", "test"])
def test_rows_names_and_files_agree_as_in_mars(root, split):
    names = (root / "info" / f"{split}_name.txt").read_text().splitlines()
    rows = info(root, f"tracks_{split}_info.mat", f"track_{split}_info")
    assert sorted(path.name for path in (root / f"bbox_{split}").glob("*/*.jpg")) == sorted(names)
    assert rows[0, 0] == 1 and rows[-1, 1] == len(names)
    assert (rows[1:, 0] == rows[:-1, 1] + 1).all()
    assert (np.diff(rows[:, 2]) >= 0).all()
    for first, last, person, camera in rows.tolist():
        folder = "00-1" if person == -1 else f"{person:04d}"
        tracklet = names[first - 1][6:11]
        expected = [f"{folder}C{camera}{tracklet}F{frame:03d}.jpg" for frame in range(1, last - first + 2)]
        assert names[first - 1 : last] == expected
        assert SMALL.frames <= len(expected) <= SMALL.most_frames
        with Image.open(root / f"bbox_{split}" / folder / expected[-1]) as image:
            assert (image.size, image.mode) == ((SMALL.width, SMALL.height), "RGB")


def test_distractors_and_junk_are_in_the_test_side_alone(root):
    people = [info(root, f"tracks_{split}_info.mat", f"track_{split}_info")[:, 2] for split in ("train", "test")]
    assert people[0].min() == 1 and not set(people[0]) & set(people[1])
    assert (people[1] == 0).sum() == SMALL.distractors and (people[1] == -1).sum() == SMALL.junk


def test_queries_are_one_tracklet_of_each_person_and_camera_with_a_match_elsewhere(root):
    rows = info(root, "tracks_test_info.mat", "track_test_info")
    queries = rows[info(root, "query_IDX.mat", "query_IDX").ravel() - 1]
    seen = {(person, camera) for _, _, person, camera in rows.tolist() if person > 0}
    assert sorted((person, camera) for _, _, person, camera in queries.tolist()) == sorted(seen)
    assert all(len({camera for other, camera in seen if other == person}) == 2 for person, _ in seen)


def test_every_row_has_its_challenge_and_look_alikes_their_group(root):
    lines = challenge_lines(root)
    for split in ("train", "test"):
        rows = info(root, f"tracks_{split}_info.mat", f"track_{split}_info")
        mine = [line for line in lines if line["split"] == split]
        assert [int(line["row"]) for line in mine] == list(range(1, len(rows) + 1))
        assert all(bool(line["group"]) == line["challenge"].startswith("look-alike") for line in mine)
        members = {}
        for line, row in zip(mine, rows, strict=True):
            if line["group"]:
                members.setdefault((line["challenge"], line["group"]), set()).add(row[2])
        assert sorted(challenge for challenge, _ in members) == ["look-alike", "look-alike-pace"]
        assert all(len(people) == 4 for people in members.values())
    assert {line["challenge"] for line in lines} == {"none", "occluded", "misaligned", "look-alike", "look-alike-pace"}
    assert len({line["group"] for line in lines if line["group"]}) == 4


def test_the_mars_loader_reads_the_set_with_its_challenges(root):
    data = MARS(root)
    assert (data.name, data.notes) == ("walkers", [])
    assert len(data.train) == 30 and len(data.query) == 24 and len(data.gallery) == 36 + SMALL.distractors
    assert {tracklet.challenge for tracklet in data.query if tracklet.group} == {"look-alike", "look-alike-pace"}


@pytest.mark.parametrize("split", ["train", "test"])
def test_look_alikes_share_everything_but_their_gait(split):
    config = replace(SMALL, train_people=40, test_people=40, gait_groups=4, pace_groups=4)
    people = sample_people(config, split)
    for group in {walker.group for walker in people if walker.group}:
        members = [walker for walker in people if walker.group == group]
        assert len({walker.appearance for walker in members}) == 1
        for field in fields(Gait):
            low, high = GAIT_RANGES[field.name]
            values = np.sort([getattr(walker.gait, field.name) for walker in members])
            assert low <= values[0] and values[-1] <= high
            if members[0].group_kind == "look-alike" or field.name == "pace":
                assert np.diff(values).min() > 0.2 * (high - low)
            else:
                assert np.ptp(values) == 0
    others = [walker for walker in people if not walker.group]
    assert len(others) == 8 and len({walker.appearance for walker in others}) == 8


def test_the_members_of_a_group_are_seen_by_the_same_cameras_as_often():
    config = replace(SMALL, cameras_per_person=3, tracklets_per_person=5)
    seen = {}
    for plan in plan_split(config, "test"):
        if plan.group:
            seen.setdefault(plan.group, {}).setdefault(plan.person_id, []).append(plan.camera)
    for cameras_of in seen.values():
        cameras = list(cameras_of.values())
        assert len(cameras) == 4 and all(one == cameras[0] for one in cameras)
        assert len(cameras[0]) == 5 and len(set(cameras[0])) == 3


def test_shares_of_challenges_are_those_asked_for():
    config = replace(SIZES["demo"], gait_groups=0, pace_groups=0, test_people=300, occluded=0.4, misaligned=0.1)
    challenges = [plan.challenge for plan in plan_split(config, "test") if plan.person_id > 0]
    assert abs(challenges.count("occluded") / len(challenges) - 0.4) < 0.04
    assert abs(challenges.count("misaligned") / len(challenges) - 0.1) < 0.04


def test_named_sizes_hold_what_they_promise():
    for size in SIZES.values():
        size.check()
        assert size.frames >= 40 and min(size.gait_groups, size.pace_groups) >= 2
        plans = plan_split(size, "test")
        assert len(plan_queries(size, plans)) == size.test_people * size.cameras_per_person
        assert {plan.camera for plan in plans} == {1, 2, 3, 4, 5, 6}


def test_the_lower_foot_stands_on_the_ground_and_a_cycle_closes():
    rng = stream(0, 0)
    phases = np.linspace(0, 2 * np.pi, 41)
    for _ in range(20):
        joints = pose(sample_gait(rng), sample_appearance(rng), phases, "right")
        feet = np.stack([joints[f"{side} {part}"][:, 1] for side in ("left", "right") for part in ("heel", "toe")])
        np.testing.assert_allclose(feet.min(0), 0, atol=1e-9)
        for name in ("left knee", "right toe", "left hand", "neck"):
            np.testing.assert_allclose(joints[name][0], joints[name][-1], atol=1e-9)


def test_gait_parameters_are_what_the_joints_show():
    gait = Gait(pace=1.0, thigh=30, arm=25, lean=8, knee=50, elbow=40)
    look = sample_appearance(stream(1, 0))
    joints = pose(gait, look, np.linspace(0, 2 * np.pi, 400), "right")

    def angle(start, end):
        forward, up, _ = (joints[end] - joints[start]).T
        return np.degrees(np.arctan2(forward, -up))

    assert np.ptp(angle("left hip", "left knee")) == pytest.approx(2 * gait.thigh, abs=0.5)
    assert np.ptp(angle("left shoulder", "left elbow")) == pytest.approx(2 * gait.arm, abs=0.5)
    bend = angle("right hip", "right knee") - angle("right knee", "right ankle")
    assert bend.max() == pytest.approx(gait.knee + 4, abs=0.5) and bend.min() == pytest.approx(4, abs=0.5)
    assert (angle("left elbow", "left hand") - angle("left shoulder", "left elbow")).max() == pytest.approx(40, abs=0.5)
    assert 180 - angle("hips", "neck").max() == pytest.approx(gait.lean, abs=0.1)


def test_half_a_cycle_later_the_figure_is_another_one():
    walker = Walker(1, sample_appearance(stream(2, 0)), sample_gait(stream(2, 1)))
    view = View(1, 0.0, 0.0)
    early, late = rasterise(figure(walker, np.array([0.8, 0.8 + np.pi]), view), 64, 32)
    assert np.abs(early - late).max(-1).mean() > 5


def rasterise(polygons, height, width):
    """Frames [F, height, width, 3] of polygons on black."""
    frames = []
    for frame in range(len(polygons[0][0])):
        image = Image.new("RGB", (width, height))
        draw = ImageDraw.Draw(image)
        for points, colour in polygons:
            draw.polygon([(width / 2 + height * x, height * (0.96 - y)) for x, y in points[frame]], fill=colour)
        frames.append(np.asarray(image, np.float64))
    return np.stack(frames)


def drawn_with_gait(plan, config, gait):
    """Frames of a tracklet with everything but the gait as planned, light and noise included."""
    walker = replace(plan.walker, gait=gait)
    return np.stack([np.asarray(frame, np.float64) for frame in draw_tracklet(replace(plan, walker=walker), config)])


def test_frames_of_look_alikes_differ_in_shape_and_not_in_colour():
    config = replace(SIZES["demo"], frames=60)
    plans = [plan for plan in plan_split(config, "test") if plan.challenge == "look-alike" and plan.number == 1]
    for start in range(0, 12, 4):
        members = plans[start : start + 4]
        assert len({plan.group for plan in members}) == 1
        videos = [drawn_with_gait(members[0], config, plan.walker.gait) for plan in members]
        means = np.stack([video.mean(0) for video in videos])  # where limbs are, over the cycle
        histograms = np.stack(
            [[np.histogram(video[..., c], 16, (0, 256))[0] / video[..., c].size for c in range(3)] for video in videos]
        )
        shape = np.abs(means[:, None] - means).max(-1).mean((-1, -2))
        colour = 0.5 * np.abs(histograms[:, None] - histograms).sum(-1).mean(-1)
        pairs = ~np.eye(4, dtype=bool)
        assert shape[pairs].min() > 5, "grey levels by which mean frames of a group must differ"
        assert colour[pairs].max() < 0.04, "share of the pixels whose colour may differ within a group"


def test_the_pace_can_be_measured_in_the_frames():
    config = replace(SIZES["demo"], frames=150)
    plan = next(plan for plan in plan_split(config, "test") if plan.challenge == "look-alike-pace")
    lags = np.arange(26, 62)  # one cycle at any pace, never two
    for pace in (0.7, 0.85, 1.0, 1.2):
        legs = drawn_with_gait(plan, config, replace(plan.walker.gait, pace=pace))[:, 32:, 8:24]
        legs = legs - legs.mean(0)
        likeness = [(legs[lag:] * legs[:-lag]).mean() for lag in lags]
        assert abs(lags[int(np.argmax(likeness))] - FRAMES_PER_SECOND / pace) <= 1.5


def test_an_occluder_covers_a_part_of_the_walker():
    phases = np.linspace(0, 2 * np.pi, 10)
    for seed in range(40):
        rng = stream(seed, 0)
        view = View(1, 0.0, 0.1)
        walker = [(0.9 * points, (255,) * 3) for points, _ in figure(sample_walker(rng), phases, view)]
        front = [(points, (255,) * 3) for points, _ in occluder(len(phases), 0.5, view, rng)]
        body, cover = rasterise(walker, 64, 32) > 0, rasterise(front, 64, 32) > 0
        hidden = (body & cover).sum((1, 2, 3)) / body.sum((1, 2, 3))
        assert hidden.max() > 0.08 and hidden.mean() < 0.7


def sample_walker(rng):
    return Walker(1, sample_appearance(rng), sample_gait(rng))


def test_misplaced_boxes_are_further_off_than_any_well_placed_one():
    def offset(box):
        return max(np.abs(box.right).max(), np.abs(box.up).max(), np.abs(box.zoom - 1).max())

    worst = max(offset(well_placed(48, stream(seed, 0))) for seed in range(50))
    assert min(offset(misplaced(48, stream(seed, 1))) for seed in range(50)) > worst


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train_people": 7}, "train_people is 7, but 1 gait_groups and 1 pace_groups of 4 need at least 8"),
        ({"test_people": 9999}, "10009 together"),
        ({"cameras_per_person": 7}, "cameras_per_person is 7"),
        ({"tracklets_per_person": 1}, "tracklets_per_person is 1"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": 900}, "frames is 900"),
        ({"width": 8}, "frames of 32x8 pixels"),
        ({"occluded": 0.8}, "occluded and misaligned are 0.8 and 0.3"),
        ({"occluded": float("nan")}, "occluded and misaligned are nan and 0.3"),
        ({"junk": -1}, "junk is -1"),
        ({"distractors": 10000}, "10000"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_parameters_are_named(tmp_path, changes, sentence):
    with pytest.raises(InputError, match=sentence):
        make_walkers(tmp_path / "set", replace(SMALL, **changes))
    assert list(tmp_path.iterdir()) == []


def test_a_finished_set_of_the_same_parameters_is_used_again(root, monkeypatch):
    monkeypatch.setattr(write, "save_tracklet", None)
    assert make_walkers(root, SMALL) == root


def test_an_empty_folder_is_filled(tmp_path):
    make_walkers(tmp_path, replace(SMALL, frames=1), progress=False)
    assert json.loads((tmp_path / "info" / "walkers.json").read_text())["parameters"] == asdict(
        replace(SMALL, frames=1)
    )


def test_other_parameters_are_refused_and_nothing_is_overwritten(root):
    before = digest(root)
    with pytest.raises(InputError, match=r"frames 5 instead of 6, seed 0 instead of 3"):
        make_walkers(root, replace(SMALL, frames=6, seed=3))
    assert digest(root) == before


def test_a_set_of_another_generator_or_with_frames_missing_is_refused(tmp_path):
    folder = make_walkers(tmp_path / "set", SMALL, progress=False)
    next((folder / "bbox_train").glob("*/*.jpg")).unlink()
    with pytest.raises(InputError, match=r"has \d+ of \d+ frames in bbox_train"):
        make_walkers(folder, SMALL)
    record = json.loads((folder / "info" / "walkers.json").read_text())
    (folder / "info" / "walkers.json").write_text(json.dumps({**record, "generator": 0}))
    with pytest.raises(InputError, match="generator version 0"):
        make_walkers(folder, SMALL)


@pytest.mark.parametrize("record", [None, "{", "[]", "{}"])
def test_a_folder_of_something_else_is_never_touched(tmp_path, record):
    (tmp_path / "info").mkdir()
    (tmp_path / "info" / "thesis.txt").write_text("years of work")
    if record is not None:
        (tmp_path / "info" / "walkers.json").write_text(record)
    before = digest(tmp_path)
    with pytest.raises(InputError, match="holds no walkers"):
        make_walkers(tmp_path, SMALL)
    assert digest(tmp_path) == before


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/set: Not a directory"):
        make_walkers(tmp_path / "file" / "set", SMALL)
    with pytest.raises(InputError, match="holds no walkers"):
        make_walkers(tmp_path / "file", SMALL)


@pytest.mark.parametrize(
    ("error", "shown"),
    [(OSError(28, "No space left on device"), InputError), (KeyboardInterrupt(), KeyboardInterrupt)],
)
def test_what_is_interrupted_leaves_nothing_behind(tmp_path, monkeypatch, error, shown):
    def fail(*_):
        raise error

    monkeypatch.setattr(write, "save_tracklet", fail)
    with pytest.raises(shown):
        make_walkers(tmp_path / "set", SMALL, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_what_the_set_holds_and_draws_a_contact_sheet(tmp_path, capsys):
    options = {"train_people": 4, "test_people": 6, "gait_groups": 1, "pace_groups": 0, "frames": 5, "workers": 1}
    synthesize.main(["--out", str(tmp_path / "set"), *(f"--{name}={value}" for name, value in options.items())])
    header, train, test, last = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["people", "tracklets", "queries"]
    assert train.split()[:4] == ["train", "4", "24", "0"] and test.split()[:4] == ["test", "6", "52", "24"]
    assert "contact_sheet.png" in last
    with Image.open(tmp_path / "set" / "contact_sheet.png") as sheet:
        assert len(np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)) > 1000


def test_the_command_is_configured_without_torch():
    code = "import sys, strf_cuda.synthesize; print('torch' in sys.modules, 'scipy' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False"]

"""`python -m strf_cuda.visualize report` as its user meets it, and what it puts into the page."""

import base64
import io
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from reading import one_sentence
from report_pages import HISTORY, command, content_of, made_up, make_run
from strf_cuda import evaluate
from strf_cuda.cli import run
from strf_cuda.data import MARS
from strf_cuda.errors import InputError
from strf_cuda.evaluation import rank
from strf_cuda.metrics import DistanceTable
from strf_cuda.visualization.page.content import rankings
from strf_cuda.visualization.page.history import run_history
from strf_cuda.visualization.page.loops import Loop, fitting_loop, strips
from strf_cuda.visualization.page.separation import separate


@pytest.fixture(scope="module")
def checkpoint(tiny_checkpoint, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "run", tiny_checkpoint)


@pytest.fixture(scope="module")
def page(checkpoint):
    """The page that the command writes beside the checkpoint."""
    assert command(f"--checkpoint={checkpoint}", "--device=cpu") == 0
    return checkpoint.parent / "report.html"


@pytest.fixture(scope="module")
def evaluated(checkpoint):
    """What the command `evaluate` writes of the same model: metrics and rankings."""
    out = checkpoint.parent / "evaluation"
    assert run(lambda: evaluate.main([f"--checkpoint={checkpoint}", "--device=cpu", "--queries=0"])) == 0
    return [json.loads((out / name).read_text()) for name in ("metrics.json", "rankings.json")]


@pytest.fixture
def fails(checkpoint, tmp_path, capsys):
    """Runs a command that must end with status 2 and one sentence, which is returned."""

    def fails(*argv):
        assert command(f"--checkpoint={checkpoint}", f"--out={tmp_path}/report.html", "--device=cpu", *argv) == 2
        return one_sentence(capsys.readouterr().err)

    return fails


def test_the_page_shows_the_figures_of_the_evaluation(page, evaluated):
    metrics, _ = evaluated
    figures = content_of(page)["figures"]
    expected = {"all": metrics, **metrics["challenges"]}
    assert [row["name"] for row in figures["rows"]] == list(expected)
    for row in figures["rows"]:
        told = expected[row["name"]]
        assert (row["queries"], row["matched"]) == (told["queries"], told["valid_queries"])
        for name in ("mAP", "mINP", "rank-1", "rank-5", "rank-10", "rank-20"):
            assert row[name] == pytest.approx(100 * told[name], abs=1e-3)
        assert row["cmc"] == pytest.approx([100 * share for share in told["cmc"]], abs=1e-3)
    assert figures["chance"] == pytest.approx(100 * metrics["chance_mAP"], abs=1e-3)


def test_the_page_holds_every_query_with_the_ranking_of_the_evaluation(page, evaluated):
    _, rows = evaluated
    content = content_of(page)

    def described(number, distance):
        person, camera, frames, path = content["tracklets"][number]
        return (content["persons"][person], content["cameras"][camera], frames, path, distance)

    def told(found):
        name = "distractor" if found["person"] == 0 else f"{found['person']:04d}"
        path = "/".join(found["first_frame"].rsplit("/", 2)[1:])
        return (name, f"c{found['camera']}", found["frames"], path, pytest.approx(found["distance"], abs=1e-5))

    assert len(content["queries"]) == len(rows)
    for (query, precision, ranks, answers, distances, first, challenge), row in zip(
        content["queries"], rows, strict=True
    ):
        assert described(query, 0)[:4] == told({**row["query"], "distance": 0})[:4]
        assert content["challenges"][challenge] == row["query"]["challenge"]
        assert precision == pytest.approx(row["average_precision"], abs=1e-5)
        assert ranks[0] == row["first_match_rank"] and ranks == sorted(ranks)
        expected = [told(found) for found in row["ranking"]]
        assert [described(*pair) for pair in zip(answers, distances, strict=True)] == expected
        right = [place for place, found in enumerate(row["ranking"], start=1) if found["correct"]]
        assert right == [rank for rank in ranks if rank <= 10] and (first is None) == (ranks[0] <= 10)


def test_a_first_match_beyond_the_answers_is_told_with_its_distance(tiny_walkers):
    dataset, distances = made_up(MARS(tiny_walkers).gallery, 40, 120, people=30)
    evaluation = rank(dataset, distances)
    deep = 0
    shown = rankings(evaluation, 1)
    for index, (number, precision, ranks, _, _, first) in enumerate(shown.queries):
        assert shown.tracklets[number] is dataset.query[index]
        assert precision == pytest.approx(evaluation.overall.average_precision[index], abs=1e-5)
        order = [place for place in evaluation.top(120)[index] if place >= 0]
        matches = [place for place in order if dataset.gallery[place].person_id == dataset.query[index].person_id]
        assert ranks == [order.index(place) + 1 for place in matches]
        if ranks[0] > 1:
            deep += 1
            assert shown.tracklets[first[0]] is dataset.gallery[matches[0]]
            assert first[1] == pytest.approx(distances[index, matches[0]], abs=1e-5)
        else:
            assert first is None
    assert 0 < deep < 40


def test_a_query_without_a_match_has_neither_precision_nor_ranks(tiny_walkers):
    dataset, distances = made_up(MARS(tiny_walkers).gallery, 4, 8, people=8)
    shown = rankings(rank(dataset, distances), 3)
    assert [(row[1], row[2], row[5]) for row in shown.queries] == [(None, [], None)] * 4


def test_distinct_tracklets_are_drawn_once_and_in_their_order(page):
    content, text = content_of(page), page.read_text()
    blocks = re.findall(r'<script type="text/plain" id="strips-(\d+)">([^<]*)</script>', text)
    assert [int(number) for number, _ in blocks] == list(range(len(blocks)))
    pictures = [base64.b64decode(line) for _, lines in blocks for line in lines.split("\n")]
    assert len(pictures) == len(content["tracklets"]) == len({tuple(each) for each in content["tracklets"]})
    loop = content["loop"]
    for picture in pictures:
        with Image.open(io.BytesIO(picture)) as strip:
            assert (strip.format, strip.size) == ("WEBP", (loop["frames"] * loop["width"], loop["height"]))


@pytest.mark.parametrize(
    ("length", "stride", "places"),
    [
        (25, 4, [2, 6, 10, 14, 18, 22]),  # around the middle
        (6, 8, [0, 1, 2, 3, 4, 5]),  # closer where it is short
        (1, 8, [0, 0, 0, 0, 0, 0]),
        (3, 8, [0, 0, 1, 1, 2, 2]),
    ],
)
def test_a_loop_goes_through_the_middle_of_a_tracklet(length, stride, places):
    assert Loop(6, stride, 32, 16).places(length) == places


def test_a_strip_holds_its_frames_side_by_side(tmp_path):
    from images import make_tracklets

    (tracklet,) = make_tracklets(tmp_path, [40], [1])
    loop = Loop(4, 8, 16, 8, 90)
    with Image.open(io.BytesIO(loop.strip(tracklet))) as strip:
        pixels = np.asarray(strip)
    for place, frame in enumerate(loop.places(40)):
        middle = pixels[4:12, 8 * place + 2 : 8 * place + 6].reshape(-1, 3).mean(0)
        assert middle == pytest.approx((0, frame, 255 - frame), abs=8)


def test_pictures_become_smaller_until_they_fit(tiny_walkers):
    tracklets = MARS(tiny_walkers).gallery
    sizes = []
    for room in (10**9, 24_000, 17_000, 1):
        loop = fitting_loop(tracklets, 6, 2, (64, 32), None, room)
        sizes.append((loop.height, loop.quality))
        assert loop.width * 2 == loop.height
        assert room == 1 or sum(map(len, strips(tracklets, loop))) <= room
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == (32, 75) and sizes[-1] == (32, 30)
    assert len(set(sizes)) == 4
    assert fitting_loop(tracklets, 6, 2, (64, 32), 100, 1).height == 100


def test_a_strip_that_no_webp_can_hold_is_refused(tiny_walkers):
    with pytest.raises(InputError, match="wider than a WebP may be"):
        fitting_loop(MARS(tiny_walkers).gallery, 32, 1, (64, 128), 512, 10**9)


def test_separation_is_that_of_all_pairs_one_by_one(tiny_walkers):
    dataset, distances = made_up(MARS(tiny_walkers).gallery, 30, 90, people=12)
    distances = np.round(distances - 0.2 * np.random.default_rng(1).random(distances.shape), 3).astype(np.float32)
    same, different = [], []
    for (row, query), (column, answer) in itertools.product(enumerate(dataset.query), enumerate(dataset.gallery)):
        if query.person_id != answer.person_id:
            different.append(distances[row, column])
        elif query.camera_id != answer.camera_id:
            same.append(distances[row, column])
    lists = [[getattr(tracklet, name) for tracklet in tracklets]
             for name in ("person_id", "camera_id") for tracklets in (dataset.query, dataset.gallery)]  # fmt: skip
    found = separate(DistanceTable(distances, *lists))
    assert (found.same.sum(), found.different.sum()) == (len(same), len(different))
    # Rounding may put a distance that lies on an edge on either side of it.
    edges = found.edges + 1e-5
    for counts, values in ((found.same, same), (found.different, different)):
        below = np.cumsum(counts)
        assert np.abs(below - [np.sum(np.array(values) <= edge) for edge in edges[1:]]).max() <= 3
    rejected, accepted = np.mean(np.array(same) > found.threshold), np.mean(np.array(different) <= found.threshold)
    step = 2 / len(same) + 2 / len(different)
    assert 0 < found.equal_error == pytest.approx(rejected, abs=step) == pytest.approx(accepted, abs=step)
    shares = [np.histogram(values, edges)[0] / len(values) for values in (same, different)]
    assert found.overlap == pytest.approx(np.minimum(*shares).sum(), abs=0.02)


def test_people_who_are_told_apart_without_error_have_none():
    table = DistanceTable([[0.1, 0.9, 0.8]], [1], [1, 2, 3], [1], [2, 2, 2])
    found = separate(table)
    assert (found.overlap, found.equal_error) == (0, 0) and 0.1 <= found.threshold <= 0.8


def test_without_pairs_of_one_kind_nothing_is_said_of_separation():
    found = separate(DistanceTable([[0.5, 0.5]], [1], [2, 3], [1], [1, 1]))
    assert (found.overlap, found.equal_error, found.threshold) == (None, None, None)
    assert found.different.sum() == 2 and found.same.sum() == 0


def test_the_course_of_the_run_comes_from_its_folder(page):
    history = content_of(page)["history"]
    assert history["evaluations"] == HISTORY and history["epoch"] == 2 and history["missing"] == []
    assert [row["epoch"] for row in history["training"]] == [1, 2]
    assert [row["loss"] for row in history["training"]] == pytest.approx([2.75, 2.0])
    assert [row["accuracy"] for row in history["training"]] == pytest.approx([0.125, 0.5])


def test_steps_that_a_continued_run_repeats_count_once(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for seconds, loss in ((0, 8.0), (10, 2.0)):  # killed after step 1, begun again at step 1
        with SummaryWriter(str(tmp_path / "tensorboard")) as writer:
            for step in (0, 1) if seconds == 0 else (1, 2):
                for name, value in (("train/loss", loss), ("epoch", 0)):
                    writer.add_scalar(name, value, step, walltime=1000 + seconds + step)
    (row,) = run_history(tmp_path)["training"]
    assert row["loss"] == pytest.approx((8 + 2 + 2) / 3)


def test_a_bare_checkpoint_has_a_page_that_says_what_is_missing(tiny_checkpoint, tmp_path):
    bare = tmp_path / "alone" / "model.ckpt"
    bare.parent.mkdir()
    shutil.copy(tiny_checkpoint, bare)
    assert command(f"--checkpoint={bare}", "--device=cpu", "--top=3") == 0
    content = content_of(bare.parent / "report.html")
    history = content["history"]
    assert (history["epoch"], history["training"], history["evaluations"]) == (None, [], [])
    assert [sentence.split(":")[0] for sentence in history["missing"]] == [
        "There are no losses",
        "There are no figures by epoch",
    ]
    assert all(len(row[3]) == 3 for row in content["queries"])


def test_the_history_within_a_checkpoint_serves_without_its_folder(checkpoint, tmp_path):
    content = torch.load(checkpoint, weights_only=True)
    callbacks = {"EvaluateAndSave": {"history": HISTORY[:1]}}
    torch.save({**content, "callbacks": callbacks}, tmp_path / "alone.ckpt")
    assert command(f"--checkpoint={tmp_path}/alone.ckpt", "--device=cpu") == 0
    history = content_of(tmp_path / "report.html")["history"]
    assert (history["epoch"], history["evaluations"]) == (2, HISTORY[:1]) and len(history["missing"]) == 1


def test_a_trained_run_keeps_its_history_where_the_page_looks_for_it(tiny_walkers, tiny_run, tmp_path):
    from strf_cuda import train

    options = [*tiny_run, f"--data.root={tiny_walkers}", f"--out={tmp_path}/run", "--epochs=2", "--model.width=16"]
    assert run(lambda: train.main(options)) == 0
    assert command(f"--checkpoint={tmp_path}/run/last.ckpt", "--device=cpu") == 0
    whole = content_of(tmp_path / "run" / "report.html")["history"]
    assert whole["missing"] == [] and whole["epoch"] == 2 and [row["epoch"] for row in whole["evaluations"]] == [1, 2]
    assert set(whole["training"][0]) == {"epoch", "loss", "cross_entropy", "triplet", "accuracy"}
    shutil.copy(tmp_path / "run" / "last.ckpt", tmp_path)
    assert command(f"--checkpoint={tmp_path}/last.ckpt", "--device=cpu") == 0
    assert content_of(tmp_path / "report.html")["history"]["evaluations"] == whole["evaluations"]


def test_a_model_to_give_away_has_a_page_too(checkpoint, tmp_path):
    from strf_cuda import export

    shutil.copy(checkpoint, tmp_path)
    options = [f"--checkpoint={tmp_path}/best.ckpt", "--format=safetensors", f"--out={tmp_path}/model"]
    assert run(lambda: export.main(options)) == 0
    root = torch.load(checkpoint, weights_only=True)["config"]["data"]["root"]
    assert command(f"--checkpoint={tmp_path}/model", "--data=walkers", f"--root={root}", "--device=cpu") == 0
    content = content_of(tmp_path / "model" / "report.html")
    assert content["history"]["epoch"] == 2 and len(content["history"]["missing"]) == 2
    assert content["figures"]["rows"][0]["queries"] == 12


def test_options_of_an_evaluation_are_those_of_the_page(checkpoint, tmp_path, capsys):
    out = tmp_path / "other.html"
    options = ["--rerank", "--flip", "--stride=1", "--loop_frames=3", "--thumb_height=20"]
    assert command(f"--checkpoint={checkpoint}", f"--out={out}", "--device=cpu", *options) == 0
    printed = capsys.readouterr().out
    assert "re-ranked by k-reciprocal neighbours" in printed and "It holds pictures of people" in printed
    content = content_of(out)
    assert content["distance"] == "re-ranked distance"
    assert content["loop"] == {"frames": 3, "width": 10, "height": 20}
    facts = {heading["heading"]: dict(heading["rows"]) for heading in content["facts"]}
    assert facts["Protocol"]["beyond the paper"] == "flip; re-ranked, k1 20, k2 6, lambda 0.3"
    assert facts["Model"]["units"] == "strf, stages 2, 3; similarity cosine, temperature 16"
    assert "stride 1" in facts["Protocol"]["clips"] and facts["Model"]["checkpoint"] == f"{checkpoint}, epoch 2"


def test_many_tracklets_are_drawn_by_several_processes(tiny_walkers, monkeypatch):
    tracklets, loop = MARS(tiny_walkers).gallery[:6], Loop(2, 1, 32, 16)
    alone = list(strips(tracklets, loop))
    monkeypatch.setattr("strf_cuda.visualization.page.loops.FEW", 1)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert list(strips(tracklets, loop)) == alone


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--checkpoint=/no/such.ckpt"], "there is no checkpoint /no/such.ckpt"),
        (["--checkpoint=hf://owner/name", "--out=null"], "is not on this machine: say with --out where the page goes"),
        (["--top=0"], "top is 0, but it must be between 1 and 100"),
        (["--loop_frames=33"], "loop_frames is 33, but it must be between 1 and 32"),
        (["--thumb_height=8"], "thumb_height is 8, but it must be between 16 and 512"),
        (["--megabytes=0"], "megabytes is 0, but it must be between 1 and 1000"),
        (["--stride=0"], "stride is 0, but it must be 1 or more"),
        (["--rerank_k1=9"], "rerank_k1 is 9, but there is no re-ranking without --rerank"),
        (["--out=page.pdf"], "out is page.pdf, but the page is an .html file"),
        (["--tops=3"], "unknown option --tops; did you mean top?"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(fails, tmp_path, argv, sentence):
    assert sentence in fails(*argv)
    assert os.listdir(tmp_path) == []


def test_a_page_that_fails_leaves_the_old_one(fails, tmp_path, monkeypatch):
    (tmp_path / "report.html").write_text("before")

    def stop(self, tracklet):
        raise InputError("a frame is gone")

    monkeypatch.setattr(Loop, "strip", stop)
    assert fails() == "a frame is gone"
    assert os.listdir(tmp_path) == ["report.html"] and (tmp_path / "report.html").read_text() == "before"


def test_help_answers_at_once_without_torch():
    code = (
        "import sys\nfrom strf_cuda import visualize\n"
        "try:\n    visualize.main(['report', '--help'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    after = os.times()
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1.5
    assert done.returncode == 0 and done.stderr == "[]\n"
    assert "--loop_frames" in done.stdout and "--average_precision" in done.stdout


def test_the_checkpoint_is_read_without_executing_anything(tmp_path, fails):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"config": Trap()}, tmp_path.parent / "trap.ckpt")
    assert "is no checkpoint" in fails(f"--checkpoint={tmp_path.parent}/trap.ckpt")
    assert os.listdir(tmp_path) == []

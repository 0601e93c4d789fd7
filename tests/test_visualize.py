"""`python -m strf_cuda.visualize` as its user meets it: pictures, and mistakes in one sentence."""

import json
import os
import re
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

import trees
from reading import one_sentence
from strf_cuda import evaluate, visualize
from strf_cuda.cli import run
from strf_cuda.data import MARS
from strf_cuda.pretrained import save_pretrained
from untrained import write_checkpoint

WIDE = ["--model.width=16"]


def command(*argv):
    """Exit status of the command, run in this process."""
    return run(lambda: visualize.main([str(word) for word in argv]))


@pytest.fixture
def refused(capsys):
    """Runs a command that must end with status 2 and one sentence, which is returned."""

    def refused(*argv):
        capsys.readouterr()
        assert command(*argv) == 2
        return one_sentence(capsys.readouterr().err)

    return refused


def picture(path):
    return np.asarray(Image.open(path))


def test_attention_of_two_models_goes_beside_the_checkpoint(tiny_checkpoint, tiny_baseline, tmp_path, capsys):
    checkpoint = shutil.copy(tiny_checkpoint, tmp_path)
    alone, both = (tmp_path / name for name in ("alone.png", "attention.png"))
    assert command("attention", f"--checkpoint={checkpoint}", f"--out={alone}") == 0
    assert command("attention", f"--checkpoint={checkpoint}", f"--baseline={tiny_baseline}") == 0
    assert sorted(os.listdir(tmp_path)) == ["alone.png", "attention.png", "best.ckpt"]
    assert picture(both).shape[0] > picture(alone).shape[0] and picture(both).shape[1] == picture(alone).shape[1]
    captured = capsys.readouterr()
    assert f"{both}: the attention of stage 3, clips: 4" in captured.out and captured.err == ""


def test_attention_follows_stage_scale_stride_and_queries(tiny_checkpoint, tmp_path):
    def drawn(*options):
        assert command("attention", f"--checkpoint={tiny_checkpoint}", f"--out={tmp_path}/a.png", *options) == 0
        return picture(tmp_path / "a.png")

    plain = drawn("--query=1")
    assert (plain == drawn("--query=[1]")).all()
    for options in (["--stage=1"], ["--scale=frame"], ["--stride=1"]):
        other = drawn("--query=1", *options)
        assert other.shape != plain.shape or (other != plain).any(), options
    assert drawn("--query=[1, 2]").shape[1] > plain.shape[1]


def test_a_folder_of_frames_can_be_shown(tiny_checkpoint, tiny_walkers, tmp_path, capsys):
    tracklet = MARS(tiny_walkers).query[2]
    (tmp_path / "somebody").mkdir()
    for path in tracklet.paths:
        shutil.copy(path, tmp_path / "somebody")
    options = [f"--checkpoint={tiny_checkpoint}", f"--tracklet={tmp_path}/somebody", f"--out={tmp_path}/a.png"]
    assert command("attention", *options) == 0
    assert "clips: 1\n" in capsys.readouterr().out and (tmp_path / "a.png").exists()


def test_a_model_can_be_a_folder_of_save_pretrained(tiny_checkpoint, tiny_baseline, tiny_walkers, tmp_path):
    def drawn(checkpoint, baseline, *options):
        models = [f"--checkpoint={checkpoint}", f"--baseline={baseline}"]
        assert command("attention", *models, f"--root={tiny_walkers}", *options) == 0
        return picture(tmp_path / "attention.png")

    strf = save_pretrained(tiny_checkpoint, tmp_path / "strf")
    plain = save_pretrained(tiny_baseline, tmp_path / "plain")
    files = sorted(os.listdir(strf))
    from_folders = drawn(strf, plain)  # beside the folder, not in it
    assert sorted(os.listdir(strf)) == files
    assert (drawn(tiny_checkpoint, tiny_baseline, f"--out={tmp_path}/attention.png") == from_folders).all()


def test_a_checkpoint_that_is_not_there_leaves_no_folder(tmp_path, refused, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert refused("attention", "--checkpoint=nowhere/best.ckpt") == "there is no checkpoint nowhere/best.ckpt"
    assert list(tmp_path.iterdir()) == []


def test_models_that_differ_in_more_than_the_unit_are_noted(tiny_checkpoint, tiny_run, tmp_path, capsys):
    other = write_checkpoint(
        tmp_path / "other.ckpt", *tiny_run, *WIDE, "--model.kind=c2d", "--data.height=64", "--epochs=9"
    )
    options = [f"--checkpoint={tiny_checkpoint}", f"--baseline={other}", f"--out={tmp_path}/a.png"]
    assert command("attention", *options) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    assert notes[0] == "note: both models have the unit strf: no comparison with and without STRF"
    assert "network too: P3DC of width 16 and depth 1-1-1-1; the baseline C2D of width 16" in notes[1]
    assert "frames too: 32x16, 4 in a clip; the baseline 64x16, 4 in a clip" in notes[2]
    assert "training too: 3 epochs; the baseline 9 epochs" in notes[3]


def test_masks_follow_unit_and_position(tiny_checkpoint, tmp_path, capsys):
    def drawn(*options):
        assert command("masks", f"--checkpoint={tiny_checkpoint}", f"--out={tmp_path}/m.png", *options) == 0
        return picture(tmp_path / "m.png")

    plain = drawn("--query=1", "--unit=layer2", "--position=0,1")
    assert "the masks of layer2.0.temporal, positions: 1" in capsys.readouterr().out
    assert (plain == drawn("--query=1", "--unit=layer2.0.temporal", "--position=0,1")).all()
    other = drawn("--query=1", "--unit=layer2", "--position=3,0")
    assert other.shape == plain.shape and (other != plain).any()
    assert len(drawn("--query=1", "--unit=layer2", "--position=3,0 0,1")) > len(plain)
    drawn("--query=1")
    assert "the masks of layer3.0.temporal, positions: 2" in capsys.readouterr().out


def test_rankings_show_as_many_queries_that_are_better_as_worse(tiny_checkpoint, tiny_baseline, tmp_path, capsys):
    checkpoint = shutil.copy(tiny_checkpoint, tmp_path)
    options = [f"--checkpoint={checkpoint}", f"--baseline={tiny_baseline}", "--top=3"]
    assert command("ranking", *options, "--queries=2") == 0
    said = capsys.readouterr().out
    *_, base, ours, summary, written = said.splitlines()
    assert base.startswith("P3DC: mAP ") and ours.startswith("STRF-P3DC: mAP ")
    better, all_of_them, worse, equal = map(int, re.findall(r"\d+", summary.split("higher")[1]))
    assert better + worse + equal == all_of_them == 12 and better and worse
    assert written == f"{tmp_path}/ranking.png: the rankings of two models, queries: 2"
    two = picture(tmp_path / "ranking.png")
    assert command("ranking", *options, "--query=[0, 1, 2]", f"--out={tmp_path}/asked.png") == 0
    assert picture(tmp_path / "asked.png").shape[1] == two.shape[1] and "queries: 3\n" in capsys.readouterr().out


def test_the_figures_of_rankings_are_those_of_evaluate(tiny_checkpoint, tiny_baseline, tmp_path, capsys):
    options = [f"--checkpoint={tiny_checkpoint}", f"--baseline={tiny_baseline}", f"--out={tmp_path}/r.png"]
    assert command("ranking", *options, "--flip", "--stride=1") == 0
    said = capsys.readouterr().out
    for source, name in ((tiny_baseline, "P3DC"), (tiny_checkpoint, "STRF-P3DC")):
        argv = [f"--checkpoint={source}", f"--out={tmp_path}/e", "--flip", "--stride=1", "--queries=0"]
        assert run(lambda argv=argv: evaluate.main(argv)) == 0
        metrics = json.loads((tmp_path / "e" / "metrics.json").read_text())
        assert f"{name}: mAP {100 * metrics['mAP']:.1f}, rank-1 {100 * metrics['rank-1']:.1f}" in said.splitlines()


def test_a_baseline_that_knows_the_people_of_the_test_is_noted(tiny_run, tmp_path, capsys):
    root = trees.small_ilids(tmp_path, (16, 32))
    models = [
        write_checkpoint(
            tmp_path / f"{split}.ckpt",
            *tiny_run,
            *WIDE,
            "--data.name=ilids",
            f"--data.root={root}",
            f"--data.split={split}",
        )
        for split in (0, 1)
    ]
    options = [f"--checkpoint={models[0]}", f"--baseline={models[1]}", f"--out={tmp_path}/r.png"]
    assert command("ranking", *options, "--query=0") == 0
    said = capsys.readouterr().out
    assert "note: baseline: the model was trained on split 1, which trains on people that split 0 tests on" in said
    assert "note: the two models differ in training data too: ilids, split 0; the baseline ilids, split 1" in said


def test_models_that_agree_on_every_query_leave_nothing_to_choose(tiny_checkpoint, tmp_path, refused):
    options = [f"--checkpoint={tiny_checkpoint}", f"--baseline={tiny_checkpoint}", f"--out={tmp_path}/r.png"]
    assert "have the same average precision for every query: name some with --query" in refused("ranking", *options)
    assert command("ranking", *options, "--query=1") == 0


@pytest.mark.parametrize(
    ("what", "argv", "sentence"),
    [
        ("masks", ["--unit=layer4"], "unit 'layer4' is no unit of the model: give one of layer2.0.temporal, layer3"),
        ("masks", ["--position=9,0", "--unit=layer2"], "layer2.0.temporal has a grid of 4 rows x 2 columns, counted"),
        ("masks", ["--position=1"], "position is '1', but it must be row,column counted from 0, or several: '3,1 7,0'"),
        ("masks", ["--position=1,x"], "position is '1,x', but it must be row,column"),
        ("masks", ["--query=12"], "query is 12, but the data set's 12 queries are counted from 0"),
        ("ranking", [], "required but not given: --baseline"),
        ("ranking", ["--baseline=x", "--queries=1"], "queries is 1, but it must be 2 or more"),
        ("ranking", ["--baseline=x", "--top=0"], "top is 0, but it must be 1 or more"),
        ("ranking", ["--baseline=x", "--query=[]"], "query is an empty list"),
        ("ranking", ["--baseline=x", "--stride=0"], "stride is 0, but it must be 1 or more"),
        ("ranking", ["--baseline=x", "--out=r.gif"], "out is r.gif, but the picture is a .png file"),
        ("ranking", ["--baseline=/no/such.ckpt"], "there is no checkpoint /no/such.ckpt"),
    ],
)
def test_a_mistake_with_masks_or_rankings_is_one_sentence(tiny_checkpoint, tmp_path, refused, what, argv, sentence):
    assert sentence in refused(what, f"--checkpoint={tiny_checkpoint}", f"--out={tmp_path}/a.png", *argv)
    assert list(tmp_path.iterdir()) == []


def test_masks_of_a_model_without_units_are_refused(tiny_baseline, tmp_path, refused):
    sentence = refused("masks", f"--checkpoint={tiny_baseline}", f"--out={tmp_path}/a.png")
    assert sentence.startswith("the model has no STRF units, so it has no masks to show")


def test_a_query_of_rankings_is_checked_before_the_work(tiny_checkpoint, tiny_baseline, tmp_path, refused, monkeypatch):
    monkeypatch.setattr("strf_cuda.evaluation.evaluate", lambda *_, **__: pytest.fail("the work was begun"))
    options = [f"--checkpoint={tiny_checkpoint}", f"--baseline={tiny_baseline}", f"--out={tmp_path}/r.png"]
    assert "query is 99" in refused("ranking", *options, "--query=99")


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--stage=5"], "stage is 5, but a ResNet has the stages 1, 2, 3 and 4"),
        (["--query=99"], "query is 99, but the data set's 12 queries are counted from 0"),
        (["--query=[0, -1]"], "query is -1, but the data set's 12 queries are counted from 0"),
        (["--query=[]"], "query is an empty list"),
        (["--query=x"], "query on the command line is 'x', but it must be a whole number or a list"),
        (["--stride=0"], "stride is 0, but it must be 1 or more"),
        (["--scale=max"], "scale on the command line is 'max', but it must be clip or frame"),
        (["--out=a.jpg"], "out is a.jpg, but the picture is a .png file"),
        (["--tracklet=/no/such"], "the tracklet /no/such does not exist: give a folder of frames"),
        (["--tracklet=x", "--query=1"], "--tracklet takes frames from a folder, and so no --query"),
        (["--checkpoint=/no/such.ckpt"], "there is no checkpoint /no/such.ckpt"),
        (["--baseline=/no/such.ckpt"], "there is no checkpoint /no/such.ckpt"),
        (["--data=mars"], "the data set mars needs its folder or file"),
        (["--stag=1"], "unknown option --stag; did you mean stage?"),
    ],
)
def test_a_mistake_is_one_sentence_and_writes_nothing(tiny_checkpoint, tmp_path, refused, argv, sentence):
    defaults = [f"--checkpoint={tiny_checkpoint}", f"--out={tmp_path}/a.png"]
    assert sentence in refused("attention", *defaults, *argv)
    assert list(tmp_path.iterdir()) == []


def test_a_tracklet_without_frames_is_refused(tiny_checkpoint, tmp_path, refused):
    (tmp_path / "notes.txt").touch()
    sentence = refused("attention", f"--checkpoint={tiny_checkpoint}", f"--tracklet={tmp_path}")
    assert sentence.startswith(f"tracklet {tmp_path} holds no picture but 1 .txt: it must hold .jpg, .jpeg, .png, ")
    sentence = refused("attention", f"--checkpoint={tiny_checkpoint}", f"--tracklet={tmp_path}/notes.txt")
    assert sentence.startswith(
        f"the tracklet {tmp_path}/notes.txt is a file, and no picture by its name: give a folder of "
    )


def test_what_to_draw_must_be_said(refused):
    assert "attention, masks, ranking" in refused()
    assert "but 'atention' is given; did you mean attention?" in refused("atention")


@pytest.mark.parametrize("words", [[], ["attention"], ["masks"], ["ranking"]])
def test_help_answers_at_once_without_torch(words):
    code = (
        "import sys\nfrom strf_cuda import visualize\n"
        f"try:\n    visualize.main({[*words, '--help']})\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert time.monotonic() - started < 1.5
    assert done.returncode == 0 and done.stderr == "[]\n" and "strf_cuda.visualize" in done.stdout

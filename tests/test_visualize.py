"""`python -m strf_cuda.visualize` as its user meets it: pictures, and mistakes in one sentence."""

import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from strf_cuda import visualize
from strf_cuda.cli import run
from strf_cuda.data import MARS
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
        (sentence,) = capsys.readouterr().err.splitlines()
        return sentence.removeprefix("error: ")

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
    assert f"{both}: the attention of stage 3 in 4 clips" in captured.out and captured.err == ""


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
    assert "in 1 clips" in capsys.readouterr().out and (tmp_path / "a.png").exists()


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
    assert sentence.startswith(f"the tracklet {tmp_path} holds no frame: it must hold .jpg, .jpeg, .png images")
    sentence = refused("attention", f"--checkpoint={tiny_checkpoint}", f"--tracklet={tmp_path}/notes.txt")
    assert sentence == f"the tracklet {tmp_path}/notes.txt is a file: give a folder of frames"


def test_what_to_draw_must_be_said(refused):
    assert "attention, masks, ranking" in refused()
    assert "but 'atention' is given; did you mean attention?" in refused("atention")


@pytest.mark.parametrize("words", [[], ["attention"]])
def test_help_answers_at_once_without_torch(words):
    code = (
        "import sys\nfrom strf_cuda import visualize\n"
        f"try:\n    visualize.main({[*words, '--help']})\nexcept SystemExit as end:\n    assert not end.code\n"
        "print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert time.monotonic() - started < 1.5
    assert done.returncode == 0 and done.stderr == "[]\n" and "attention" in done.stdout

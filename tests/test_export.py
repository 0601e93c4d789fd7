"""`python -m strf_cuda.export` as its user meets it: one file or folder, compared before it counts, and mistakes."""

import os
import re
import shutil
from pathlib import Path

import pytest
import torch

import strf_cuda
from reading import one_sentence
from strf_cuda import export, hub
from strf_cuda.cli import run
from strf_cuda.exporting import onnx, program
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.trained import open_model


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    return Path(shutil.copy(tiny_checkpoint, tmp_path / "best.ckpt"))


@pytest.fixture
def command(checkpoint, capsys):
    """Runs the command; returns what it printed, or with a status other than 0 its sentence."""

    def command(*words, status=0):
        assert run(lambda: export.main([f"--checkpoint={checkpoint}", *words])) == status
        printed = capsys.readouterr()
        return printed.out if status == 0 else one_sentence(printed.err)

    return command


@pytest.fixture
def no_onnx(monkeypatch):
    """Writing ONNX takes seconds: here the file holds a word, and the runtime computes the features + `off`."""
    state = {"off": 0.0}

    def load(path):
        assert path.read_text() == "ONNX"
        return lambda clips: embedder(state["trained"])(clips) + state["off"]

    def save(trained, path):
        state["trained"] = trained
        path.write_text("ONNX")

    monkeypatch.setattr(onnx, "save_onnx", save)
    monkeypatch.setattr(onnx, "load_onnx", load)
    return state


def test_a_folder_to_give_away_comes_beside_the_checkpoint(command, checkpoint):
    printed = command("--format=safetensors")
    folder = checkpoint.parent / "best-model"
    assert open_model(folder).fingerprint in printed
    assert f"load it      strf_cuda.from_pretrained('{folder}')" in printed
    assert "difference   0 at most in a number of a clip's embedding, where 0 is allowed;" in printed
    assert re.search(rf"^{folder}: safetensors, \d\.\d MB$", printed, re.MULTILINE)
    clips = torch.randn(1, 3, 4, 32, 16)
    assert torch.equal(strf_cuda.from_pretrained(folder)(clips), open_model(checkpoint).model(clips))


@pytest.mark.slow
def test_a_program_gives_the_features_of_the_model(command, checkpoint):
    printed = command("--format=export")
    path = checkpoint.with_suffix(".pt2")
    assert f"load it      strf_cuda.exporting.program.load_program('{path}')" in printed
    clips, trained = example_clips(open_model(checkpoint), 3, seed=5), open_model(checkpoint)
    with torch.no_grad():
        assert torch.equal(program.load_program(path)(clips), embedder(trained)(clips))


def test_a_folder_and_a_model_on_the_hub_are_exported_as_well(command, checkpoint, no_onnx, tmp_path, monkeypatch):
    folder = strf_cuda.save_pretrained(checkpoint, tmp_path / "model")
    assert f"{tmp_path}/model.onnx: onnx" in command(f"--checkpoint={folder}", "--format=onnx")
    monkeypatch.setattr(hub, "download", lambda model, files: folder)
    sentence = command("--checkpoint=hf://anna/strf", "--format=onnx", status=2)
    assert sentence == "hf://anna/strf is not on this machine: say with --out where the model goes"
    out = tmp_path / "hub.onnx"
    assert str(out) in command("--checkpoint=hf://anna/strf", "--format=onnx", f"--out={out}") and out.exists()


def test_what_computes_something_else_is_not_kept(command, checkpoint, no_onnx):
    place = checkpoint.with_suffix(".onnx")
    place.write_text("from before")
    no_onnx["off"] = 0.1
    sentence = command("--format=onnx", status=2)
    assert re.fullmatch(
        r"the exported model differs from the model in Python by \d\.\de-0\d in an embedding, where "
        r"\d\.\de-05 is allowed: it must not be used",
        sentence,
    )
    assert place.read_text() == "from before"
    assert sorted(os.listdir(place.parent)) == ["best.ckpt", "best.onnx"]


def test_a_file_is_replaced_and_a_folder_is_not(command, checkpoint, no_onnx):
    checkpoint.with_suffix(".onnx").write_text("from before")
    command("--format=onnx")
    assert checkpoint.with_suffix(".onnx").read_text() == "ONNX"
    (checkpoint.parent / "best-model").mkdir()
    (checkpoint.parent / "best-model" / "README.md").write_text("edited by hand")
    assert "best-model exists already: give another place, or remove it" in command("--format=safetensors", status=2)


def test_the_hub_gets_a_folder_when_asked(command, monkeypatch, tmp_path):
    given = []
    monkeypatch.setattr(hub, "upload", lambda folder, *words, **options: given.append((folder, words, options)))
    printed = command("--format=safetensors", f"--out={tmp_path}/m", "--push_to_hub=anna/strf")
    assert given == [
        (tmp_path / "m", ("anna/strf", ("config.json", "model.safetensors", "README.md")), {"private": True})
    ]
    assert "hub          https://huggingface.co/anna/strf" in printed


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--format=torchscript"],
            "format on the command line is 'torchscript', but it must be safetensors, export, aoti",
        ),
        ([], "required but not given: --format"),
        (["--format=onnx", "--out=a.pt2"], "out is a.pt2, but with --format onnx it is a file that ends in .onnx"),
        (["--format=aoti", "--out=a"], "out is a, but with --format aoti it is a file that ends in .pt2"),
        (["--format=onnx", "--push_to_hub=a/b"], "format is onnx, but only safetensors are put on a hub"),
        (["--format=safetensors", "--push_to_hub=b"], "push_to_hub is b, but a model on the Hugging Face hub is named"),
        (["--format=safetensors", "--public"], "--public is of no use without --push_to_hub owner/name"),
        (["--format=onnx", "--backend=reference"], "backend is reference, but --format onnx has no choice of one"),
        (["--format=export", "--checkpoint=none.ckpt"], "there is no checkpoint none.ckpt"),
    ],
)
def test_mistakes_are_one_sentence(command, checkpoint, words, sentence):
    assert command(*words, status=2).startswith(sentence)
    assert os.listdir(checkpoint.parent) == ["best.ckpt"]


@pytest.mark.slow
def test_a_compiled_package_and_onnx_through_the_command(command, checkpoint):
    for name, file in {"aoti": "best-aoti.pt2", "onnx": "best.onnx"}.items():
        printed = command(f"--format={name}")
        assert f"/{file}: {name}" in printed and (checkpoint.parent / file).stat().st_size > 1e6
        assert re.search(r"difference   \d\.\de-0[789] at most", printed)

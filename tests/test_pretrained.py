"""A trained model as a folder: the same model again, from a path or from the hub, and nothing else is taken for one."""

import json
import os
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch

import strf_cuda
from strf_cuda import evaluate, hub, model_folder
from strf_cuda.cli import run
from strf_cuda.errors import InputError
from strf_cuda.trained import TrainedModel, open_model
from test_contents import POINTER
from untrained import write_checkpoint


@pytest.fixture(scope="module")
def saved(tiny_checkpoint, tmp_path_factory):
    return strf_cuda.save_pretrained(tiny_checkpoint, tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def copy(saved, tmp_path):
    return Path(shutil.copytree(saved, tmp_path / os.fsdecode(b"\xff copy")))


@pytest.fixture
def on_the_hub(saved, monkeypatch):
    """The hub has one model, anna/strf; returns what was downloaded."""
    asked = []

    def download(model, files):
        asked.append((model, files))
        if model.repository != "anna/strf":
            raise InputError(f"there is no model {model.repository}")
        return saved

    monkeypatch.setattr(hub, "download", download)
    return asked


def edit(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_model_comes_back_to_the_last_bit(saved, tiny_checkpoint):
    before, after = open_model(tiny_checkpoint), open_model(saved)
    assert after.fingerprint == before.fingerprint and not after.model.training
    assert (after.config.model, after.config.evaluation) == (before.config.model, before.config.evaluation)
    for name, tensor in before.model.state_dict().items():  # the classifier too, which is not in the fingerprint
        assert torch.equal(after.model.state_dict()[name], tensor)
    clips = torch.randn(2, 3, 4, 32, 16)
    with torch.no_grad():
        assert torch.equal(strf_cuda.from_pretrained(saved)(clips), before.model(clips))


def test_the_folder_holds_three_files_that_everybody_may_read(saved):
    assert sorted(os.listdir(saved)) == ["README.md", "config.json", "model.safetensors"]
    umask = os.umask(0)
    os.umask(umask)
    assert {path.stat().st_mode & 0o777 for path in saved.iterdir()} == {0o666 & ~umask}
    assert os.listdir(saved.parent) == ["model"], "nothing is left beside it"


def test_no_path_of_the_machine_leaves_with_it(tiny_run, tiny_walkers, tmp_path):
    weights = tmp_path / "secret" / "resnet.pth"
    checkpoint = write_checkpoint(
        tmp_path / "a.ckpt", *tiny_run, "--model.width=16", f"--data.root={tiny_walkers}", f"--model.weights={weights}"
    )
    folder = strf_cuda.save_pretrained(checkpoint, tmp_path / "model")
    for name in ("config.json", "README.md"):
        text = (folder / name).read_text()
        assert str(tmp_path) not in text and str(tiny_walkers) not in text
    config = open_model(folder).config
    assert (config.data.root, config.out, config.model.weights) == (None, None, "resnet.pth")


def test_a_model_that_was_changed_here_can_be_saved_as_well(tiny_checkpoint, tmp_path):
    trained = open_model(tiny_checkpoint)
    with torch.no_grad():
        trained.model.conv1.weight.mul_(2)
    folder = strf_cuda.save_pretrained(TrainedModel(trained.model, trained.config, "mine"), tmp_path / "model")
    assert open_model(folder).fingerprint != open_model(tiny_checkpoint).fingerprint


def test_a_folder_is_saved_again_with_all_that_is_known_of_it(saved, tmp_path):
    again = strf_cuda.save_pretrained(saved, tmp_path / "again")
    assert (again / "config.json").read_text() == (saved / "config.json").read_text()


def test_nothing_is_overwritten(saved, tiny_checkpoint, tmp_path):
    with pytest.raises(InputError, match=r"model exists already: give another place, or remove it"):
        strf_cuda.save_pretrained(tiny_checkpoint, saved)
    (tmp_path / "empty").mkdir()
    assert len(list(strf_cuda.save_pretrained(tiny_checkpoint, tmp_path / "empty").iterdir())) == 3


def test_a_folder_is_whole_or_absent(tiny_checkpoint, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_folder, "write_json", full)
    with pytest.raises(InputError, match=r"^cannot write .*/model: No space left on device$"):
        strf_cuda.save_pretrained(tiny_checkpoint, tmp_path / "model")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda f: (f / "config.json").unlink(), "{f} holds no model: it has no config.json"),
        (lambda f: (f / "config.json").write_text("{"), "{f}/config.json is damaged: "),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "{f}/config.json is damaged: "),
        (lambda f: (f / "config.json").write_text("[]"), "{f} is a model of another library"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "{f} is a model of another library"),
        (lambda f: edit(f, format=2), "{f} has format 2, but strf_cuda 0.1.0 reads format 1: install a newer version"),
        (lambda f: edit(f, config={"modle": {}}), "unknown key modle in {f}/config.json; did you mean model?"),
        (lambda f: edit(f, config={"model": {"kind": "p4d"}}), "model.kind in {f}/config.json is 'p4d', but"),
        (lambda f: edit(f, config={"model": {"width": None}}), "model.width in {f}/config.json is null, but"),
        (lambda f: edit(f, config={"model": {"depth": 3}}), "model.depth in {f}/config.json is 3, but"),
        (lambda f: edit(f, people="8"), "{f}/config.json describes no model: "),
        (lambda f: edit(f, config={}), "{f}/model.safetensors is of another architecture: "),
        (lambda f: (f / "model.safetensors").unlink(), "{f} lacks its weights, model.safetensors"),
        (lambda f: os.truncate(f / "model.safetensors", 100_000), "{f}/model.safetensors is damaged: "),
        (lambda f: (f / "model.safetensors").write_text("text"), "{f}/model.safetensors is text, which begins with "),
        (
            lambda f: (f / "model.safetensors").write_bytes(POINTER),
            "{f}/model.safetensors is a Git LFS pointer",
        ),
        (lambda f: (f / "config.json").write_bytes(POINTER), "{f}/config.json is damaged: it is a Git LFS pointer"),
        (lambda f: change_a_weight(f), "the weights of {f} are not those that its config.json describes: "),
    ],
)
def test_a_folder_that_is_no_model_is_one_sentence(copy, spoil, sentence):
    spoil(copy)
    with pytest.raises(InputError) as caught:
        open_model(copy)
    assert str(caught.value).startswith(sentence.format(f=copy)) and "\n" not in str(caught.value)


def change_a_weight(folder):
    state = safetensors.torch.load((folder / "model.safetensors").read_bytes())
    state["conv1.weight"] = state["conv1.weight"] + 1
    safetensors.torch.save_file(state, folder / "model.safetensors")


def test_a_size_that_weights_do_not_have_takes_no_memory(copy):
    edit(copy, config={"model": {"width": 10**7}})
    with pytest.raises(InputError, match="is of another architecture"):
        open_model(copy)


def test_a_damaged_description_names_what_it_lacks(copy):
    content = json.loads((copy / "config.json").read_text())
    del content["people"], content["config"]
    (copy / "config.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"config.json is damaged: it lacks config, people$"):
        open_model(copy)


def test_of_a_run_or_of_bare_weights_it_is_said_what_to_give(tiny_checkpoint, copy):
    with pytest.raises(InputError, match=r"it has no config.json; give one of its checkpoints, .*/best.ckpt$"):
        open_model(tiny_checkpoint.parent)
    with pytest.raises(InputError, match=r"holds weights alone: give the folder that it lies in, with config.json"):
        open_model(copy / "model.safetensors")


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx"])
def test_an_exported_program_is_not_taken_for_a_damaged_checkpoint(name, tmp_path):
    with pytest.raises(InputError, match=f"there is no checkpoint .*/{name}"):
        open_model(tmp_path / name)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(
        InputError, match=f"/{name} is an exported model, which only computes: give what it was exported"
    ):
        open_model(tmp_path / name)


def test_pickled_weights_in_the_folder_are_not_looked_at(copy):
    """A repository often holds both; what unpickling would do must not happen."""
    (copy / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch executed'\ntR.")
    open_model(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match="lacks its weights, model.safetensors"):
        open_model(copy)


def test_the_hub_is_asked_by_its_prefix_or_where_there_is_no_such_path(on_the_hub, saved, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    needed = ("config.json", "model.safetensors")
    for source, revision in [("anna/strf", None), ("hf://anna/strf", "v1"), ("anna/strf", "main")]:
        assert not strf_cuda.from_pretrained(source, revision=revision).training
        assert on_the_hub.pop() == (hub.HubModel("anna/strf", revision), needed)
    shutil.copytree(saved, tmp_path / "anna" / "strf")
    strf_cuda.from_pretrained("anna/strf")
    assert on_the_hub == [], "a folder of that name comes first"
    with pytest.raises(InputError, match="revision is v1, but .* is a path here: models on the hub have revisions"):
        strf_cuda.from_pretrained("anna/strf", revision="v1")
    with pytest.raises(InputError, match="there is no model ben/strf"):
        strf_cuda.from_pretrained("ben/strf")


def test_a_mistyped_path_does_not_go_to_the_network(on_the_hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    for name in ("runs/mras", "runs/mras/best.ckpt", "rnus/best.ckpt"):
        with pytest.raises(InputError, match=f"there is no checkpoint {name}"):
            strf_cuda.from_pretrained(name)
    with pytest.raises(InputError, match="there is no checkpoint anna/strf"):
        open_model("anna/strf")
    assert on_the_hub == []


def test_commands_take_a_folder_and_a_model_on_the_hub(saved, on_the_hub, tiny_walkers, tiny_checkpoint, tmp_path):
    def evaluated(source, *options):
        words = ["--checkpoint", str(source), "--root", str(tiny_walkers), "--queries=0", "--workers=0", *options]
        assert run(lambda: evaluate.main(words)) == 0

    out = tmp_path / "figures"
    for source in (tiny_checkpoint, saved, "hf://anna/strf"):
        evaluated(source, f"--out={out}")
        metrics = json.loads((out / "metrics.json").read_text())
        assert (metrics["fingerprint"], metrics["checkpoint"]) == (open_model(saved).fingerprint, str(source))
        (out / "metrics.json").rename(tmp_path / f"{len(os.listdir(tmp_path))}.json")
    first, *others = [json.loads(path.read_text()) for path in tmp_path.glob("*.json")]
    assert all(other["mAP"] == first["mAP"] for other in others) and len(others) == 2


def test_figures_of_a_folder_go_into_it_and_those_of_the_hub_where_one_says(copy, on_the_hub, tiny_walkers, capsys):
    words = ["--root", str(tiny_walkers), "--queries=0", "--workers=0"]
    assert run(lambda: evaluate.main(["--checkpoint", str(copy), *words])) == 0
    assert (copy / "evaluation" / "metrics.json").is_file()
    assert run(lambda: evaluate.main(["--checkpoint", "hf://anna/strf", *words])) == 2
    assert "hf://anna/strf is not on this machine: say with --out where the figures go" in capsys.readouterr().err


def test_it_is_uploaded_only_when_asked_and_after_everything_else(tiny_checkpoint, tmp_path, monkeypatch):
    uploads = []
    monkeypatch.setattr(hub, "upload", lambda *words, **options: uploads.append((words, options)))
    strf_cuda.save_pretrained(tiny_checkpoint, tmp_path / "kept")
    assert uploads == []
    folder = strf_cuda.save_pretrained(tiny_checkpoint, tmp_path / "given", push_to_hub="anna/strf", private=False)
    assert uploads == [((folder, "anna/strf", model_folder.FILES), {"private": False})]
    assert "# anna/strf\n" in (folder / "README.md").read_text()
    with pytest.raises(InputError, match="push_to_hub is nonsense, but a model"):
        strf_cuda.save_pretrained(tiny_checkpoint, tmp_path / "not", push_to_hub="nonsense")
    assert not (tmp_path / "not").exists()

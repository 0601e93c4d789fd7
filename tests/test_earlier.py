"""Files of the version before `model.similarity`, kept in tests/earlier: what they hold goes on as it was."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from running import command
from strf_cuda import evaluate, search, train
from strf_cuda.backends import library
from strf_cuda.checkpoints import read_checkpoint
from strf_cuda.cli import load_config, run, to_dict
from strf_cuda.config import PRESETS, ModelConfig, TrainConfig
from strf_cuda.exporting.embedder import embedder
from strf_cuda.exporting.onnx import load_onnx
from strf_cuda.exporting.program import load_program
from strf_cuda.meaning import architecture
from strf_cuda.pretrained import save_pretrained
from strf_cuda.trained import open_model

EARLIER = Path(__file__).parent / "earlier"
SAID = json.loads((EARLIER / "said.json").read_text())
FORMS = ["run/last.ckpt", "folder"]


def note(source):
    return (
        f"note: {source} is of an earlier version, which had no model.similarity: it goes on with dot, which is what "
        "that version computed\n"
    )


@pytest.fixture
def earlier_run(tmp_path):
    """A copy of the run, which may be continued."""
    return Path(shutil.copytree(EARLIER / "run", tmp_path / "run"))


def load(*argv):
    return load_config(TrainConfig, [str(word) for word in argv], prog=train.PROG, presets=PRESETS)


@pytest.mark.parametrize("form", FORMS)
def test_a_model_gives_the_same_features_and_fingerprint_and_one_note(form, tmp_path, capsys):
    known = load_file(EARLIER / "features.safetensors")
    trained = open_model(EARLIER / form)
    assert capsys.readouterr().err == note(EARLIER / ("folder/config.json" if form == "folder" else form))
    unit = trained.model.layer2[0].temporal.unit
    assert (unit.similarity, unit.temperature) == ("dot", 4.0)
    assert trained.fingerprint == SAID["fingerprint"]
    with torch.inference_mode():
        torch.testing.assert_close(embedder(trained, backend="reference")(known["clips"]), known["features"])
    # Given away by this version, it stays the same model, and needs no note.
    assert open_model(save_pretrained(trained, tmp_path / "again")).fingerprint == SAID["fingerprint"]
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", SAID["architectures"])
def test_the_fingerprint_of_a_configuration_begins_as_it_did(name):
    """With `dot` for models with STRF units; others have no similarity, whatever their configuration says."""
    said = SAID["architectures"][name]
    texts = set()
    for similarity in ("dot", "cosine"):
        config = load("--model.reduction=16", *said["options"], f"--model.similarity={similarity}")  # the demo's then
        texts.add(json.dumps(architecture(config), sort_keys=True))
    assert said["text"] in texts and len(texts) == (2 if '"unit": "strf"' in said["text"] else 1)


def test_a_temperature_that_is_left_out_is_the_number_that_is_meant():
    for similarity, temperature, other in (("dot", 4, 16), ("cosine", 16, 4)):
        options = [f"--model.similarity={similarity}"]
        alike = [architecture(load(*options, *more)) for more in ([], [f"--model.temperature={temperature}"])]
        assert alike[0] == alike[1] != architecture(load(*options, f"--model.temperature={other}"))


def test_an_option_that_comes_later_changes_no_fingerprint_unless_it_is_used(monkeypatch):
    """Only what a checkpoint's own version did not have needs a word in EARLIER, where that was not today's default."""
    fields = to_dict(ModelConfig())
    assert set(fields) - set(ModelConfig.FIRST) == {"similarity"} == set(ModelConfig.EARLIER)
    config = load("--model.similarity=dot")
    before = architecture(config)
    monkeypatch.setattr(ModelConfig, "FIRST", tuple(name for name in ModelConfig.FIRST if name != "placement"))
    assert architecture(config) == {name: value for name, value in before.items() if name != "placement"}
    assert architecture(load("--model.similarity=dot", "--model.placement=spatial"))["placement"] == "spatial"


def test_an_evaluation_gives_the_same_figures_and_a_gallery_takes_its_model(
    earlier_run, tiny_walkers, tmp_path, capsys
):
    checkpoint = earlier_run / "last.ckpt"
    argv = [f"--checkpoint={checkpoint}", f"--root={tiny_walkers}", f"--out={tmp_path}/figures", "--device=cpu"]
    assert run(lambda: evaluate.main([*argv, "--workers=0"])) == 0
    assert capsys.readouterr().err.count(note(checkpoint)) == 1
    figures, before = (
        json.loads((place / "metrics.json").read_text()) for place in (tmp_path / "figures", EARLIER / "run")
    )
    assert figures["mAP"] == pytest.approx(before["mAP"], abs=1e-9)

    frames = next((tiny_walkers / "bbox_test").iterdir())
    words = [f"--gallery={EARLIER}/gallery.safetensors", f"--query={frames}", "--device=cpu", "--top=1"]
    assert run(lambda: search.main([*words, f"--checkpoint={checkpoint}"])) == 0
    assert re.search(rf"\n1 +0\.0000 .*{frames.name}", capsys.readouterr().out)  # the same tracklet
    changed = read_checkpoint(checkpoint)
    changed["config"]["model"]["similarity"] = "cosine"
    torch.save(changed, tmp_path / "changed.ckpt")
    assert run(lambda: search.main([*words, f"--checkpoint={tmp_path}/changed.ckpt"])) == 2


def test_a_run_continues_as_it_began(earlier_run, tiny_walkers, capsys):
    argv = ["--resume", f"--out={earlier_run}", f"--data.root={tiny_walkers}", "--epochs=2"]
    for more in ["--model.similarity=dot", "--model.temperature=null"]:  # which mean the same
        assert train._continued(str(earlier_run), [*argv, more]).model.similarity == "dot"
    capsys.readouterr()
    assert command(*argv) == 0
    out, err = capsys.readouterr()
    assert err == note(earlier_run / "config.yaml") and "similarity: dot\n" in out
    assert read_checkpoint(earlier_run / "last.ckpt")["epoch"] == 1
    assert open_model(earlier_run / "last.ckpt").config.model.similarity == "dot"
    assert capsys.readouterr().err == ""  # the run is of this version now


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            "similarity=cosine",
            "model.similarity is cosine, but the run in {} was started with dot, and a run continues",
        ),
        ("temperature=16", "model.temperature is 16.0, but the run in {} was started with 4.0, and a run continues"),
    ],
)
def test_a_run_is_not_continued_with_masks_of_another_meaning(option, sentence, earlier_run, tiny_walkers, capsys):
    argv = ["--resume", f"--out={earlier_run}", f"--data.root={tiny_walkers}", "--epochs=2", f"--model.{option}"]
    assert command(*argv) == 2
    said = capsys.readouterr().err.removeprefix(note(earlier_run / "config.yaml"))
    assert said.startswith("error: " + sentence.format(earlier_run)) and said.count("\n") == 1


def test_a_complete_configuration_means_what_it_did_and_a_short_one_what_it_says(earlier_run, tmp_path, capsys):
    saved = earlier_run / "config.yaml"
    assert load(f"--config={saved}").model.similarity == "dot"
    assert load("--model.similarity=cosine", "--config", saved).model.similarity == "dot"
    assert capsys.readouterr().err == 2 * note(saved)
    for words in (["--model.similarity", "cosine"], ["--model.similarity=cosine"]):  # says it, so there is no note
        model = load("--config", saved, *words).model
        assert (model.similarity, model.temperature) == ("cosine", None)  # 4 was the default of dot, not a choice
    assert load(f"--config={saved}", "--model.temperature=5").model.temperature == 5
    assert capsys.readouterr().err == note(saved)
    (tmp_path / "mine.yaml").write_text("model: {kind: p3dc, unit: strf, width: 16}")
    (tmp_path / "new.yaml").write_text(
        re.sub("  temperature", "  similarity: cosine\n  temperature", saved.read_text())
    )
    for name in ("mine.yaml", "new.yaml"):
        assert load(f"--config={tmp_path}/{name}").model.similarity == "cosine"
    assert capsys.readouterr().err == ""


def test_an_onnx_file_computes_what_it_did():
    known = load_file(EARLIER / "features.safetensors")
    model = load_onnx(EARLIER / "model.onnx")
    torch.testing.assert_close(model(known["clips"]), known["features"], rtol=1e-4, atol=1e-5)
    assert model.metadata["strf_cuda.fingerprint"] == SAID["fingerprint"]


@pytest.mark.skipif(library.REASON is not None, reason=str(library.REASON))
def test_a_program_that_calls_the_operator_without_a_similarity_computes_what_it_did():
    known = load_file(EARLIER / "features.safetensors")
    program = load_program(EARLIER / "program.pt2")
    assert program.facts.operator == "strf_cuda::forward" and program.facts.fingerprint == SAID["fingerprint"]
    torch.testing.assert_close(program(known["clips"]), known["features"], rtol=1e-4, atol=1e-5)

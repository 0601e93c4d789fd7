"""The model card: every figure has its source, a missing one is said to be missing, and the examples run."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

import strf_cuda
from strf_cuda.config import DataConfig
from strf_cuda.exporting.data_facts import facts_of
from strf_cuda.exporting.evaluations import evaluations_of
from strf_cuda.exporting.model_card import model_card
from strf_cuda.trained import open_model

FIGURES = {"mAP": 0.4321, "mINP": 0.21, "rank-1": 0.5, "rank-5": 0.6, "rank-10": 0.7, "rank-20": 0.8}
METRICS = {
    "dataset": "walkers",
    "notes": ["7 queries are made up"],
    "reranked": None,
    **FIGURES,
    "queries": 9,
    "valid_queries": 8,
    "chance_mAP": 0.033,
    "challenges": {"occluded": {**FIGURES, "mAP": 0.1234, "queries": 4, "valid_queries": 3}},
    "within_look_alike_groups": {
        "look-alike": {"rank-1": 0.3, "chance": 0.25, "queries": 4},
        "look-alike-pace": {"rank-1": None, "chance": None, "queries": 0},
    },
}
PROTOCOL = {
    "frames": 4, "stride": 1, "average_precision": "trapezoid", "flip": True, "rerank": False, "shuffle_frames": True
}  # fmt: skip


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    return Path(shutil.copy(tiny_checkpoint, tmp_path / "best.ckpt"))


@pytest.fixture
def trained(checkpoint):
    return open_model(checkpoint)


def write_metrics(path, **more):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({**METRICS, **more}))


def of_epoch(trained, epochs, mAP):
    """The model with the record of a checkpoint whose last epoch was evaluated."""
    own = {
        "source": "the run's checkpoint",
        "dataset": "walkers",
        "protocol": PROTOCOL,
        "figures": {"all": {"mAP": mAP}},
    }
    return dataclasses.replace(trained, record={"epochs": epochs, "steps": 18, "evaluations": [own]})


def test_without_an_evaluation_the_card_says_that_nothing_is_known(trained):
    assert evaluations_of(trained) == []
    card = model_card(dataclasses.replace(trained, record={"evaluations": []}), "model")
    assert "How well it does is **not known**: no evaluation of these weights was found beside them." in card
    assert "mAP" not in card and "| length | **not known**; 3 epochs were asked for |" in card


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "; similarity cosine, temperature 16 |"),
        ({"similarity": "dot"}, "; similarity dot, temperature 4 |"),
        ({"temperature": 2.5}, "; similarity cosine, temperature 2.5 |"),
        ({"unit": "none"}, "| units | none, the baseline |"),
        ({"weights": "best.ckpt"}, "| start | the weights of a trained model, best.ckpt |"),
        ({"weights": "imagenet"}, "| start | ImageNet weights, imagenet |"),
    ],
)
def test_the_card_says_how_masks_compare_positions_and_what_the_model_began_with(trained, options, said):
    model = dataclasses.replace(trained.config.model, **options)
    config = dataclasses.replace(trained.config, model=model)
    card = model_card(dataclasses.replace(trained, config=config, record={"evaluations": []}), "model")
    assert said in card and ("whatever limits that one" in card) == ("best.ckpt" in card)


def test_an_evaluation_counts_that_names_this_model(trained, checkpoint):
    path = checkpoint.parent / "evaluation" / "metrics.json"
    for fingerprint in ({}, {"fingerprint": "0" * 64}):
        write_metrics(path, protocol=PROTOCOL, **fingerprint)
        assert evaluations_of(trained) == []
    write_metrics(path, protocol=PROTOCOL, fingerprint=trained.fingerprint)
    (evaluation,) = evaluations_of(trained)
    assert (evaluation["source"], evaluation["figures"]["occluded"]["mAP"]) == ("evaluation/metrics.json", 0.1234)


def test_figures_of_a_run_count_for_the_checkpoint_of_its_last_epoch(trained, checkpoint):
    write_metrics(checkpoint.parent / "metrics.json", history=[{"epoch": 2}, {"epoch": 3, "mAP": 0.4321}])
    assert [each["source"] for each in evaluations_of(of_epoch(trained, 3, 0.4321))] == ["metrics.json"]
    best = of_epoch(trained, 2, 0.5)  # of an earlier epoch, the run's figures say nothing
    assert evaluations_of(best) == best.record["evaluations"]
    other = of_epoch(trained, 3, 0.5)  # a run that was started anew in the same folder
    assert evaluations_of(other) == other.record["evaluations"]


def test_damaged_figures_are_not_passed_over(trained, checkpoint):
    (checkpoint.parent / "metrics.json").write_text("{")
    with pytest.raises(strf_cuda.InputError, match=r"cannot read the figures in .*/metrics.json: .*; repair or remove"):
        evaluations_of(trained)


def test_figures_stand_with_source_chance_protocol_and_notes(trained, checkpoint, tmp_path):
    path = checkpoint.parent / "evaluation" / "metrics.json"
    write_metrics(path, protocol=PROTOCOL, fingerprint=trained.fingerprint)
    card = (strf_cuda.save_pretrained(checkpoint, tmp_path / "model") / "README.md").read_text()
    assert "On walkers, in percent; source: evaluation/metrics.json." in card
    assert re.search(r"\| all +\| 43.2 \| 21.0 \| +50.0 \| +60.0 \| +70.0 \| +80.0 \| +8 \|", card)
    assert re.search(r"\| occluded \| 12.3 \|", card)
    for words in (
        "A random ranking has mAP 3.3.",
        "rank-1 30.0 (chance 25.0), 4 queries.",
        "Note: 7 queries are made up.",
        "clips of 4 frames at stride 1",
        "trapezoid average precision, mirror images averaged, no re-ranking, **the frames of every clip shuffled",
    ):
        assert words in card
    assert "look-alike-pace" not in card, "no queries, no figure"


def test_what_the_checkpoint_alone_knows_is_said_to_be_all(trained):
    card = model_card(of_epoch(trained, 2, 0.4321), "model")
    assert "source: the run's checkpoint" in card and "43.2" in card
    assert "The mAP of a random ranking is **not known**." in card and "figures by challenge are **not known**" in card
    assert (
        "| length | 2 of 3 epochs, 18 steps |" in card
        and "Trained for 2 epochs; the recipe of the paper has 250" in card
    )


def test_the_model_is_described(trained):
    card = model_card(trained_with(trained, "walkers"), "anna/strf")
    parameters = sum(parameter.numel() for parameter in trained.model.parameters())
    for words in (
        f"| {parameters:,}, of which",
        "of kind p3dc",
        "4 RGB frames of 32x16",
        "512 numbers",
        trained.fingerprint,
    ):
        assert words in card
    assert 'from_pretrained("anna/strf")' in card


def trained_with(trained, name):
    config = dataclasses.replace(trained.config, data=DataConfig(name=name, height=32, width=16))
    return dataclasses.replace(trained, config=config, record={"evaluations": []})


@pytest.mark.parametrize(
    ("name", "licence", "words"),
    [
        ("walkers", "apache-2.0", "synthetic people, drawn by strf_cuda itself"),
        ("mars", "other", "MARS is for research. So is this model"),
        ("duke", "other", "**DukeMTMC was withdrawn by its authors in 2019**"),
        ("ilids", "other", "research only"),
        ("prid", "other", "research only"),
        ("folder", "unknown", "**Whoever publishes this model should say here** whose pictures"),
        ("packed", "unknown", "**Whoever publishes this model should say here** whose pictures"),
    ],
)
def test_the_header_is_the_hubs_and_the_data_set_decides_the_licence(trained, name, licence, words):
    text = model_card(trained_with(trained, name), "model")
    header = ModelCard(text).data  # as the hub reads it
    assert (header.license, header.library_name) == (licence, "strf_cuda")
    assert {"person-re-identification", "video", "strf"} <= set(header.tags)
    assert words in text and ("skin, age, sex" in text) == (name != "walkers")


def test_a_packed_copy_does_not_hide_what_was_withdrawn():
    assert "withdrawn" in facts_of("packed", ["DukeMTMC-VideoReID"]).terms
    assert facts_of("walkers", ["MARS"]) == facts_of("walkers", [])  # evaluated elsewhere: trained on what it was


def test_the_baseline_is_not_tagged_strf(tiny_baseline):
    card = model_card(dataclasses.replace(open_model(tiny_baseline), record={"evaluations": []}), "model")
    assert "- strf" not in card and "| units | none, the baseline |" in card


def test_the_example_runs_in_the_folder(checkpoint, tmp_path, monkeypatch):
    folder = strf_cuda.save_pretrained(checkpoint, tmp_path / "model")
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    assert tuple(names["embedding"].shape) == (512,) and names["embedding"].norm() == pytest.approx(1)

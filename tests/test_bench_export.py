"""The benchmark of export formats: models whose units matter, figures of each format, a table."""

import json

import pytest
import torch

from bench import export
from bench.export import EAGER, FORMATS, made_up_model
from strf_cuda.exporting.embedder import embedder, example_clips


@pytest.fixture
def two_formats(monkeypatch):
    """What takes long to write is left out: beside the folder there is a file that holds the module."""

    def write(trained, path):
        torch.save(embedder(trained, backend="reference"), path)

    def read(path):
        return torch.load(path, weights_only=False)

    monkeypatch.setattr(export, "FORMATS", {EAGER: FORMATS[EAGER], "pickled": ("model.pt", write, read)})


def test_units_have_an_effect_and_features_are_ordinary_numbers():
    trained = made_up_model("strf", quick=True)
    clips = example_clips(trained)
    with torch.no_grad():
        features = embedder(trained)(clips)
        for unit in [module for name, module in trained.model.named_modules() if name.endswith(".unit")]:
            unit.weight.zero_()  # masks of equal weights
        changed = embedder(trained)(clips)
    assert 0.1 < features.std() < 10 and (features - changed).abs().max() > 0.01


@pytest.mark.usefixtures("two_formats")
def test_the_benchmark_writes_figures_and_prints_them(tmp_path, capsys):
    export.main(["--quick", f"--out={tmp_path}/export.json"])
    result = json.loads((tmp_path / "export.json").read_text())
    assert list(result["models"]) == ["STRF-P3DC", "P3DC"]
    printed = capsys.readouterr().out
    shown = export.section(result)
    for formats in result["models"].values():
        assert export.table(formats) in printed and export.table(formats) in shown
        own, other = formats[EAGER], formats["pickled"]
        assert own["largest difference of an embedding"] == 0 and other["largest difference of an embedding"] <= 1e-5
        assert own["speed"]["8"]["ratio"]["median"] == 1 and other["speed"]["1"]["ms a clip"]["median"] > 0
        assert all(figures["megabytes"] > 1 and figures["seconds to open"] > 0 for figures in formats.values())


@pytest.mark.usefixtures("two_formats")
def test_it_is_of_the_cpu_and_says_so(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    with pytest.raises(SystemExit):
        export.main(["--quick", "--device=cuda"])
    assert "exported models are timed on the CPU" in capsys.readouterr().err


@pytest.mark.slow
def test_every_format_is_compared_and_timed(capsys):
    export.main(["--quick"])
    printed = capsys.readouterr().out
    assert all(printed.count(f"| {name} ") == 2 for name in FORMATS)

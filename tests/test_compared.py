"""What models are called, and what sets two of them apart."""

from dataclasses import replace

from strf_cuda.compared import comparison_notes, model_names
from strf_cuda.config import DataConfig, ModelConfig, TrainConfig

STRF = TrainConfig()
PLAIN = replace(STRF, model=ModelConfig(unit="none"))


def test_models_are_called_as_in_papers():
    units = ("strf", "none", "gram", "nonlocal")
    models = [(ModelConfig(kind="i3d", unit=unit), f"{unit}.ckpt") for unit in units]
    assert model_names(models) == ["STRF-I3D", "I3D", "I3D + Gram unit", "I3D + non-local"]


def test_models_of_one_name_are_told_by_their_files():
    models = [(STRF.model, "runs/one/best.ckpt"), (PLAIN.model, "x.ckpt"), (STRF.model, "/data/runs/two/best.ckpt")]
    assert model_names(models) == ["STRF-P3DC, one/best.ckpt", "P3DC", "STRF-P3DC, two/best.ckpt"]


def test_models_that_differ_in_the_unit_alone_need_no_note():
    assert comparison_notes(STRF, PLAIN) == []
    assert comparison_notes(STRF, replace(PLAIN, seed=3, out="elsewhere", device="cpu")) == []


def test_another_split_is_other_training_data():
    runs = [replace(run, data=DataConfig("ilids", split=split)) for run, split in ((STRF, 1), (PLAIN, 2))]
    (note,) = comparison_notes(*runs)
    assert note == "the two models differ in training data too: ilids, split 1; the baseline ilids, split 2"

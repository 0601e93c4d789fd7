"""What a command is given takes the place of the run's settings, and nothing else does."""

from strf_cuda.config import DataConfig
from strf_cuda.settings import data_settings, other_split_notes

RUN = DataConfig(name="ilids", root="/data/iLIDS", split=3, height=64, workers=2)


def test_without_options_it_is_the_run_s_data_set():
    assert data_settings(RUN, name=None, root=None, split=None) == RUN


def test_the_same_data_set_elsewhere_keeps_its_split():
    assert data_settings(RUN, name="ilids", root="/mnt", split=None, workers=0) == DataConfig(
        name="ilids", root="/mnt", split=3, height=64, workers=0
    )


def test_another_data_set_has_neither_the_run_s_folder_nor_its_split():
    assert data_settings(RUN, name="walkers", root=None, split=None) == DataConfig(
        name="walkers", root=None, split=None, height=64, workers=2
    )


def test_another_split_of_the_same_data_set_is_noted():
    assert other_split_notes(RUN, RUN) == []
    assert other_split_notes(data_settings(RUN, name="walkers", root=None, split=None), RUN) == []
    (note,) = other_split_notes(data_settings(RUN, name=None, root=None, split=0), RUN)
    assert note.startswith("the model was trained on split 3, which trains on people that split 0 tests on")

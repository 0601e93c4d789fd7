"""The training benchmark: the runs that it asks for are those that it tells of."""

from pathlib import Path

import pytest

from bench import walkers
from strf_cuda.train import read_options


@pytest.mark.parametrize("seed", [0, 2])
@pytest.mark.parametrize("name", walkers.UNITS)
def test_the_small_runs_are_of_the_built_in_set_and_the_large_ones_of_the_papers_network(name, seed):
    demo = read_options(walkers.training_options(name, seed, 60, "demo", None))
    paper = read_options(walkers.training_options(name, seed, 60, "paper", Path("large")))
    for config in (demo, paper):
        assert (config.model.unit, config.seed, config.epochs) == (walkers.UNITS[name], seed, 60)
        assert (config.data.name, config.evaluation.stride, config.evaluation.every) == ("walkers", 8, 60)
        assert (config.optimizer.schedule, config.optimizer.decay_every) == ("step", 24)
    assert (demo.data.root, demo.data.height, demo.model.width, demo.model.depth) == (None, 64, 16, (2, 2, 2, 2))
    assert (paper.data.root, paper.data.height, paper.data.width) == ("large", 256, 128)
    assert (paper.model.width, paper.model.depth, paper.optimizer.learning_rate) == (64, (3, 4, 6, 3), 3e-4)


def test_the_papers_network_is_not_trained_on_the_small_walkers(capsys):
    with pytest.raises(SystemExit):
        walkers.main(["--preset=paper"])
    assert "preset paper is for walkers of 256x128: make a set with strf_cuda.synthesize" in capsys.readouterr().err

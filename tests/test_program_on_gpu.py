"""Programs and packages on a GPU: one saved on the CPU is moved there, one compiled there runs in Python and C++."""

import shutil

import pytest
import torch

from strf_cuda.backends import choice
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.exporting.program import load_package, load_program, save_package, save_program
from strf_cuda.trained import open_model

REASON = choice.why_not("cuda")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


def check(program, trained):
    for batch in (1, 7):
        clips = example_clips(trained, batch, seed=1)
        with torch.no_grad():
            expected = embedder(trained).cuda()(clips.cuda())
        found = program(clips)
        assert found.device.type == "cuda"
        assert ((found - expected).norm(dim=1) <= 1e-4 * expected.norm(dim=1)).all()


def test_a_program_saved_on_the_cpu_is_moved(tiny_checkpoint, tmp_path):
    trained = open_model(tiny_checkpoint)
    save_program(trained, tmp_path / "model.pt2")
    check(load_program(tmp_path / "model.pt2", device="cuda"), trained)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_a_package_compiled_on_a_gpu_runs_on_it(tiny_checkpoint, tmp_path):
    trained = open_model(tiny_checkpoint)
    facts = save_package(trained, tmp_path / "model.pt2", device="cuda")
    assert (facts.operator, facts.device) == ("strf_cuda::forward", "cuda")
    check(load_package(tmp_path / "model.pt2"), trained)

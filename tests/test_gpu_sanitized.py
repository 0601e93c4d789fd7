"""compute-sanitizer over the CUDA kernels: memory, races, uninitialised memory, barriers; and over PyTorch's calls."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from strf_cuda import backends
from strf_cuda.backends import library

ROOT = Path(__file__).resolve().parent.parent
PROBLEMS = 180
# The sanitizer's last line when it found nothing; racecheck has words of its own.
CLEAN = {
    "memcheck": r"ERROR SUMMARY: 0 errors",
    "racecheck": r"RACECHECK SUMMARY: 0 hazards displayed \(0 errors, 0 warnings\)",
    "initcheck": r"ERROR SUMMARY: 0 errors",
    "synccheck": r"ERROR SUMMARY: 0 errors",
}


def find(program):
    """The path of a program of the CUDA toolkit, or None."""
    folders = [os.environ.get(name, "") + "/bin" for name in ("CUDA_HOME", "CUDA_PATH")]
    return shutil.which(program) or shutil.which(program, path=os.pathsep.join([*folders, "/usr/local/cuda/bin"]))


NVCC, SANITIZER = find("nvcc"), find("compute-sanitizer")
if backends()["cuda"] != "usable":
    pytest.skip(f"the CUDA kernels are not usable here: {backends()['cuda']}", allow_module_level=True)
if not (NVCC and SANITIZER):
    missing = " and ".join(name for name, path in (("nvcc", NVCC), ("compute-sanitizer", SANITIZER)) if not path)
    pytest.skip(f"{missing} not found; they come with the CUDA toolkit", allow_module_level=True)
pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """gpu_sanitized.cu with all kernels, compiled for this device."""
    folder = tmp_path_factory.mktemp("sanitized")
    architecture = "-arch=sm_{}{}".format(*torch.cuda.get_device_capability())
    flags = [architecture, "-std=c++17", "-O2", "-lineinfo", f"-I{ROOT / 'csrc'}", f"-I{ROOT / 'csrc' / 'cuda'}"]
    sources = [*sorted((ROOT / "csrc/cuda").glob("*.cu")), ROOT / "csrc/check.cpp", ROOT / "tests/gpu_sanitized.cu"]
    objects = [folder / f"{source.name}.o" for source in sources]
    running = [
        subprocess.Popen([NVCC, *flags, "-c", source, "-o", out], stderr=subprocess.PIPE, text=True)
        for source, out in zip(sources, objects, strict=True)
    ]
    for process in running:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
    subprocess.run([NVCC, architecture, *objects, "-o", folder / "kernels"], check=True)
    return folder / "kernels"


def sanitized(tool, *command, **environment):
    """The finished process of the command under a tool of the sanitizer; its status is 9 when something is found."""
    done = subprocess.run(
        [SANITIZER, "--tool", tool, "--error-exitcode", "9", *command],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert "COMPUTE-SANITIZER" in done.stdout, done.stdout
    if "Device not supported" in done.stdout:
        pytest.skip(f"compute-sanitizer cannot watch this device: {done.stdout.strip().splitlines()[-1]}")
    return done


@pytest.mark.parametrize("tool", CLEAN)
def test_a_planted_mistake_is_found(program, tool):
    done = sanitized(tool, program, tool)
    assert done.returncode == 9 and not re.search(CLEAN[tool], done.stdout), done.stdout


@pytest.mark.parametrize(
    ("tool", "words"), [*((tool, []) for tool in CLEAN), ("memcheck", ["poisoned"])], ids=lambda value: "".join(value)
)
def test_the_kernels_run_clean(program, tool, words):
    done = sanitized(tool, program, *words)
    assert done.returncode == 0 and re.search(CLEAN[tool], done.stdout), done.stdout[:20_000]
    assert f"\n{PROBLEMS} problems\n" in f"\n{done.stdout}"


def test_pytorch_s_calls_run_clean():
    """Every tensor is an allocation of its own, so that one that is too small is found."""
    script = """
import torch
from strf_cuda import factorized_attention
for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        x = torch.randn(2, 24, 3, 9, 7).to("cuda", dtype).contiguous(memory_format=layout).requires_grad_()
        weight = (torch.randn(4, 3, 24) / 5).to("cuda", dtype).requires_grad_()
        pools = [(1, 1, 1), (3, 1, 1), (1, 3, 3), (3, 3, 3)]
        factorized_attention(x, weight, pools, pool=["max", "avg", "avg", "max"], backend="cuda").sum().backward()
        assert x.grad.isfinite().all() and weight.grad.isfinite().all()
print("all computed")
"""
    folder = str(library.FILE.parent.parent)
    no_api_errors = ("--report-api-errors", "no")  # PyTorch tries what some drivers do not have
    environment = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1", "PYTHONPATH": folder}
    done = sanitized("memcheck", *no_api_errors, sys.executable, "-c", script, **environment)
    assert done.returncode == 0 and re.search(CLEAN["memcheck"], done.stdout), done.stdout[:20_000]
    assert "all computed" in done.stdout

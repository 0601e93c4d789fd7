"""A package of AOTInductor in Python, and in examples/cpp without it: the features of the model, within a tolerance.

The package is compiled and the example built once for all of them.
"""

import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from building import ROOT
from strf_cuda import InputError
from strf_cuda.backends import library
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.exporting.program import load_package, save_package
from strf_cuda.trained import open_model

# Of the length of a clip's feature, in float32: a package adds in another order than eager PyTorch does.
TOLERANCE = 1e-4
MISSING = [name for name in ("c++", "g++", "cmake", "ninja") if shutil.which(name) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {' and '.join(MISSING)}")


@pytest.fixture(scope="module")
def trained(tiny_checkpoint):
    return open_model(tiny_checkpoint)


@pytest.fixture(scope="module")
def package(trained, tmp_path_factory):
    """A package that is not where it was compiled."""
    path = tmp_path_factory.mktemp("compiled") / "model.pt2"
    save_package(trained, path)
    assert [each.name for each in path.parent.iterdir()] == ["model.pt2"]
    return path.rename(tmp_path_factory.mktemp("moved") / "a model.pt2")


@pytest.fixture(scope="module")
def embed(tmp_path_factory):
    """Runs the example with no variable set, so without a PATH; returns the finished process."""
    build = tmp_path_factory.mktemp("embed")
    configure = ["cmake", "-S", ROOT / "examples" / "cpp", "-B", build, "-G", "Ninja"]
    for command in ([*configure, f"-DTORCH={Path(torch.__file__).parent}"], ["cmake", "--build", build]):
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def embed(*words, **environment):
        return subprocess.run([build / "embed", *words], env=environment, capture_output=True, text=True)

    return embed


def difference(features, trained, clips):
    """The largest length of a difference, over the length of the model's feature."""
    with torch.no_grad():
        expected = embedder(trained)(clips)
    return ((features - expected).norm(dim=1) / expected.norm(dim=1)).max().item()


def test_a_package_gives_the_features_of_the_model_whatever_the_batch(trained, package):
    program = load_package(package)
    for batch in (1, 2, 7):
        clips = example_clips(trained, batch, seed=1)
        turned = clips.permute(0, 2, 3, 4, 1).contiguous().permute(0, 4, 1, 2, 3)
        assert torch.equal(program(clips), program(turned))
        assert difference(program(clips), trained, clips) <= TOLERANCE
    with pytest.raises(InputError, match=r"^clips are torch.uint8 \[2, 3, 3, 32, 16\], but they must be"):
        program(clips[:2, :, :3])


def test_a_package_is_for_other_machines_too(package, trained):
    """Neither the number of threads nor the processor's newest instructions are compiled in."""
    facts = load_package(package).facts
    assert facts.fingerprint == trained.fingerprint
    with zipfile.ZipFile(package) as archive:
        sources = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".cpp")]
    assert any("#pragma omp parallel" in source for source in sources)
    assert not any(re.search(r"num_threads\(\d", source) for source in sources)
    if hasattr(torch._inductor.config.cpp, "march") and torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        assert facts.processor == "x86-64-v3"


def test_the_example_embeds_without_python(trained, package, embed, tmp_path):
    clips = example_clips(trained, 18, seed=1)  # more than it takes at a time
    clips.permute(0, 2, 3, 4, 1).numpy().tofile(tmp_path / "frames.rgb")
    files = [package, tmp_path / "frames.rgb", tmp_path / "features.npy"]
    done = embed(*files, library.FILE, OMP_NUM_THREADS="1", LD_DEBUG="files")
    assert done.returncode == 0, done.stderr
    assert "calling init: " in done.stderr and "libtorch_cpu.so" in done.stderr  # what is loaded is told
    assert "libpython" not in done.stderr and "libtorch_python" not in done.stderr
    features = np.load(files[2])
    assert (features.shape, features.dtype) == ((18, 512), np.float32)
    assert difference(torch.from_numpy(features), trained, clips) <= TOLERANCE
    lines = done.stdout.splitlines()
    assert lines[0] == f"model     {trained.fingerprint[:12]}, clips of 4 frames, 16x32, on cpu, threads: 1"
    assert lines[1].startswith(f"features  [18, 512] in {files[2]}, ") and lines[1].endswith(" ms a clip")
    assert lines[2].split()[2:] == [f"{value:.4f}" for value in features[0, :6]] + ["..."]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    printed = [float(word) for word in lines[4].split()[:8]]
    assert printed == pytest.approx(1 - unit[0] @ unit[:8].T, abs=1e-4)


@pytest.mark.skipif(library.REASON is not None, reason=str(library.REASON))
def test_the_example_says_in_a_sentence_what_is_missing(package, embed, tmp_path):
    frames, short, text = (tmp_path / name for name in ("frames.rgb", "short.rgb", "text.pt2"))
    clip = 4 * 32 * 16 * 3
    frames.write_bytes(bytes(clip))
    short.write_bytes(bytes(clip + 1))
    text.write_text("no package")
    out = tmp_path / "features.npy"
    whole = f"must hold whole clips of {clip}: 4 frames, 16 wide, 32 high, of 3 bytes a pixel"
    where = "python -m strf_cuda says where it is, give its path as the last argument"
    for words, sentence in {
        (package, frames): "usage: embed MODEL.pt2 FRAMES.rgb FEATURES.npy [LIBRARY]",
        (tmp_path / "absent.pt2", frames, out): f"there is no package {tmp_path}/absent.pt2",
        (text, frames, out): f"{text} is no package of AOTInductor, or damaged; make one with --format aoti",
        (package, tmp_path / "absent", out): f"cannot read the frames {tmp_path}/absent: No such file or directory",
        (package, short, out): f"{short} has {clip + 1} bytes, but {whole}",
        (package, frames, out, "/absent.so"): "the operator library does not load: /absent.so: cannot open shared "
        f"object file: No such file or directory; {where}",
        (package, frames, out, "libm.so.6"): "libm.so.6 is not the operator library, since it lacks "
        f"strf_cuda::forward; {where}",
        (package, frames, tmp_path / "no" / "out", library.FILE): f"cannot write {tmp_path}/no/out",
    }.items():
        done = embed(*words)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {sentence}\n")
    assert not out.exists()

"""What is built on a machine that lacks something, and what is built again after a change."""

import json
import os
import re
import shutil
import subprocess

import pytest

from building import built, copy_sources, setup

MISSING = [tool for tool in ("cmake", "ninja", "c++", "nm") if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"this machine has no {' and no '.join(MISSING)}")


@pytest.fixture
def tools(tmp_path):
    """A value of PATH under which nothing is found but the given programs."""

    def tools(*names):
        folder = tmp_path / "tools"
        folder.mkdir()
        for name in names:
            (folder / name).symlink_to(shutil.which(name))
        return str(folder)

    return tools


@pytest.fixture
def install(tmp_path):
    """Installs a fresh copy of the sources; returns what is printed, the manifest and the installed package."""

    def install(**environment):
        done = setup(copy_sources(tmp_path / "source"), "install", f"--prefix={tmp_path / 'prefix'}", **environment)
        assert done.returncode == 0, done.stderr
        (package,) = tmp_path.glob("prefix/**/site-packages/strf_cuda")
        return done.stdout, json.loads((package / "native_build.json").read_text()), package

    return install


@pytest.fixture
def tree(tmp_path_factory):
    """The sources with everything built from them, and a function that builds again and returns what is compiled."""
    source, _ = built(tmp_path_factory)

    def compiled(**environment):
        done = setup(source, "build_native", **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"Building \w+ object \S+/(\S+)\.o\n", done.stdout)

    compiled()
    return source, compiled


def assert_pure(printed, manifest, package, reason):
    """The package is there without the library, and both the manifest and what is printed say why."""
    assert (package / "functional.py").exists() and not list(package.glob("*.so"))
    for part in ("cpu", "cuda"):
        assert reason in manifest[part]
        assert f"{part.upper():4}  not built: {manifest[part]}." in printed
    assert manifest["compiler"] is manifest["nvcc"] is None and manifest["architectures"] == []
    assert "plain PyTorch, the backend reference, serves CPUs" in printed


@pytest.mark.parametrize(
    ("present", "reason"),
    [
        ([], "cmake and ninja not found; install what is missing (pip install cmake ninja)"),
        (["cmake"], "ninja not found; install what is missing"),
        (["ninja"], "cmake not found; install what is missing"),
        (["cmake", "ninja"], "no working C++ compiler was found"),
    ],
)
def test_without_a_tool_the_package_is_pure_python_and_says_why(install, tools, present, reason):
    assert_pure(*install(PATH=tools(*present)), reason)


def test_a_compiler_that_does_not_work_is_as_none(install):
    assert_pure(*install(CXX=shutil.which("false")), "no working C++ compiler was found")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("2.9.1+cu128", "torch is 2.9.1+cu128, but building needs 2.10 or newer"),
        ("2.13.0+cpu", "comes without its C++ headers"),
    ],
)
def test_a_torch_that_cannot_be_built_with_is_named(install, tmp_path, version, reason):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '{version}'\n")
    assert_pure(*install(PYTHONPATH=str(tmp_path)), reason)


def test_after_a_change_only_that_file_is_compiled(tree):
    source, compiled = tree
    assert compiled() == []
    os.utime(source / "csrc" / "check.cpp")
    assert compiled() == ["check.cpp"]
    os.utime(source / "python" / "registration.cpp")
    assert compiled() == ["registration.cpp"]


def test_sources_that_do_not_compile_end_the_build_with_the_compiler_s_words(tree):
    source, _ = tree
    file = source / "csrc" / "check.cpp"
    before = file.read_text()
    file.write_text(before + "\n#error a mistake\n")
    done = setup(source, "build_native")
    file.write_text(before)
    assert done.returncode != 0 and "error: #error a mistake" in done.stdout
    assert "the native part of strf_cuda does not compile" in done.stderr


def test_code_for_better_processors_cannot_replace_code_for_all(tree):
    source, _ = tree
    objects = sorted(source.glob("build/native/CMakeFiles/level_*.dir/csrc/cpu/kernels.cpp.o"))
    assert objects
    for path in objects:
        listed = subprocess.run(["nm", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        symbols = [line.split()[-2:] for line in listed.splitlines()]
        assert [name for kind, name in symbols if kind.isupper()], path
        # W, V, u: the linker keeps one of several, and could keep the one that a plain processor cannot run.
        assert [name for kind, name in symbols if kind in "WVwvu"] == [], path


def test_no_function_of_the_device_is_called_on_the_host(tree):
    """On the host nvcc gives it a body that ends the process, and a template that calls it gets no warning."""
    source, _ = tree
    objects = sorted(source.glob("build/native/CMakeFiles/strf_cuda.dir/csrc/cuda/*.o"))
    if json.loads((source / "build/native/native_build.json").read_text())["cuda"] != "built":
        pytest.skip("the library has no CUDA part here")
    assert len(objects) == len(list(source.glob("csrc/cuda/*.cu")))
    for path in objects:
        listed = subprocess.run(["nm", "--undefined-only", path], capture_output=True, text=True, check=True).stdout
        assert "exit" not in [line.split()[-1] for line in listed.splitlines()], path


def test_without_nvcc_the_cpu_part_is_built_and_the_summary_says_what_serves_gpus(tree):
    source, _ = tree
    done = setup(source, "build_native", "--inplace", CUDACXX=shutil.which("false"))
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = json.loads((source / "strf_cuda" / "native_build.json").read_text())
    assert manifest["cpu"] == "built" and manifest["compiler"] and (source / "strf_cuda" / "libstrf_cuda.so").exists()
    assert manifest["cuda"].startswith("no nvcc that works with the C++ compiler was found")
    assert manifest["nvcc"] is None and manifest["architectures"] == []
    assert f"CPU   built by {manifest['compiler']}\n  CUDA  not built: {manifest['cuda']}.\n" in done.stdout
    assert "Triton, where it is usable, and otherwise plain PyTorch serve GPUs" in done.stdout


def test_architectures_that_nvcc_does_not_know_are_named(tree):
    source, _ = tree
    if json.loads((source / "build/native/native_build.json").read_text())["nvcc"] is None:
        pytest.skip("there is no nvcc here")
    done = setup(source, "build_native", "--inplace", CUDAARCHS="35;1000")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "knows none of the architectures 35, 1000; install CUDA 12.8 or newer, or name others in CUDAARCHS" in (
        done.stdout
    )

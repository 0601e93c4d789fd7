"""The examples and commands of README and docs are run as they stand there, page by page, from top to bottom.

They run in a folder that holds small stand-ins for what a page takes for granted (page_world.py). `python` hands each
to a fork of a process that has imported everything (page_runner.py) and that makes trainings small. Other programs are
there only if they belong to a shell, or stand in commands_left_out.py, which says why they are not run, and looks at
their options instead.
"""

import csv
import fnmatch
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import yaml

import commands_left_out
import page_runner
import page_world
from pages import PAGES, ROOT, Block, blocks

SHELL = ("bash", "sh")
RUN = ("python", *SHELL)
TOOLS = ("bash", "cat", "cp", "head", "ls", "mkdir", "mv", "rm", "rmdir", "sort", "tail", "wc")
ELSEWHERE = re.compile(r"(?<![\w./])/(data|shared|tmp)/")
PYTHON = re.compile(r"^((import|from|with|def|class) \w+|\w+ = \w+\.\w+|print\()", re.MULTILINE)
SECONDS = 300

# Output of commands on data that is not here, by page and first line, and why it is not compared.
SHOWN = {
    ("building.md", "strf_cuda 0.1.0: the operator library"): "of a build elsewhere; test_build.py has another",
    ("export.md", "p3dc, unit strf, from runs/demo-1/best.ckpt"): "of a trained model",
    ("video.md", "cam1.mp4: 360x640 (height x width), 25 frames a second"): "of videos that take long to draw",
    ("searching.md", "row 17: person 101, camera 2, 41 frames, bbox_test/0101/0101C2T0003F001.jpg"): "of a model",
    ("data.md", "walkers in /home/me/.cache/strf_cuda/walkers-fa3454f6, read as walkers"): "compared in test_docs.py",
    (
        "export.md",
        "$ build/embed/embed runs/demo-1/best-aoti.pt2 frames.rgb features.npy strf_cuda/libstrf_cuda.so",
    ): "of a trained model; test_cpp_example.py runs the program",
}


def pages_with(*languages):
    return [page for page in PAGES if any(block.language in languages for block in blocks(page))]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The folder to copy for each page; its programs are at work until the module's tests have ended."""
    folder = tmp_path_factory.mktemp("pages") / "world"
    folder.mkdir()
    walkers = page_world.write_world(folder)
    address, programs = str(folder.parent / "socket"), folder.parent / "bin"
    programs.mkdir()
    page_runner.write_programs(programs, ["python", "stand-in", *commands_left_out.programs()], address)
    for tool in set(TOOLS) - set(commands_left_out.programs()):
        (programs / tool).symlink_to(shutil.which(tool))
    words = [sys.executable, str(ROOT / "tests/page_runner.py"), address, str(walkers)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests")))}
    server = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert server.stdout.readline() == "ready\n"
        done = shell(folder, "python -m strf_cuda.train --out runs/earlier", str(programs))
        assert done.returncode == 0, done.stderr
        shutil.copy(folder / "runs/earlier/best.ckpt", folder)
        words = "--checkpoint best.ckpt --data mars --root MARS --lists query --out query.safetensors"
        done = shell(folder, f"python -m strf_cuda.extract {words}", str(programs))
        assert done.returncode == 0, done.stderr
        page_world.write_galleries(folder)
        yield folder
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def shell(folder, script, programs):
    """Runs a script in a folder that stands for the home folder and for the root of absolute paths as well.

    Args:
        programs: folders, divided by colons.
    """
    script = ELSEWHERE.sub(rf"{folder}/\1/", script)
    environment = {
        "PATH": programs,
        "HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "MPLCONFIGDIR": os.environ["MPLCONFIGDIR"],
        "SLURM_JOB_NODELIST": "node[1-2]",
        "SLURM_NNODES": "2",
        "SLURM_JOB_ID": "1",
    }
    words = [shutil.which("bash"), "-euo", "pipefail", "-c", script]
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS)


def prepare(place, world, page):
    """Makes a copy of the world, with the runs and the YAML files of the page."""
    shutil.copytree(world, place, symlinks=True, copy_function=os.link)
    earlier = place / "runs" / "earlier"
    for name in runs_before(page):
        shutil.copytree(earlier, place / name)
    shutil.rmtree(earlier)
    if "--out people " not in PAGES[page]:
        (place / "people").symlink_to("data/people")
    for block in blocks(page):
        if block.language == "yaml":
            name = re.match(r"# (\S+\.yaml)\n", block.text)[1]
            (place / name).write_text(ELSEWHERE.sub(rf"{place}/\1/", block.text))


def runs_before(page):
    """The folders of runs that a page uses and does not make before."""
    used, made = set(), set()
    for block in blocks(page):
        for line in typed(block.text) if block.language in RUN else []:
            named = set(re.findall(r"\bruns/[\w-]+(?=/|.*--resume)|(?<=--resume --out )runs/[\w-]+", line))
            used |= named - made
            made |= set(re.findall(r"strf_cuda\.train .*--out (\S+)", line))
    return used


@pytest.mark.parametrize("page", pages_with(*RUN))
def test_what_a_page_says_to_run_runs_and_prints_what_it_says(page, world, tmp_path):
    """Commands find what earlier ones have left; each example in Python has an empty folder but for the runs."""
    place, programs = world.parent / f"{page}-commands", f"{world.parent}/bin"
    if any(block.language in SHELL for block in blocks(page)):
        prepare(place, world, page)
    faults = []
    of_the_page = blocks(page)
    for block, following in zip(of_the_page, [*of_the_page[1:], Block(0, "", "")], strict=True):
        if block.language not in RUN:
            continue
        if block.language == "python":
            empty = tmp_path / str(block.line)
            empty.mkdir()
            (empty / "runs").symlink_to(place / "runs")
            (empty / "example.py").write_text(block.text)
            done = shell(empty, "python example.py", f"{programs}:{os.environ['PATH']}")  # which has a compiler
        else:
            done = shell(place, block.text, programs)
        if done.returncode:
            faults.append(
                f"line {block.line} ends with {done.returncode}:\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"
            )
        elif block.language == "python" and following.language == "text" and done.stdout != following.text:
            faults.append(f"line {block.line} prints:\n{done.stdout}")
    assert not faults, "\n".join(faults)


def everything(*languages):
    return [
        pytest.param(page, block, id=f"{page}-{block.line}")
        for page in PAGES
        for block in blocks(page)
        if not languages or block.language in languages
    ]


@pytest.mark.parametrize(("page", "block"), everything())
def test_every_block_is_of_a_kind_that_is_looked_at(page, block):
    """Indented ones without a command are formulas, trees and lists of files, but no Python."""
    assert block.language or not PYTHON.search(block.text)
    directive = re.fullmatch(r"\{[\w-]+\}.*", block.language)
    assert directive or block.language in (*RUN, "text", "yaml", "json", "csv", "cpp", "")


@pytest.mark.parametrize(("page", "block"), everything("text"))
def test_output_that_is_shown_is_compared_or_it_is_said_why_not(page, block):
    before = max((each for each in blocks(page) if each.line < block.line), key=lambda each: each.line)
    assert before.language == "python" or (page, block.text.splitlines()[0]) in SHOWN


def test_nothing_is_excused_that_is_not_there():
    lines = [line for page in PAGES for block in blocks(page) if block.language in RUN for line in typed(block.text)]
    missing = [each.commands for each in commands_left_out.LEFT_OUT if not fnmatch.filter(lines, f"*{each.commands}*")]
    assert missing == []
    for page, first in SHOWN:
        assert first in PAGES[page]


def typed(script):
    """The lines of a script, continued ones joined, without comments and quotes."""
    joined = re.sub(r"\\\n\s*", "", script)
    return [" ".join(re.sub(r"(^|\s)#.*", "", line).replace('"', "").split()) for line in joined.splitlines()]


@pytest.mark.parametrize(("page", "block"), everything("yaml", "json", "csv", "cpp"))
def test_files_that_are_shown_are_such_files(page, block):
    """The page's commands read the YAML files, which begin with their names; C++ is part of what is compiled."""
    if block.language == "yaml":
        assert isinstance(yaml.safe_load(block.text), dict)
    elif block.language == "json":
        json.loads(block.text)
    elif block.language == "csv":
        assert len({len(row) for row in csv.reader(io.StringIO(block.text))}) == 1
    else:
        sources = [path for end in ("cpp", "h", "cu", "cuh") for path in ROOT.glob(f"*/**/*.{end}")]
        assert any(block.text in path.read_text(encoding="utf-8") for path in sources if "build" not in path.parts)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("git clone https://example.org/x", "git: command not found"),
        ("python -m venv x", "neither run nor in commands_left_out.py"),
        ("python -m strf_cuda.evaluate --checkpoint runs/demo-1/best.ckpt --strid 2", "did you mean"),
        ("python -m strf_cuda.nothing", "No module named strf_cuda.nothing"),
        ("make coffee", "neither run nor in commands_left_out.py"),
        ("pip install strf_cuda[everything]", "there is no extra everything"),
        ("python -m bench.operator --roundz 3", "unrecognized arguments"),
        ("torchrun --nproc_per_node 2 -m strf_cuda.train --epoch=3", "did you mean"),
        ("for seed in 1 2; do python -m strf_cuda.train --seeds $seed; done", "did you mean"),
        ("if true; then", "syntax error"),
    ],
)
def test_what_cannot_be_typed_is_noticed(world, script, said):
    done = shell(world, script, f"{world.parent}/bin")
    assert (done.returncode != 0, said in done.stderr) == (True, True), done.stderr

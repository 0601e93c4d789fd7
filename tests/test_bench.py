"""The benchmarks: contenders compute the same, costs are counted right, clocks and memory are read right, all runs."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import oracle
from bench import operator, products, training_step
from bench.competitors import competitors, ours, solve, usable_backends
from bench.floor import Cost, Peaks, cost, measure_peaks
from bench.machine import REPOSITORY, machine
from bench.problems import HALVES, LAYOUTS, MOST_SETS, POOLS, Problem, paper_problems, position_sweep
from bench.spreads import spread
from bench.tables import with_quartiles
from bench.timing import Stopwatch, held_for_backward, in_rotation, interleave, peak_memory, ratios
from bench.training_step import PARTS, PlainLoss, Trainee, made_up_batch, made_up_model
from strf_cuda.backends.reference import factorized_masks
from strf_cuda.markdown import aligned
from strf_cuda.similarity import TEMPERATURES

TINY = Problem("N=12", 2, 32, 4, 3, 3)
PEAKS = Peaks(1e9, 1e9, {})


def tiny(**changes):
    return Problem(**{**vars(TINY), **changes})


@pytest.mark.parametrize("name", ["ours", *competitors(compiled=False)])
@pytest.mark.parametrize("integration", HALVES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("similarity", TEMPERATURES)
def test_every_contender_computes_the_papers_equations(name, integration, layout, similarity):
    problem = tiny(integration=integration, layout=layout, dtype=torch.float64, similarity=similarity)
    x, weight, _ = problem.inputs()
    operator = ours("auto") if name == "ours" else competitors(compiled=False)[name]
    y = solve(operator, problem, x, weight)
    expected = x.numpy()
    for first, last in HALVES[integration]:
        kinds = ["max"] * (last - first)
        options = (POOLS[first:last], kinds, TEMPERATURES[similarity], similarity)
        expected = oracle.factorized_attention(expected, weight[first:last].numpy(), *options)
    assert y.shape == x.shape
    torch.testing.assert_close(y, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("missing", "expected"), [((), ["cuda", "triton", "reference"]), (("cuda",), ["triton", "reference"])]
)
def test_on_a_gpu_ratios_refer_to_the_cuda_kernels_or_without_them_to_triton(missing, expected, monkeypatch):
    states = {name: "not built" if name in missing else "usable" for name in ("cuda", "cpu", "triton", "reference")}
    monkeypatch.setattr("bench.competitors.backends", lambda: states)
    assert list(operator.contenders("cuda", compiled=False))[: len(expected)] == [f"strf_cuda {n}" for n in expected]


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("integration", HALVES)
def test_operations_are_those_that_torch_counts_in_the_masks_summed(backward, integration):
    problem = tiny(integration=integration)
    direction = operator.BOTH if backward else operator.FORWARD
    call = operator.call_of(competitors(compiled=False)["masks summed"], problem, problem.inputs(), direction)
    with FlopCounterMode(display=False) as counter:
        call()
    # S = T^T T gives two products in autograd, dS T and dS^T T, which are one, (dS + dS^T) T.
    spared = 2 * problem.batch * 4 * problem.reduced * problem.frames * problem.positions**2 if backward else 0
    assert cost(problem, backward).operations == counter.get_total_flops() - spared


def test_bytes_are_those_of_the_arrays_that_must_move():
    problem = tiny(dtype=torch.bfloat16)
    x, weight, _ = problem.inputs()
    statistics = 2 * torch.empty(problem.batch, 4, problem.positions).nbytes
    forward = 2 * x.nbytes + weight.nbytes + statistics
    assert cost(problem, backward=False).bytes == forward
    assert cost(problem, backward=True).bytes == forward + 3 * x.nbytes + 2 * weight.nbytes + statistics
    assert cost(problem, backward=False).exponentials == problem.batch * 4 * problem.positions**2


def test_the_products_alone_are_those_of_the_operator():
    assert sum(2 * m * k * n for m, k, n in products.shapes(TINY)) * TINY.batch == cost(TINY, True).operations
    if "cpu" not in usable_backends("cpu"):
        pytest.skip("the cpu backend is not usable here")
    entry = products.measure(TINY, 2, lambda: None)
    first, *others = entry["contenders"].values()
    assert first["ratio"]["median"] == 1.0 and all(other["gflops"] > 0 for other in others)
    assert "products alone, torch.bmm" in products.table(entry)


def test_the_floor_is_the_slower_of_products_and_memory():
    peaks = Peaks(100.0, 10.0, {})
    assert peaks.floor(Cost(400, 20, 0)) == 4.0
    assert peaks.floor(Cost(400, 80, 0)) == 8.0


def test_exponentials_count_in_the_floor_where_they_were_measured():
    peaks = Peaks(100.0, 10.0, {}, exponentials=5.0)
    assert peaks.floor(Cost(400, 20, 0)) == 4.0
    assert peaks.floor(Cost(400, 20, 50)) == 10.0


def test_a_problem_s_arithmetic_is_what_pytorch_is_told(monkeypatch):
    told = lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)  # noqa: E731
    before = told()
    for problem, name, expected in (
        (tiny(tf32=True), "tf32", ("high", True)),
        (tiny(), "float32", ("highest", False)),
        (tiny(dtype=torch.bfloat16), "bfloat16", ("highest", False)),
    ):
        with problem.settings():
            assert told() == expected
        assert problem.arithmetic == problem.sizes()["dtype"] == name
    assert told() == before


def test_a_gpu_s_cache_cannot_hold_all_sets(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(L2_cache_size=50 * 2**20))
    monkeypatch.setattr(Problem, "inputs", lambda self, seed=0: seed)
    stage_2 = Problem("stage 2", 32, 128, 32, 16, dtype=torch.bfloat16, device="cuda")
    assert stage_2.sets() == [0, 1, 2, 3, 4]  # of 16.8 MB
    assert len(tiny(device="cuda").sets()) == MOST_SETS
    assert TINY.sets() == [0]


def test_peaks_are_measured_by_every_way_to_multiply():
    peaks = measure_peaks("cpu", torch.float32, size=64, rounds=2)
    assert peaks.operations == max(peaks.operations_by.values()) > 0
    assert set(peaks.operations_by) == {"torch.mm", "1x1 convolution"}
    assert peaks.bytes > 0


def test_the_masks_of_the_inputs_are_neither_flat_nor_one_hot():
    for problem in (*position_sweep("cpu", 1, torch.float64), *paper_problems("cpu", 1, [torch.float64])[:4]):
        x, weight, _ = problem.inputs()
        for similarity, temperature in TEMPERATURES.items():
            (mask,) = factorized_masks(x, weight[:1], POOLS[:1], ["max"], temperature, similarity)
            assert 2 / problem.positions < mask[0].diagonal().mean() < 0.9


def test_contenders_are_timed_in_turn_and_each_begins_as_often(monkeypatch):
    order = []
    monkeypatch.setattr("bench.timing.sample", lambda call, repeats, device: call())
    calls = {name: lambda name=name: order.append(name) or 1.0 for name in "ABC"}
    times = interleave(calls, 3, "cpu")
    assert "".join(order[6:]) == "ABCBCACAB"
    assert times == {name: [1.0] * 3 for name in "ABC"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_a_gpu_s_rates_are_those_of_a_gpu():
    pytest.importorskip("triton")
    peaks = measure_peaks("cuda", torch.bfloat16, rounds=3)
    assert 1e13 < peaks.operations < 1e16 and 1e11 < peaks.bytes < 5e13
    assert 1e11 < peaks.exponentials < 1e14 and peaks.bytes < peaks.cached_bytes < 1e14


def test_sets_take_turns():
    seen = []
    call = in_rotation([lambda name=name: seen.append(name) for name in "AB"])
    for _ in range(3):
        call()
    assert seen == ["A", "B", "A"]


def test_short_calls_are_timed_several_at_once(monkeypatch):
    seen = []
    monkeypatch.setattr("bench.timing.sample", lambda call, repeats, device: seen.append(repeats) or 0.001)
    interleave({"A": lambda: None}, 2, "cpu")
    assert seen == [1, 5, 5]


def test_ratios_are_formed_within_rounds():
    assert ratios([2.0, 60.0, 6.0], [1.0, 20.0, 3.0])["median"] == 2.0
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == {"median": 3.0, "quartiles": [2.0, 4.0]}
    assert spread([7.0]) == {"median": 7.0, "quartiles": [7.0, 7.0]}


def test_held_memory_counts_shared_storage_once():
    x = torch.randn(1000, requires_grad=True)
    assert held_for_backward(lambda: (x[:500] * x[500:]).exp()) == 4000 + 2000


def test_peak_memory_is_of_what_lives_at_the_same_time():
    def call():
        torch.empty(10_000_000)
        torch.empty(20_000_000)
        return torch.empty(5_000_000), torch.empty(5_000_000)

    assert 80_000_000 <= peak_memory(call, "cpu") < 81_000_000


def test_a_stopwatch_adds_up_what_is_entered_again(monkeypatch):
    clock = iter([1.0, 2.0, 4.0, 7.0])
    monkeypatch.setattr("bench.timing.time.perf_counter", lambda: next(clock))
    watch = Stopwatch("cpu")
    for part in ("a", "b", "a"):
        watch.enter(part)
    assert watch.stop() == {"a": 4.0, "b": 2.0}


def test_one_that_cannot_run_is_reported_with_the_first_cause():
    def broken(x, weight, pools, similarity):
        try:
            raise NotImplementedError("no such kernel\nand more")
        except NotImplementedError as error:
            raise RuntimeError("while compiling") from error

    (entry,) = operator.measure(TINY, {"strf_cuda x": ours("reference"), "other": broken}, PEAKS, rounds=1)
    assert entry["contenders"]["other"] == {
        direction: {"not_run": "no such kernel"} for direction in (operator.FORWARD, operator.BOTH)
    }
    assert "other, forward, was not run: no such kernel" in operator.table(entry)
    with pytest.raises(RuntimeError, match="while compiling"):
        operator.measure(TINY, {"strf_cuda x": broken}, PEAKS, rounds=1)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_what_torch_compile_makes_computes_the_same_and_is_timed():
    operators = operator.contenders("cpu", compiled=True)
    (entry,) = operator.measure(TINY, operators, PEAKS, rounds=1)
    not_run = {
        (name, direction): timed[direction]["not_run"]
        for name, timed in entry["contenders"].items()
        for direction in (operator.FORWARD, operator.BOTH)
        if "not_run" in timed[direction]
    }
    assert list(not_run) == [("FlexAttention", operator.BOTH)]
    assert "does not support backward on CPU" in not_run["FlexAttention", operator.BOTH]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize(("dtype", "tf32"), [(torch.bfloat16, False), (torch.float32, False), (torch.float32, True)])
def test_on_a_gpu_all_are_timed_eager_and_in_graphs(dtype, tf32):
    problem = tiny(device="cuda", dtype=dtype, tf32=tf32, channels=128, height=8, width=4)
    with problem.settings():
        eager, graph = operator.measure(problem, operator.contenders("cuda", compiled=False), PEAKS, rounds=2)
    assert (eager["mode"], graph["mode"]) == ("eager", "CUDA graph")
    for entry in (eager, graph):
        for timed in entry["contenders"].values():
            assert timed[operator.BOTH]["ms"]["median"] > 0


@pytest.mark.parametrize("bad", [lambda y: 1.01 * y, lambda y: y * float("nan")])
def test_a_contender_that_computes_something_else_is_not_timed(bad):
    wrong = lambda *arguments: bad(ours("reference")(*arguments))  # noqa: E731
    (entry,) = operator.measure(TINY, {"strf_cuda x": ours("reference"), "other": wrong}, PEAKS, rounds=1)
    (not_run,) = entry["contenders"]["other"][operator.FORWARD].items()
    assert not_run[0] == "not_run" and "other, forward: relative error " in not_run[1]
    with pytest.raises(AssertionError, match="strf_cuda x, forward: relative error "):
        operator.measure(TINY, {"strf_cuda x": wrong}, PEAKS, rounds=1)


def test_at_the_papers_sizes_cosines_are_compared_with_dot_products():
    problem = tiny(name="stage 2")
    (entry,) = operator.measure(
        problem, {"strf_cuda x": ours("reference"), "other": ours("reference")}, PEAKS, rounds=1
    )
    assert list(entry["contenders"]) == ["strf_cuda x", "other", "strf_cuda x, dot"]
    for direction in (operator.FORWARD, operator.BOTH):
        over_dot, dot = (entry["cosine_over_dot"][direction], entry["contenders"]["strf_cuda x, dot"][direction])
        assert over_dot["median"] * dot["ratio"]["median"] == pytest.approx(1, rel=2e-3)
        assert f"{direction}: cosine takes {over_dot['median']:.2f} times as long as dot" in operator.table(entry)
    same = lambda x, weight, pools, similarity: ours("reference")(x, weight, pools, "cosine")  # noqa: E731
    with pytest.raises(AssertionError, match="strf_cuda x, dot, forward: relative error "):
        operator.measure(problem, {"strf_cuda x": same}, PEAKS, rounds=1)


def test_a_problem_that_fails_is_named_and_the_others_are_measured(tmp_path, monkeypatch, capsys):
    def measure(problem, *arguments):
        if problem.name == "N=12":
            raise RuntimeError("it broke")
        return whole(problem, *arguments)

    whole = operator.measure
    monkeypatch.setattr(operator, "measure", measure)
    monkeypatch.setattr(operator, "plan", lambda device, quick: [TINY, tiny(name="N=6", height=2)])
    monkeypatch.setattr(operator, "measure_peaks", lambda device, dtype: PEAKS)
    with pytest.raises(SystemExit, match="1 of 2 problems failed; the first: it broke"):
        operator.main(["--device=cpu", "--rounds=1", f"--out={tmp_path}/operator.json"])
    result = json.loads((tmp_path / "operator.json").read_text())
    assert [entry["problem"] for entry in result["problems"]] == ["N=6"]
    assert [(entry["problem"], entry["failed"]) for entry in result["failed"]] == [("N=12", "it broke")]


def test_the_operators_benchmark_writes_figures_and_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(operator, "plan", lambda device, quick: [TINY, tiny(name="N=6", height=2), tiny(name="C=32")])
    monkeypatch.setattr(operator, "measure_peaks", lambda device, dtype: PEAKS)
    operator.main(["--device=cpu", "--rounds=2", f"--out={tmp_path}/operator.json"])
    result = json.loads((tmp_path / "operator.json").read_text())
    assert [entry["problem"] for entry in result["problems"]] == ["N=12", "N=6", "C=32"]
    assert result["device"]["threads"] == torch.get_num_threads()
    for entry in result["problems"]:
        names = list(entry["contenders"])
        assert names[: len(usable_backends("cpu"))] == [f"strf_cuda {name}" for name in usable_backends("cpu")]
        for figures in entry["contenders"].values():
            for direction in (operator.FORWARD, operator.BOTH):
                floor = entry["floor"][direction]["ms"]
                assert figures[direction]["share_of_floor"] == pytest.approx(
                    floor / figures[direction]["ms"]["median"], rel=2e-3
                )
            assert figures["held_of_input"] >= 1 and figures["peak_mb"] > 0
        assert entry["contenders"][names[0]][operator.BOTH]["ratio"]["median"] == 1
    assert (tmp_path / "operator.png").read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "N=6, parallel, contiguous, float32, eager: x 2 x [32, 3, 2, 3]" in out
    assert out.startswith(f"{machine()}\n") and f", {torch.get_num_threads()} of {os.cpu_count()} threads" in machine()
    level = result["device"]["cpu_level"]
    assert level is None or f", {level}, " in machine()


def test_a_quick_run_writes_nothing_unless_told_where(tmp_path, monkeypatch):
    monkeypatch.setattr(operator, "plan", lambda device, quick: [TINY])
    monkeypatch.setattr(operator, "measure_peaks", lambda device, dtype: PEAKS)
    for module in (operator, training_step):
        monkeypatch.setattr(module, "write_result", lambda *_: pytest.fail("wrote a file"))
    operator.main(["--device=cpu", "--quick"])
    training_step.main(["--device=cpu", "--quick", "--batch=4"])


def test_without_matplotlib_the_figures_are_written_and_no_plot(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(operator, "plan", lambda device, quick: [TINY])
    monkeypatch.setattr(operator, "measure_peaks", lambda device, dtype: PEAKS)
    operator.main(["--device=cpu", "--quick", f"--out={tmp_path}/operator.json"])
    assert [path.name for path in tmp_path.iterdir()] == ["operator.json"]
    assert "No plot is drawn: matplotlib is not installed here." in capsys.readouterr().out


def test_the_loss_without_its_dependencies_is_the_same():
    pytest.importorskip("pytorch_metric_learning")
    random = torch.Generator().manual_seed(0)
    logits, features = (torch.randn(8, size, generator=random).requires_grad_() for size in (5, 16))
    labels = torch.arange(8) // 2
    results = []
    for loss in (training_step.training_loss(), PlainLoss()):
        total = loss(logits, features, labels).total
        results.append((total.detach(), *torch.autograd.grad(total, (logits, features))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def test_a_step_in_parts_is_the_same_step():
    size = {"width": 16, "depth": (1, 1, 1, 1)}
    clips, labels = made_up_batch(8, 32, 16, "cpu")
    whole, parts = (Trainee(made_up_model("strf", **size), "cpu", None) for _ in range(2))
    for _ in range(2):
        whole.step(clips, labels)
        seconds = parts.step_in_parts(clips, labels)
        assert set(seconds) == set(PARTS) and min(seconds.values()) > 0
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_training_benchmark_writes_figures_and_plot(tmp_path, capsys):
    training_step.main(["--device=cpu", "--quick", "--batch=4", f"--out={tmp_path}/step.json"])
    result = json.loads((tmp_path / "step.json").read_text())
    assert list(result["models"]) == ["P3DC", *(f"STRF-P3DC {name}" for name in usable_backends("cpu"))]
    assert result["models"]["P3DC"]["ratio"]["median"] == 1
    for name, figures in result["models"].items():
        assert sum(figures["shares"].values()) == pytest.approx(1, rel=1e-3)
        assert (figures["shares"]["STRF backward"] > 0) == (name != "P3DC")
    assert (tmp_path / "step.png").read_bytes().startswith(b"\x89PNG")
    assert "STRF-P3DC reference" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--rounds=0"], "argument --rounds: 0 must be at least 1"),
        *(
            pytest.param(
                [f"--device={device}"],
                f"device is {device}, but torch finds no GPU here",
                marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
            )
            for device in ("cuda", "gpu")
        ),
    ],
)
@pytest.mark.parametrize("command", [operator, training_step])
def test_options_that_cannot_be_are_refused_in_words(command, words, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2 and sentence in capsys.readouterr().err


@pytest.fixture
def blocks_of_triton():
    """Runs bench.triton_blocks in Triton's interpreter, mended, in a process of its own, and returns how it ended."""
    pytest.importorskip("triton", "3.6", reason="Triton 3.6 or newer is not installed here")

    def run(*words):
        lines = "import triton_interpreter; triton_interpreter.begin(); import bench.triton_blocks as b; b.main()"
        environment = {
            **os.environ, "TRITON_INTERPRET": "1", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(REPOSITORY / "tests"),
        }  # fmt: skip
        command = [sys.executable, "-c", lines, *words]
        return subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)

    return run


def test_the_blocks_of_triton_are_searched_and_written(blocks_of_triton, tmp_path):
    out = tmp_path / "blocks.json"
    done = blocks_of_triton("--quick", "--kernels", "multiply", "mask_averages", f"--out={out}")
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    (entry,) = result["problems"]
    assert result["failed"] == [] and "where times mean nothing" in result["what"]
    assert set(entry["kernels"]) == {"multiply", "mask_averages"}
    for found in entry["kernels"].values():
        assert found["table"]["ratio"]["median"] == 1 and found["refused"] == []
        assert found["best"] in found["tried"] and len(found["tried"]) > 3
    assert {"table", "best"} == set(entry["whole"]["us"])
    rows = done.stdout.splitlines()
    assert rows[0].startswith("N=16, parallel, arithmetic float32, C 16, N 16")
    assert [row.split("|")[1].strip() for row in rows[4:7]] == ["multiply", "mask_averages", "forward + backward"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "times in the interpreter mean nothing; with --quick everything is run once"),
        (["--quick", "--kernels", "pol"], "there is no kernel pol; there are "),
    ],
)
def test_the_blocks_of_triton_are_refused_in_words(words, sentence, blocks_of_triton):
    done = blocks_of_triton(*words)
    assert done.returncode == 2 and sentence in done.stderr


@pytest.mark.skipif(shutil.which("bash") is None or shutil.which("timeout") is None, reason="needs bash and timeout")
def test_the_script_for_a_gpu_runs_every_step_and_says_which_failed(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$*"\ncase "$*" in *bench.training_step*) exit 3;; esac\n')
    python.chmod(0o755)
    script, environment = REPOSITORY / "bench" / "gpu.sh", {**os.environ, "PYTHON": str(python)}
    done = subprocess.run(["bash", script, tmp_path / "out"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    rows = (tmp_path / "out" / "summary.md").read_text().splitlines()[2:]
    results = dict(row.strip("| ").split(" | ")[:2] for row in rows)
    steps = ["build", "machine", "tests", "training step", "operator", "sanitizer"]
    assert results == {**dict.fromkeys(steps, "done"), "training step": "failed with status 3"}
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "setup.py --quiet build_native --inplace" in log and "tests/test_gpu.py tests/test_library.py" in log
    assert subprocess.run(["bash", script], capture_output=True, text=True).stderr.strip().endswith("bench/gpu.sh OUT")


def test_tables_are_aligned_markdown():
    text = aligned(["", "ms"], [["long name", "1"], ["b", "12.5"]])
    assert text.splitlines() == [
        "|           |   ms |",
        "| --------- | ---: |",
        "| long name |    1 |",
        "| b         | 12.5 |",
    ]
    assert with_quartiles({"median": 2.0, "quartiles": [1.5, 2.25]}) == "2.00 (1.50-2.25)"
    assert with_quartiles({"median": 1.0, "quartiles": [1.0, 1.0]}) == "1.00"

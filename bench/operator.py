"""Times the operator against every other way to compute it that we know of, forward and forward + backward.

    python -m bench.operator [--rounds 15] [--threads N] [--device cpu|cuda] [--out FILE] [--quick]

The sizes are those of P3DC (4 frames of 256x128, stages 2 and 3), in parallel and as the cascade, in both layouts, on
a GPU in bfloat16, float32 and TF32, eager and inside CUDA graphs; then a sweep over positions and one over channels.
Every contender must agree with float64 before it is timed. Contenders are timed in turn, ratios formed within a round.
All compute masks of cosines, the default; at the paper's sizes our first backend also those of dot products.

Prints the tables and writes bench/results/operator.json, after every problem anew, and operator.png; with --quick,
which only shows that everything runs, files are written only where --out says. The sweeps take half as many rounds. A
problem that fails is named in the file and at the end, where the status is then 1.
"""

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from bench.competitors import Operator, competitors, ours, solve, usable_backends
from bench.floor import Peaks, cost, measure_peaks
from bench.machine import RESULTS, machine, write_result
from bench.options import parse, parser
from bench.plots import draw, plot_operator
from bench.problems import Problem, channel_sweep, paper_problems, position_sweep
from bench.spreads import rounded, spread
from bench.tables import with_quartiles
from bench.timing import Call, graphed, held_for_backward, in_rotation, interleave, peak_memory, ratios
from strf_cuda.backends.reference import factorized_attention_reference
from strf_cuda.markdown import aligned
from strf_cuda.similarity import TEMPERATURES

FORWARD, BOTH = "forward", "forward + backward"
OURS = "strf_cuda"
# Relative error in the Euclidean norm. Two nearly equal maxima of a pool may change places under rounding, and their
# gradient with them; in bfloat16 the literal code also rounds logits, which the soft-max magnifies.
LIMITS = {"float32": 1e-4, "tf32": 0.03, "bfloat16": 0.1}


def contenders(device: str, compiled: bool) -> dict[str, Operator]:
    """Ours by every usable backend, the one that "auto" takes first, then the others."""
    return {f"{OURS} {name}": ours(name) for name in usable_backends(device)} | competitors(compiled)


def measure(
    problem: Problem,
    operators: Mapping[str, Operator],
    peaks: Peaks,
    rounds: int,
    on_round: Callable[[], object] = lambda: None,
) -> list[dict]:
    """Checks and times all contenders on one problem.

    Args:
        operators: ratios refer to the first, which at the paper's sizes is timed with dot products too. Ours must run
            and be right; another that does not is reported with the reason.
        on_round: called after each round, for a progress bar.

    Returns:
        An entry of the JSON for each mode: eager, and on a GPU also inside CUDA graphs.
    """
    torch.compiler.reset()
    sets = problem.sets()
    x, weight, _ = sets[0]
    first = next(iter(operators))
    solved = {name: (operator, problem) for name, operator in operators.items()}
    if is_of_the_paper(problem):
        solved[f"{first}, dot"] = operators[first], dataclasses.replace(problem, similarity="dot")
    entries = [
        {
            "problem": problem.name,
            **problem.sizes(),
            "mode": mode,
            "floor": {},
            "contenders": {n: {} for n in solved},
        }
        for mode in (("eager", "CUDA graph") if problem.device == "cuda" else ("eager",))
    ]
    for direction in (FORWARD, BOTH):
        calls, not_run = prepare(solved, direction, sets)
        required = cost(problem, backward=direction == BOTH)
        floor = peaks.floor(required)
        for entry in entries:
            if entry["mode"] == "CUDA graph":
                calls, not_captured = capture(calls)
                not_run |= not_captured
            turns = {name: in_rotation(own) for name, own in calls.items()}
            times = interleave(turns, rounds, problem.device, on_round)
            entry["floor"][direction] = {**vars(required), "ms": rounded(1000 * floor)}
            figures = entry["contenders"]
            for name, reason in not_run.items():
                figures[name][direction] = {"not_run": reason}
            for name, seconds in times.items():
                figures[name][direction] = {
                    "ms": spread([1000 * value for value in seconds]),
                    "ratio": ratios(seconds, times[first]),
                    "share_of_floor": rounded(floor / spread(seconds)["median"]),
                }
            if f"{first}, dot" in times:
                entry.setdefault("cosine_over_dot", {})[direction] = ratios(times[first], times[f"{first}, dot"])
            if direction == BOTH and entry["mode"] == "eager":
                for name, own in calls.items():
                    figures[name] |= memory(*solved[name], own[0], x, weight)
    return entries


def is_of_the_paper(problem: Problem) -> bool:
    """Whether it is one of `paper_problems`, not of a sweep."""
    return problem.name.startswith("stage")


def prepare(
    solved: Mapping[str, tuple[Operator, Problem]], direction: str, sets: Sequence[Sequence[Tensor]]
) -> tuple[dict[str, list[Call]], dict[str, str]]:
    """The calls to be timed, one for each set of x, weight and grad, and why the others cannot be made.

    Each contender has returned what float64 says of its problem for the first set.
    """
    wide = [tensor.double() for tensor in sets[0]]
    truths = {problem: call_of(_in_float64, problem, wide, direction)() for _, problem in solved.values()}
    calls, not_run = {}, {}
    for name, (operator, problem) in solved.items():
        own = [call_of(operator, problem, tensors, direction) for tensors in sets]
        try:
            for result, truth in zip(own[0](), truths[problem], strict=True):
                error = ((result - truth).norm() / truth.norm()).item()
                assert error <= LIMITS[problem.arithmetic], f"{name}, {direction}: relative error {error:.1e}"
        except Exception as error:
            if name.startswith(OURS):
                raise
            not_run[name] = first_line(error)
        else:
            calls[name] = own
    return calls, not_run


def capture(calls: Mapping[str, Sequence[Call]]) -> tuple[dict[str, list[Call]], dict[str, str]]:
    """The calls as CUDA graphs, and why the others cannot be captured; ours must be."""
    graphs, not_captured = {}, {}
    for name, own in calls.items():
        try:
            graphs[name] = [graphed(call) for call in own]
        except Exception as error:
            if name.startswith(OURS):
                raise
            not_captured[name] = first_line(error)
    return graphs, not_captured


def call_of(operator: Operator, problem: Problem, tensors: Sequence[Tensor], direction: str) -> Call:
    """A call without arguments that returns (y,) or the gradients of x and weight, for `tensors` x, weight, grad."""
    x, weight, grad = tensors
    if direction == FORWARD:
        return torch.no_grad()(lambda: (solve(operator, problem, x, weight),))
    inputs = x.detach().requires_grad_(), weight.detach().requires_grad_()
    return lambda: torch.autograd.grad(solve(operator, problem, *inputs), inputs, grad)


def memory(operator: Operator, problem: Problem, call: Call, x: Tensor, weight: Tensor) -> dict[str, float]:
    """What is held between the passes, as a multiple of x, and the peak of both passes beyond x, weight and grad."""
    inputs = x.detach().requires_grad_(), weight.detach().requires_grad_()
    held = held_for_backward(partial(solve, operator, problem, *inputs))
    return {
        "held_of_input": rounded(held / x.nbytes),
        "peak_mb": rounded(peak_memory(call, problem.device) / 1e6),
    }


def first_line(error: BaseException) -> str:
    """The first line of what an error was raised from."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _in_float64(x: Tensor, weight: Tensor, pools, similarity: str) -> Tensor:
    kinds = ["max"] * len(pools)
    return factorized_attention_reference(x, weight, pools, kinds, TEMPERATURES[similarity], similarity)


def describe(entry: dict) -> str:
    """The heading of a problem's table."""
    size = f"{entry['batch']} x [{entry['channels']}, {entry['frames']}, {entry['height']}, {entry['width']}]"
    words = [entry[key] for key in ("problem", "integration", "layout", "dtype", "mode")]
    floors = ", ".join(f"{direction} {floor['ms']:.3g} ms" for direction, floor in entry["floor"].items())
    return f"{', '.join(words)}: x {size}; floor {floors}"


def table(entry: dict) -> str:
    """The figures of one problem: median time, ratio to our first backend (quartiles), share of the floor, memory."""
    header = ["", "forward ms", "ratio", "of floor", "both ms", "ratio", "of floor", "held / x", "peak MB"]
    rows, notes = [], []
    for name, figures in entry["contenders"].items():
        row = [name]
        for direction in (FORWARD, BOTH):
            timed = figures[direction]
            if "not_run" in timed:
                notes.append(f"{name}, {direction}, was not run: {timed['not_run']}")
                row += ["-"] * 3
            else:
                row += [f"{timed['ms']['median']:.4g}", with_quartiles(timed["ratio"])]
                row += [f"{100 * timed['share_of_floor']:.0f}%"]
        row += [f"{figures[key]:.4g}" if key in figures else "-" for key in ("held_of_input", "peak_mb")]
        rows.append(row)
    for direction, ratio in entry.get("cosine_over_dot", {}).items():
        notes.append(f"{direction}: cosine takes {with_quartiles(ratio)} times as long as dot")
    return "\n".join([describe(entry), "", aligned(header, rows), *notes, ""])


def plan(device: str, quick: bool) -> list[Problem]:
    """What is measured on a device: the paper's sizes, then the sweeps in the first of its types."""
    dtypes = [torch.bfloat16, torch.float32] if device == "cuda" else [torch.float32]
    batch = 1 if quick else {"cpu": 8, "cuda": 32}[device]
    paper = paper_problems(device, batch, dtypes)
    if device == "cuda":
        paper += [dataclasses.replace(problem, tf32=True) for problem in paper if problem.dtype == torch.float32]
    sweep = [*position_sweep(device, batch, dtypes[0]), *channel_sweep(device, batch, dtypes[0])]
    return [*paper[1::4], *sweep[::5]] if quick else [*paper, *sweep]


def compiled_too(problem: Problem) -> bool:
    """Whether torch.compile takes part: it takes many seconds for each size, so only where the goals ask for it."""
    asked_for = is_of_the_paper(problem) and problem.integration == "parallel"
    if problem.device == "cuda":
        return asked_for and problem.dtype == torch.bfloat16 and problem.layout == "contiguous"
    return asked_for


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(parser(__doc__), argv)
    device = options.device
    problems = plan(device, options.quick)
    paper_rounds = 2 if options.quick else options.rounds
    rounds = [paper_rounds if is_of_the_paper(problem) else (paper_rounds + 1) // 2 for problem in problems]
    out = options.out or (None if options.quick else RESULTS / "operator.json")
    entries, failed, peaks = [], [], {}
    modes = 2 if device == "cuda" else 1
    print(f"{machine()}\n")
    with tqdm(total=2 * modes * sum(rounds), unit="round", disable=None, leave=False) as bar:
        for problem, own_rounds in zip(problems, rounds, strict=True):
            bar.set_description(f"{problem.name}, {problem.integration}, {problem.layout}")
            operators = contenders(device, compiled_too(problem))
            try:
                with problem.settings():
                    if problem.arithmetic not in peaks:
                        peaks[problem.arithmetic] = measure_peaks(device, problem.dtype)
                    found = measure(problem, operators, peaks[problem.arithmetic], own_rounds, bar.update)
            except Exception as error:
                failed.append({"problem": problem.name, **problem.sizes(), "failed": first_line(error)})
                bar.write(f"{problem} failed: {first_line(error)}\n")
            else:
                bar.write("\n".join(map(table, found)))
                entries += found
            if out:
                write(out, paper_rounds, peaks, entries, failed)
    if out and not failed:
        draw(plot_operator, entries, out.with_suffix(".png"))
    if failed:
        sys.exit(f"{len(failed)} of {len(problems)} problems failed; the first: {failed[0]['failed']}")


def write(out: Path, rounds: int, peaks: Mapping[str, Peaks], entries: list[dict], failed: list[dict]) -> None:
    """The JSON file with what has been measured so far."""
    write_result(
        "operator",
        "milliseconds a call, median and quartiles; ratio: time over that of the first contender, within a round",
        ("torch", "triton"),
        {
            "rounds": rounds,
            "peaks": {name: vars(peak) for name, peak in peaks.items()},
            "limits": {name: LIMITS[name] for name in peaks},
            "problems": entries,
            "failed": failed,
        },
        out,
    )


if __name__ == "__main__":
    main()

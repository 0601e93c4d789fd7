"""Times the operator against every other way to compute it that we know of, forward and forward + backward.

    python -m bench.operator [--rounds 15] [--threads N] [--device cpu|gpu] [--out FILE] [--quick]

The sizes are those of P3DC (4 frames of 256x128, stages 2 and 3), in parallel and as the cascade, in both layouts, on
a GPU in bfloat16 and float32, eager and inside CUDA graphs; then a sweep over positions and one over channels. Every
contender must agree with float64 before it is timed. Contenders are timed in turn and ratios formed within a round.

Prints the tables and writes bench/results/operator.json and operator.png; with --quick, which only shows that
everything runs, files are written only where --out says. The sweeps take half as many rounds.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor
from tqdm import tqdm

from bench.competitors import Operator, competitors, ours, solve, usable_backends
from bench.floor import Peaks, cost, measure_peaks
from bench.machine import RESULTS, write_result
from bench.options import parse, parser
from bench.plots import plot_operator
from bench.problems import TEMPERATURE, Problem, channel_sweep, paper_problems, position_sweep
from bench.tables import aligned, with_quartiles
from bench.timing import Call, graphed, held_for_backward, interleave, peak_memory, ratios, rounded, spread
from strf_cuda.backends.reference import factorized_attention_reference

FORWARD, BOTH = "forward", "forward + backward"
OURS = "strf_cuda"
# Relative error in the Euclidean norm. Two nearly equal maxima of a pool may change places under rounding, and their
# gradient with them; in bfloat16 the literal code also rounds logits, which the soft-max magnifies.
LIMITS = {torch.float32: 1e-4, torch.bfloat16: 0.1}


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
        operators: ratios refer to the first. One of ours must run; another that cannot is reported with its reason.
        on_round: called after each round, for a progress bar.

    Returns:
        An entry of the JSON for each mode: eager, and on a GPU also inside CUDA graphs.
    """
    torch.compiler.reset()
    x, weight, grad = problem.inputs()
    entries = [
        {
            "problem": problem.name,
            **problem.sizes(),
            "mode": mode,
            "floor": {},
            "contenders": {n: {} for n in operators},
        }
        for mode in (("eager", "CUDA graph") if problem.device == "cuda" else ("eager",))
    ]
    for direction in (FORWARD, BOTH):
        calls, not_run = prepare(problem, operators, direction, (x, weight, grad))
        required = cost(problem, backward=direction == BOTH)
        floor = peaks.floor(required)
        for entry in entries:
            if entry["mode"] == "CUDA graph":
                calls, not_captured = capture(calls)
                not_run |= not_captured
            times = interleave(calls, rounds, problem.device, on_round)
            entry["floor"][direction] = {**vars(required), "ms": rounded(1000 * floor)}
            figures = entry["contenders"]
            for name, reason in not_run.items():
                figures[name][direction] = {"not_run": reason}
            for name, seconds in times.items():
                figures[name][direction] = {
                    "ms": spread([1000 * value for value in seconds]),
                    "ratio": ratios(seconds, times[next(iter(operators))]),
                    "share_of_floor": rounded(floor / spread(seconds)["median"]),
                }
            if direction == BOTH and entry["mode"] == "eager":
                for name, call in calls.items():
                    figures[name] |= memory(problem, operators[name], call, x, weight)
    return entries


def prepare(
    problem: Problem, operators: Mapping[str, Operator], direction: str, tensors: Sequence[Tensor]
) -> tuple[dict[str, Call], dict[str, str]]:
    """The calls to be timed, each of which has returned what float64 says, and why the others cannot be made."""
    expected = call_of(_in_float64, problem, [tensor.double() for tensor in tensors], direction)()
    calls, not_run = {}, {}
    for name, operator in operators.items():
        call = call_of(operator, problem, tensors, direction)
        try:
            results = call()
        except Exception as error:
            if name.startswith(OURS):
                raise
            not_run[name] = first_line(error)
            continue
        for result, truth in zip(results, expected, strict=True):
            error = ((result - truth).norm() / truth.norm()).item()
            assert error <= LIMITS[problem.dtype], f"{name}, {direction}, {problem}: relative error {error:.1e}"
        calls[name] = call
    return calls, not_run


def capture(calls: Mapping[str, Call]) -> tuple[dict[str, Call], dict[str, str]]:
    """The calls as CUDA graphs, and why the others cannot be captured; ours must be."""
    graphs, not_captured = {}, {}
    for name, call in calls.items():
        try:
            graphs[name] = graphed(call)
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


def memory(problem: Problem, operator: Operator, call: Call, x: Tensor, weight: Tensor) -> dict[str, float]:
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


def _in_float64(x: Tensor, weight: Tensor, pools) -> Tensor:
    return factorized_attention_reference(x, weight, pools, ["max"] * len(pools), TEMPERATURE)


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
    return "\n".join([describe(entry), "", aligned(header, rows), *notes, ""])


def plan(device: str, quick: bool) -> list[Problem]:
    """What is measured on a device: the paper's sizes, then the sweeps in the first of its types."""
    dtypes = [torch.bfloat16, torch.float32] if device == "cuda" else [torch.float32]
    batch = 1 if quick else {"cpu": 8, "cuda": 32}[device]
    paper = paper_problems(device, batch, dtypes)
    sweep = [*position_sweep(device, batch, dtypes[0]), *channel_sweep(device, batch, dtypes[0])]
    return [*paper[1::4], *sweep[::5]] if quick else [*paper, *sweep]


def main(argv: Sequence[str] | None = None) -> None:
    options = parse(parser(__doc__), argv)
    device = options.device
    problems = plan(device, options.quick)
    paper_rounds = 2 if options.quick else options.rounds
    rounds = [paper_rounds if problem.name.startswith("stage") else (paper_rounds + 1) // 2 for problem in problems]
    peaks = {dtype: measure_peaks(device, dtype) for dtype in {problem.dtype for problem in problems}}
    entries = []
    modes = 2 if device == "cuda" else 1
    with tqdm(total=2 * modes * sum(rounds), unit="round", disable=None, leave=False) as bar:
        for problem, own_rounds in zip(problems, rounds, strict=True):
            bar.set_description(f"{problem.name}, {problem.integration}, {problem.layout}")
            # A compiled graph serves one size and takes seconds to make: only where the goals ask for it.
            compiled = problem.name.startswith("stage") and problem.integration == "parallel"
            found = measure(problem, contenders(device, compiled), peaks[problem.dtype], own_rounds, bar.update)
            bar.write("\n".join(map(table, found)))
            entries += found
    out = options.out or (None if options.quick else RESULTS / "operator.json")
    if out:
        write_result(
            "operator",
            "milliseconds a call, median and quartiles; ratio: time over that of the first contender, within a round",
            ("torch",),
            {
                "rounds": paper_rounds,
                "peaks": {str(dtype).removeprefix("torch."): vars(peak) for dtype, peak in peaks.items()},
                "limits": {str(dtype).removeprefix("torch."): LIMITS[dtype] for dtype in peaks},
                "problems": entries,
            },
            out,
        )
        plot_operator(entries, out.with_suffix(".png"))


if __name__ == "__main__":
    main()

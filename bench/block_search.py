"""Times the launches of a Triton kernel with other blocks, in turn, and goes from the table's choice to better ones."""

from collections.abc import Mapping

from bench.competitors import ours
from bench.operator import BOTH, LIMITS, call_of, first_line
from bench.problems import Problem
from bench.spreads import spread
from bench.timing import Call, graphed, interleave, ratios
from strf_cuda.backends.triton_kernels.blocks import Sizes
from strf_cuda.backends.triton_kernels.tuning import BETTER, Blocks, Kernel, chosen, neighbours


def search(kernel: Kernel, rounds: int, steps: int, device: str) -> dict:
    """From the table's choice to its best neighbour, and on from there, until none is better or after `steps`.

    Returns:
        The kernel's entry in the JSON. Ratios are times over that of the table's choice, within a round.
    """
    table = best = _name(kernel.table)
    choices, calls = {table: kernel.table}, {table: kernel.call(kernel.table)}
    tried, refused = {}, []
    for _ in range(steps):
        near = {_name(choice): choice for choice in neighbours(kernel.name, kernel.sizes, choices[best])}
        new = {name: choice for name, choice in near.items() if name not in choices}
        choices |= new
        kernel.compile(list(new.values()))
        turns = {name: calls[name] for name in (table, best)}
        for name, choice in new.items():
            try:
                turns[name] = kernel.call(choice)
            except Exception as error:
                refused.append({"blocks": choice, "reason": first_line(error)})
        calls |= turns
        times = interleave(turns, rounds, device)
        for name, seconds in times.items():
            figures = {"us": spread([1e6 * value for value in seconds]), "ratio": ratios(seconds, times[table])}
            tried[name] = {"blocks": choices[name], **figures}
        quickest = min(times, key=lambda name: tried[name]["ratio"]["median"])
        if ratios(times[quickest], times[best])["median"] > BETTER:
            break
        best = quickest
    by_time = sorted(tried.values(), key=lambda entry: entry["ratio"]["median"])
    return {"table": tried[table], "best": tried[best], "tried": by_time, "refused": refused}


def whole(problem: Problem, sizes: Sizes, choices: Mapping[str, Blocks], rounds: int) -> dict:
    """Forward + backward with the table's blocks and with these, on a GPU inside CUDA graphs; microseconds and ratio.

    Raises:
        AssertionError: the results differ by more than bench.operator allows a contender.
    """
    inner = call_of(ours("triton"), problem, problem.inputs(), BOTH)

    def call_with(own: Mapping[str, Blocks]) -> Call:
        def call():
            with chosen(own, sizes):
                return inner()

        return call

    calls = {"table": call_with({}), "best": call_with(choices)}
    for result, truth in zip(calls["best"](), calls["table"](), strict=True):
        error = ((result - truth).norm() / truth.norm()).item()
        assert error <= LIMITS[problem.arithmetic], f"with the best of each kernel, results differ by {error:.1e}"
    if problem.device == "cuda":
        calls = {name: graphed(call) for name, call in calls.items()}
    times = interleave(calls, rounds, problem.device)
    return {
        "us": {name: spread([1e6 * value for value in seconds]) for name, seconds in times.items()},
        "ratio": ratios(times["best"], times["table"]),
    }


def _name(choice: Blocks) -> str:
    return ", ".join(f"{name} {value}" for name, value in choice.items())

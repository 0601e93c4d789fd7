"""What the processes of a run exchange: outputs of the network, sums, and states. One process alone exchanges nothing.

They are the default group of torch.distributed, which `strf_cuda.processes` sets up.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from strf_cuda.data.sampler import share


def process_and_processes() -> tuple[int, int]:
    """The number of this process and how many there are: (0, 1) where there is one."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def gather_rows(rows: Tensor, count: int) -> Tensor:
    """The rows of all processes, in their order; this process's own ones keep their gradient, the others have none.

    Args:
        rows: [n, ...], n the size of this process's `share` of `count`.

    Returns:
        [count, ...].
    """
    process, processes = process_and_processes()
    if processes == 1:
        return rows
    shares = [share(count, other, processes) for other in range(processes)]
    sent = rows.new_zeros(len(shares[0]), *rows.shape[1:])  # collectives want the same size everywhere
    sent[: len(rows)] = rows.detach()
    received = [torch.empty_like(sent) for _ in shares]
    dist.all_gather(received, sent)
    parts = [part[: len(own)] for part, own in zip(received, shares, strict=True)]
    parts[process] = rows
    return torch.cat(parts)


def sum_over_processes(values: Tensor) -> Tensor:
    """The sum of the processes' `values`, differentiable: each process's gradient reaches all of them."""
    return _Sum.apply(values) if process_and_processes()[1] > 1 else values


def add_over_processes(sums: Tensor | None, rows: int, device: torch.device) -> Tensor:
    """The sum of all processes' float64 [rows, F] on the CPU; None, from one that had nothing to add, counts as zero.

    Args:
        device: of the run's tensors, by which the processes exchange them.
    """
    if process_and_processes()[1] == 1:
        return sums
    columns = torch.tensor(0 if sums is None else sums.shape[1], device=device)
    dist.all_reduce(columns, dist.ReduceOp.MAX)
    total = torch.zeros(rows, columns, dtype=torch.float64) if sums is None else sums
    total = total.to(device)
    dist.all_reduce(total)
    return total.cpu()


@torch.no_grad()
def take_buffers_of_first(module: nn.Module) -> None:
    """Gives all processes the first one's buffers (running statistics), as DistributedDataParallel does in every step.

    Between steps each process has its own.
    """
    if process_and_processes()[1] > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

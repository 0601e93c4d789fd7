"""How fast a GPU computes exponentials and reads its second-level cache at best: two small Triton kernels."""

import torch
import triton
import triton.language as tl

from bench.timing import fastest

BLOCK = 4096  # float32 numbers of one program


@triton.jit
def _exponentials(out, ROUNDS: tl.constexpr, SIZE: tl.constexpr):
    offsets = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    values = offsets.to(tl.float32) * 1e-9
    for _ in range(ROUNDS):
        values = tl.exp2(-values)
    tl.store(out + offsets, values)


@triton.jit
def _reads(source, out, blocks, ROUNDS: tl.constexpr, SIZE: tl.constexpr):
    offsets = tl.arange(0, SIZE)
    program = tl.program_id(0)
    total = tl.zeros((SIZE,), tl.float32)
    for turn in range(ROUNDS):
        block = (program + turn * 61) % blocks
        total += tl.load(source + block * SIZE + offsets, cache_modifier=".cg")  # past the first-level cache
    tl.store(out + program * SIZE + offsets, total)


def exponentials(rounds: int) -> float:
    """Powers of 2 of float32 numbers a second; the best of `rounds`."""
    programs, each = 16 * _multiprocessors(), 512
    out = torch.empty(programs * BLOCK, device="cuda")
    seconds = fastest(lambda: _exponentials[(programs,)](out, each, BLOCK), "cuda", rounds)
    return programs * BLOCK * each / seconds


def cached_bytes(rounds: int) -> float:
    """Bytes a second read from the second-level cache, from a third of its size; the best of `rounds`."""
    blocks = torch.cuda.get_device_properties().L2_cache_size // 3 // (4 * BLOCK)
    programs, each = 8 * _multiprocessors(), 256
    source = torch.ones(blocks * BLOCK, device="cuda")
    out = torch.empty(programs * BLOCK, device="cuda")
    seconds = fastest(lambda: _reads[(programs,)](source, out, blocks, each, BLOCK), "cuda", rounds)
    return 4 * programs * BLOCK * each / seconds


def _multiprocessors() -> int:
    return torch.cuda.get_device_properties().multi_processor_count

"""How a device's memory is handled; what "auto" stands for is tested with the commands."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from strf_cuda.devices import keep_freed_memory
torch.set_num_threads(1)
if {keep}:
    keep_freed_memory(torch.device({device!r}))
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(2**24)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
# The first calls differ: pieces that alignment cuts off are kept apart until there are seven of them.
print(min(faults() for _ in range(20)))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
@pytest.mark.parametrize(
    ("keep", "device", "kept"), [(True, "cpu", True), (True, "cuda", False), (False, "cpu", False)]
)
def test_memory_that_is_freed_is_kept_for_the_next_tensor_on_the_cpu(keep, device, kept):
    program = FAULTS.format(keep=keep, device=device)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    pages = 4 * 2**24 // 2**21  # of 64 MiB, even if the system hands out the largest pages
    assert (int(done.stdout) < pages) == kept

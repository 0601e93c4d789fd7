"""What every benchmark writes beside its figures: the command, the date, the device and the versions."""

import datetime
import json
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from strf_cuda.files import replacing

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "bench" / "results"


def write_result(name: str, what: str, packages: tuple[str, ...], figures: dict, out: Path | None = None) -> None:
    """Writes bench/results/<name>.json.

    Args:
        what: one sentence on what was measured.
        packages: whose versions matter; with "torch" also what torch knows of the machine.
        figures: the measurements, as JSON holds them.
        out: another file to write.
    """
    result = {
        "what": what,
        "command": " ".join(["python", "-m", f"bench.{name}", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "device": {"cpu": cpu_model(), "cores": os.cpu_count()} | (torch_device() if "torch" in packages else {}),
        "versions": {"python": platform.python_version()} | {package: version_of(package) for package in packages},
        **figures,
    }
    with replacing(out or RESULTS / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n")


def version_of(package: str) -> str:
    """The installed version of a package, or that there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """The processor's name as Linux gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())


def machine() -> str:
    """One line for the head of tables: processor, the instructions that our CPU kernels use, threads, the GPU."""
    import torch

    found = torch_device()
    level = found["cpu_level"] or f"{found['torch_cpu_capability']} in torch"
    words = [cpu_model(), level, f"{found['threads']} of {os.cpu_count()} threads", found["gpu"]]
    return ", ".join([*(word for word in words if word), f"torch {torch.__version__}"])


def torch_device() -> dict:
    """The vector instructions of our CPU kernels and of torch, torch's threads, and the GPU, if there is one."""
    import torch

    from strf_cuda.backends import library

    found = {
        "cpu_level": library.build_facts()["cpu_level"] if library.REASON is None else None,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "gpu": None,
    }
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties()
        found |= {
            "gpu": properties.name,
            "compute_capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "l2_bytes": properties.L2_cache_size,
            "cuda": torch.version.cuda,
        }
    return found

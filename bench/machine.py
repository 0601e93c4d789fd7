"""What every benchmark writes beside its figures: the command, the date, the device and the versions."""

import datetime
import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
RESULTS = REPOSITORY / "bench" / "results"


def write_result(name: str, what: str, packages: tuple[str, ...], figures: dict) -> None:
    """Writes bench/results/<name>.json.

    Args:
        what: one sentence on what was measured.
        packages: whose versions matter.
        figures: the measurements, as JSON holds them.
    """
    result = {
        "what": what,
        "command": " ".join(["python", "-m", f"bench.{name}", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "device": {"cpu": cpu_model(), "cores": os.cpu_count()},
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
        **figures,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")


def cpu_model() -> str:
    """The processor's name as Linux gives it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())

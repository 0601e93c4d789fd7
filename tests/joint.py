"""Runs jobs of together.py, which explains them, for the tests."""

import json
import subprocess
import sys
from pathlib import Path


def carry_out(out, *jobs):
    """Exit codes of jobs (processes, function, arguments), and what their processes printed to logs in `out`."""
    listed = [{"processes": count, "do": do, "arguments": arguments} for count, do, arguments in jobs]
    (out / "jobs.json").write_text(json.dumps(listed))
    script = Path(__file__).parent / "together.py"
    done = subprocess.run([sys.executable, script, out / "jobs.json", out], capture_output=True, text=True, cwd=out)
    assert done.returncode == 0, done.stderr
    logs = [[(out / f"{n}-{p}.log").read_text() for p in range(job[0])] for n, job in enumerate(jobs)]
    return json.loads(done.stdout.splitlines()[-1]), logs

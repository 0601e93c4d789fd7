"""What a command shows beside its own output: none of Lightning's advice, and a warning as one line."""

import logging
import sys
import warnings

from tqdm import tqdm


def quiet_lightning() -> None:
    """Silences Lightning's log and its advice on settings that commands have chosen with care."""
    from lightning.fabric.utilities.warnings import PossibleUserWarning

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=PossibleUserWarning)
    warnings.filterwarnings("ignore", message=".*treespec.*")  # Lightning's own use of torch


def show_warnings_in_one_line() -> None:
    """Warnings go to stderr as "warning: ...", above a progress bar, without file name and source line."""

    def show(message, category, filename, lineno, file=None, line=None):
        tqdm.write(f"warning: {message}", file=sys.stderr)

    warnings.showwarning = show

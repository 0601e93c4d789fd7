"""Copies of published data sets: a complete one is held to the official counts, a partial one says so."""

from collections.abc import Sequence
from pathlib import Path

from strf_cuda.data.indexing import and_more
from strf_cuda.errors import InputError

Counts = dict[str, int | float]


def hold_to_official_counts(
    what: str, root: Path, counts: Counts, official: Counts, claims: Sequence[str], shares: Sequence[str], advice: str
) -> list[str]:
    """A note for a partial copy; nothing for a complete one, which must meet every official count.

    Args:
        what: the data set.
        root: where the copy lies.
        counts: of the copy, under the names of `official`.
        official: counts of the published data set.
        claims: names of counts, of which a single official one makes a copy claim that it is complete.
        shares: names of the counts that the note compares with the official ones.
        advice: what to do about a copy that claims to be complete and is not.

    Raises:
        InputError: the copy claims to be complete, and a count differs.
    """
    if any(counts[claim] == official[claim] for claim in claims):
        differing = [name for name in official if counts[name] != official[name]]
        if differing:
            name = differing[0]
            raise InputError(
                f"{root} looks like the complete {what}, but its number of {name} is {counts[name]:,} instead of "
                f"{official[name]:,}{and_more(len(differing))}: {advice}"
            )
        return []
    listed = ", ".join(f"{counts[name]:,} of {official[name]:,} {name}" for name in shares)
    return [f"partial copy of {what}: {listed}; its figures compare with no published ones"]

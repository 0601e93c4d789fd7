"""Which backends run on a GPU here, for the tests that need one, and why the others do not."""

from strf_cuda.backends import choice


def _why_not(name: str) -> str | None:
    """None if tensors on a GPU can be given to the backend `name`; otherwise one sentence."""
    if choice.DEVICES[name][0] != "cuda":
        return f"it takes tensors on {choice.DEVICES[name][1]}"
    return choice.why_not(name)


REASONS = {name: _why_not(name) for name in ("cuda", "triton")}
ON_A_GPU = [name for name, reason in REASONS.items() if reason is None]
NOT_ON_A_GPU = "; ".join(f"{name}: {reason}" for name, reason in REASONS.items() if reason is not None)

"""The similarities by which masks compare positions, and their temperatures. Nothing here imports torch."""

import math

from strf_cuda.errors import InputError, nearest

TEMPERATURES = {"dot": 4.0, "cosine": 16.0}  # of each similarity, unless given


def check_temperature(similarity: str, temperature: float | None) -> float:
    """The temperature that is meant; an InputError for an unknown similarity or a temperature that it does not take."""
    if similarity not in TEMPERATURES:
        raise InputError(
            f"similarity is {similarity!r}, but it must be dot or cosine{nearest(str(similarity), list(TEMPERATURES))}"
        )
    if temperature is None:
        return TEMPERATURES[similarity]
    if not abs(temperature) < math.inf:  # unlike isfinite, torch.compile traces it where temperature is dynamic
        raise InputError(f"temperature is {temperature}, but it must be a finite number")
    if similarity == "cosine" and not temperature > 0:
        raise InputError(
            f"temperature is {temperature}, but for similarity cosine it must be above 0: a larger one makes sharper "
            "masks"
        )
    return float(temperature)

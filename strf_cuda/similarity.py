"""The similarities by which masks compare positions, and their temperatures. Nothing here imports torch."""

import numbers

from strf_cuda.errors import InputError, nearest

TEMPERATURES = {"dot": 4.0, "cosine": 16.0}  # of each similarity, unless given


LARGEST = 3.4028234663852886e38  # in float32, in which masks of all types but float64 are computed


def check_temperature(similarity: str, temperature: float | None, option: str = "") -> float:
    """The temperature that is meant.

    Args:
        option: what stands in front of both names where the user gave them, "model." on the command line.

    Raises:
        InputError: an unknown similarity, or a temperature that is no finite number or, for "cosine", not above 0.
    """
    if not isinstance(similarity, str) or similarity not in TEMPERATURES:
        hint = nearest(str(similarity), list(TEMPERATURES))
        raise InputError(f"{option}similarity is {similarity!r}, but it must be dot or cosine{hint}")
    if temperature is None:
        return TEMPERATURES[similarity]
    if type(temperature) not in (float, int) and not isinstance(temperature, numbers.Real):
        raise InputError(
            f"{option}temperature is {temperature!r}, but it must be a number; none is learnt, so no tensor is one"
        )
    if not abs(temperature) <= LARGEST:  # unlike isfinite, torch.compile traces it where temperature is dynamic
        raise InputError(f"{option}temperature is {temperature}, but it must be a finite number, at most 3.4e38")
    if similarity == "cosine" and not temperature > 0:
        raise InputError(
            f"{option}temperature is {temperature}, but for similarity cosine it must be above 0: a larger one makes "
            "sharper masks"
        )
    return float(temperature)

"""JPEG decoders side by side: time, bits, and how much damage each notices."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import simplejpeg
from PIL import Image

from bench.machine import version_of
from bench.spreads import rounded, spread
from bench.timing import interleave, ratios

Decode = Callable[[bytes], np.ndarray]
FLIPPED = 3_000


def with_pillow(data: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return np.asarray(picture.convert("RGB"))


def decoders() -> dict[str, tuple[Decode, str]]:
    """Those installed here, with the package that each comes from; the package's own first."""
    found = {
        "simplejpeg": (simplejpeg.decode_jpeg, "simplejpeg"),
        "simplejpeg, fast DCT and upsampling": (
            lambda data: simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True),
            "simplejpeg",
        ),
        "Pillow": (with_pillow, "pillow"),
    }
    if version_of("opencv-python-headless") != "not installed":
        import cv2

        cv2.setNumThreads(1)
        as_rgb = cv2.IMREAD_COLOR_RGB
        found["OpenCV"] = lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), as_rgb), "opencv-python-headless"
    if version_of("imagecodecs") != "not installed":
        import imagecodecs

        found["imagecodecs"] = imagecodecs.jpeg8_decode, "imagecodecs"
    return found


def compare(files: Sequence[bytes], rounds: int, flipped: int = FLIPPED) -> dict[str, dict]:
    """For each decoder microseconds a frame, the ratio to Pillow, equality to Pillow's bits, and faults noticed.

    Args:
        flipped: how many copies with one flipped bit in the coded data are given to each.
    """
    found = decoders()

    def of_all(decode: Decode) -> Callable[[], None]:
        def call():
            for data in files:
                decode(data)

        return call

    times = interleave({name: of_all(decode) for name, (decode, _) in found.items()}, rounds, "cpu")
    damaged = list(damage(files, flipped))
    result = {}
    for name, (decode, package) in found.items():
        result[name] = {
            "version": version_of(package),
            "us": spread([1e6 * time / len(files) for time in times[name]]),
            "ratio_to_pillow": ratios(times[name], times["Pillow"]),
            "same_bits_as_pillow": all(np.array_equal(decode(data), with_pillow(data)) for data in files),
            "flipped_bits_refused": rounded(sum(refuses(decode, data) for data in damaged) / max(1, flipped)),
        }
    return result


def damage(files: Sequence[bytes], count: int):
    """Copies of the files with one bit of the coded data flipped."""
    random = np.random.default_rng(0)
    for number in range(count):
        data = bytearray(files[number % len(files)])
        scan = data.rindex(b"\xff\xda")
        first = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4])
        data[random.integers(first, len(data) - 2)] ^= 1 << random.integers(8)
        yield bytes(data)


def refuses(decode: Decode, data: bytes) -> bool:
    """Whether the decoder says that something is wrong."""
    try:
        return decode(data) is None
    except Exception:
        return True

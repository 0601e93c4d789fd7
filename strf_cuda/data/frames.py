"""Read one frame file into pixels: strictly, since half a picture trained on in silence is worse than an error."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from strf_cuda.errors import InputError

_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"  # the markers before the coded data and after the last
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def read_frame(path: str, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    """Decode a frame, as RGB, and resize it with a bicubic filter where its size differs.

    Grey, palette and CMYK pictures are converted; transparent pixels are laid over black.

    Args:
        path: a file in any format that Pillow reads.
        height, width: the size wanted, in pixels.
        out: where to write, uint8 [height, width, 3]; a new array without it.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: the file is missing, truncated, corrupt or no 8-bit picture; the message names it and the cause.
            What libjpeg recovers from within a JPEG's coded data (a flipped bit) Pillow does not tell, so it passes.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise InputError(f"frame {path} cannot be read: {error.strerror}") from error
    if not data:
        raise InputError(f"frame {path} is empty (0 bytes): copy or download it again")

    try:
        picture = Image.open(io.BytesIO(data))
        picture.load()
        if picture.format == "JPEG" and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
            raise OSError("its end is missing")  # where zeros fill the place, libjpeg decodes them
    except UnidentifiedImageError as error:
        raise InputError(f"frame {path} is not a picture in a format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"frame {path} is too large: Pillow refuses it ({error})") from error
    except Exception as error:  # a damaged file makes Pillow's format plugins raise almost anything
        cause = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"frame {path} is damaged ({cause}): copy or download it again") from error

    if picture.mode in _DEEP_MODES:
        raise InputError(f"frame {path} has more than 8 bits a pixel (mode {picture.mode}): save it with 8 bits")
    if picture.mode != "RGB":
        picture = _to_rgb(picture)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    if out is None:
        return np.array(picture)
    out[...] = np.asarray(picture)
    return out


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("RGB")
    return picture.convert("RGB")

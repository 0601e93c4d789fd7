"""Read one frame file into pixels: strictly, since half a picture trained on in silence is worse than an error.

JPEGs are decoded by simplejpeg, in less than half the time that Pillow takes and to the same bits, and whatever libjpeg
warns of is an error. Every other picture is Pillow's: other formats, CMYK, and JPEG headers that simplejpeg refuses.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, UnidentifiedImageError

from strf_cuda.data.packed import PackedFrame
from strf_cuda.errors import InputError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
_DECODED_AS_RGB = ("YCbCr", "RGB", "Gray")
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


class Header(NamedTuple):
    """Size in pixels, format and colour mode as Pillow names them, and the bytes of the file."""

    height: int
    width: int
    format: str
    mode: str
    bytes: int


def read_frame(path: str, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    """Decode a frame, as RGB, and resize it with a bicubic filter where its size differs.

    Grey, palette and CMYK pictures are converted; transparent pixels are laid over black.

    Args:
        path: a file in any format that Pillow reads, or a frame of a packed data set.
        height, width: the size wanted, in pixels.
        out: where to write, uint8 [height, width, 3]; a new array without it.

    Returns:
        uint8 [height, width, 3].

    Raises:
        InputError: the file is missing, truncated, corrupt or no 8-bit picture; the message names it and the cause.
            Damage within a JPEG's coded data that decodes to other valid codes nobody can tell, so it passes.
    """
    data = _read_file(path)
    size = _jpeg_size(data)
    if size == (height, width) and (out is None or out.flags.c_contiguous):
        decoded = _decode_jpeg(path, data, out)
        return decoded if out is None else out
    picture = _open_picture(path, data) if size is None else Image.fromarray(_decode_jpeg(path, data))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    if out is None:
        return np.array(picture)
    out[...] = np.asarray(picture)
    return out


def read_header(path: str) -> Header:
    """What a frame's header says, without decoding the picture.

    Raises:
        InputError: the file is missing or empty, or its header is no picture's.
    """
    data = _read_file(path)
    with _said_of(path), Image.open(io.BytesIO(data)) as picture:
        return Header(picture.height, picture.width, picture.format or "", picture.mode, len(data))


def _read_file(path: str) -> bytes:
    try:
        if isinstance(path, PackedFrame):
            data = path.read()
        else:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise InputError(f"frame {path} cannot be read: {error.strerror}{_missing_folder(path)}") from error
    if not data:
        raise InputError(f"frame {path} is empty (0 bytes): copy or download it again")
    return data


def _missing_folder(path: str) -> str:
    """The uppermost folder on the way that is not there, as for a network drive that has gone."""
    if isinstance(path, PackedFrame):
        return ""
    missing = [folder for folder in Path(path).parents if not os.path.exists(folder)]
    return f"; the folder {missing[-1]} is missing" if missing else ""


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Height and width of a JPEG that simplejpeg decodes to RGB; None for whatever is left to Pillow."""
    if not data.startswith(_JPEG_START):
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):  # KeyError: 4:4:1 has no name there
        return None
    too_large = Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS
    return (height, width) if colours in _DECODED_AS_RGB and not too_large else None


def _decode_jpeg(path: str, data: bytes, out: np.ndarray | None = None) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(data, buffer=out)
    except ValueError as error:
        raise _damaged(path, error) from error


def _open_picture(path: str, data: bytes) -> Image.Image:
    """Decode by Pillow, to RGB."""
    with _said_of(path):
        picture = Image.open(io.BytesIO(data))
        picture.load()
        if picture.format == "JPEG" and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
            raise OSError("its end is missing")  # where zeros fill the place, libjpeg decodes them
    if picture.mode in _DEEP_MODES:
        raise InputError(f"frame {path} has more than 8 bits a pixel (mode {picture.mode}): save it with 8 bits")
    return picture if picture.mode == "RGB" else _to_rgb(picture)


@contextmanager
def _said_of(path: str) -> Iterator[None]:
    """Whatever Pillow raises, as a sentence about the frame."""
    try:
        yield
    except UnidentifiedImageError as error:
        raise InputError(f"frame {path} is not a picture in a format that Pillow knows") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"frame {path} is too large: Pillow refuses it ({error})") from error
    except Exception as error:  # a damaged file makes Pillow's format plugins raise almost anything
        raise _damaged(path, error) from error


def _damaged(path: str, error: Exception) -> InputError:
    cause = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"frame {path} is damaged ({cause}): copy or download it again")


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "black"), picture).convert("RGB")
    return picture.convert("RGB")

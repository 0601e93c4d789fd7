"""Read one frame file into pixels: strictly, since half a picture trained on in silence is worse than an error.

JPEGs are decoded by simplejpeg, in less than half the time that Pillow takes and to the same bits, and whatever libjpeg
warns of is an error. Every other picture is Pillow's: other formats, CMYK, and JPEG headers that simplejpeg refuses.
Whoever reads frames does it here, so all of them see a picture upright, by the orientation that its EXIF data name.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, UnidentifiedImageError

from strf_cuda.contents import in_its_place
from strf_cuda.data.packed import PackedFrame
from strf_cuda.errors import InputError

_JPEG_START, _JPEG_SCAN, _JPEG_END = b"\xff\xd8\xff", b"\xff\xda", b"\xff\xd9"
_DECODED_AS_RGB = ("YCbCr", "RGB", "Gray")
_DEEP_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # to stand upright, by EXIF orientation
_ON_ITS_SIDE = (5, 6, 7, 8)


class Header(NamedTuple):
    """Size in pixels of the upright picture, format and colour mode as Pillow names them, and the bytes of the file."""

    height: int
    width: int
    format: str
    mode: str
    bytes: int


def read_frame(path: str, height: int, width: int, out: np.ndarray | None = None) -> np.ndarray:
    """Decode a frame, as RGB and upright by its EXIF orientation, and resize it, bicubic, where its size differs.

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
    orientation = 1 if size is None else _jpeg_orientation(data)
    if size == (height, width) and orientation == 1 and (out is None or out.flags.c_contiguous):
        decoded = _decode_jpeg(path, data, out)
        return decoded if out is None else out
    if size is None:
        picture = _open_picture(path, data)
        orientation = _orientation(picture)
    else:
        picture = Image.fromarray(_decode_jpeg(path, data))
    if orientation != 1:
        picture = picture.transpose(_TURNS[orientation])
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    if out is None:
        return np.array(picture)
    out[...] = np.asarray(picture)
    return out


def read_header(path: str) -> Header:
    """What a frame's header says, without decoding the picture, but for a PNG, whose orientation may stand at its end.

    Raises:
        InputError: the file is missing or empty, or its header is no picture's.
    """
    data = _read_file(path)
    with _said_of(path, data), Image.open(io.BytesIO(data)) as picture:
        size = picture.size[:: 1 if _orientation(picture) in _ON_ITS_SIDE else -1]
        return Header(*size, picture.format or "", picture.mode, len(data))


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


def _jpeg_orientation(data: bytes) -> int:
    """The EXIF orientation of a JPEG, 1 to 8.

    Most have none: then no APP1 segment is among those of applications and comments, which come first, and Pillow need
    not be asked.
    """
    place = 2
    try:
        while (marker := data[place + 1]) >= 0xE0 and marker not in (0xE1, 0xFF):
            place += 2 + (data[place + 2] << 8) + data[place + 3]
        return _orientation(Image.open(io.BytesIO(data))) if marker >= 0xE0 else 1
    except Exception:  # what simplejpeg reads and Pillow does not
        return 1


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or one that is damaged, and of TIFF, which Pillow turns."""
    if picture.format == "TIFF":
        return 1
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged EXIF data make Pillow raise almost anything
        return 1
    return orientation if orientation in _TURNS else 1


def _decode_jpeg(path: str, data: bytes, out: np.ndarray | None = None) -> np.ndarray:
    try:
        return simplejpeg.decode_jpeg(data, buffer=out)
    except ValueError as error:
        raise _damaged(path, error) from error


def _open_picture(path: str, data: bytes) -> Image.Image:
    """Decode by Pillow, to RGB."""
    with _said_of(path, data):
        picture = Image.open(io.BytesIO(data))
        picture.load()
        if picture.format == "JPEG" and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
            raise OSError("its end is missing")  # where zeros fill the place, libjpeg decodes them
    if picture.mode in _DEEP_MODES:
        raise InputError(f"frame {path} has more than 8 bits a pixel (mode {picture.mode}): save it with 8 bits")
    return picture if picture.mode == "RGB" else _to_rgb(picture)


@contextmanager
def _said_of(path: str, data: bytes) -> Iterator[None]:
    """Whatever Pillow raises, as a sentence about the frame."""
    try:
        yield
    except UnidentifiedImageError as error:
        found = in_its_place(data, or_text=True) or "not a picture in a format that Pillow knows"
        raise InputError(f"frame {path} is {found}") from error
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

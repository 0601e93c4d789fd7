"""Decoding of one frame: size, colour modes, and faults named in one sentence."""

import numpy as np
import pytest
from PIL import Image

from images import noise_jpeg
from strf_cuda.data.frames import read_frame
from strf_cuda.errors import InputError

RGB = (200, 100, 50)


def save(picture, path):
    picture.save(path)
    return str(path)


def test_a_frame_of_the_right_size_keeps_its_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / "frame.png")
    frame = read_frame(path, 64, 32)
    assert frame.dtype == np.uint8 and frame.flags.writeable
    assert (frame == pixels).all()


def test_another_size_is_resized_as_pillow_does_it_with_a_bicubic_filter(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    path = save(Image.fromarray(pixels), tmp_path / "frame.png")
    expected = np.asarray(Image.fromarray(pixels).resize((32, 64), Image.Resampling.BICUBIC))
    assert (read_frame(path, 64, 32) == expected).all()


def test_a_frame_is_written_where_it_is_wanted(tmp_path):
    path = save(Image.new("RGB", (32, 64), RGB), tmp_path / "frame.png")
    clip = np.zeros((2, 64, 32, 3), np.uint8)
    assert read_frame(path, 64, 32, out=clip[1]).base is clip
    assert (clip[1] == RGB).all() and not clip[0].any()


@pytest.mark.parametrize(
    ("mode", "colour", "name", "expected"),
    [
        ("L", 90, "grey.jpg", (90, 90, 90)),
        ("1", 1, "bits.png", (255, 255, 255)),
        ("CMYK", (55, 155, 205, 0), "cmyk.jpg", RGB),
        ("RGBA", (*RGB, 255), "opaque.png", RGB),
        ("RGBA", (*RGB, 0), "transparent.png", (0, 0, 0)),
        ("RGBA", (200, 100, 50, 128), "half.png", (100, 50, 25)),
        ("LA", (90, 0), "grey-transparent.png", (0, 0, 0)),
    ],
)
def test_other_colour_modes_become_rgb(tmp_path, mode, colour, name, expected):
    path = save(Image.new(mode, (32, 64), colour), tmp_path / name)
    frame = read_frame(path, 64, 32).astype(int)
    assert np.abs(frame - expected).max() <= 2


def test_a_palette_becomes_rgb(tmp_path):
    path = save(Image.new("RGB", (32, 64), RGB).quantize(4), tmp_path / "palette.gif")
    assert Image.open(path).mode == "P"
    assert np.abs(read_frame(path, 64, 32).astype(int) - RGB).max() <= 8


def test_sixteen_bit_pictures_are_refused(tmp_path):
    path = save(Image.fromarray(np.full((64, 32), 3000, np.uint16)), tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep.png has more than 8 bits"):
        read_frame(path, 64, 32)


def with_patch(data, start, patch):
    return data[:start] + patch + data[start + len(patch) :]


JPEG = noise_jpeg()
FAULTS = {
    "empty": (b"", "is empty"),
    "text": (b"no picture at all", "not a picture"),
    "header-only": (JPEG[:100], "damaged|not a picture"),
    "truncated": (JPEG[: len(JPEG) * 2 // 3], "damaged .*truncated"),
    "end-marker-lost": (JPEG[:-2], "damaged .*its end is missing|truncated"),
    "zeros-at-the-end": (JPEG[: len(JPEG) // 2] + bytes(len(JPEG) - len(JPEG) // 2), "damaged"),
    "header-overwritten": (with_patch(JPEG, 20, bytes(range(200))), "damaged|not a picture"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_names_the_file_and_the_cause_in_one_sentence(tmp_path, name):
    data, cause = FAULTS[name]
    path = tmp_path / f"{name}.jpg"
    path.write_bytes(data)
    with pytest.raises(InputError, match=cause) as caught:
        read_frame(str(path), 64, 32)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_png_is_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    path = tmp_path / "frame.png"
    save(Image.fromarray(pixels), path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"frame.png is damaged"):
        read_frame(str(path), 64, 32)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"absent.jpg cannot be read: No such file"):
        read_frame(str(tmp_path / "absent.jpg"), 64, 32)
    with pytest.raises(InputError, match=r"cannot be read: Is a directory"):
        read_frame(str(tmp_path), 64, 32)


def test_a_picture_beyond_the_size_limit_is_refused(tmp_path, monkeypatch):
    path = save(Image.new("RGB", (32, 64), RGB), tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 64 // 2 - 1)
    with pytest.raises(InputError, match=r"large.png is too large"):
        read_frame(path, 64, 32)

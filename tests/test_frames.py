"""Decoding of one frame: size, colour modes, and faults named in one sentence."""

import io
import itertools

import numpy as np
import pytest
from PIL import ExifTags, Image

from images import noise_jpeg
from strf_cuda.data.frames import read_frame, read_header
from strf_cuda.errors import InputError
from test_contents import POINTER

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


def textured(height, width):
    """A picture with smooth and with rough parts."""
    rows, columns = np.mgrid[:height, :width]
    smooth = np.stack([rows * columns // 9, 3 * rows + 2 * columns, 255 - 5 * rows], -1) % 256
    noise = np.random.default_rng(0).integers(-20, 20, smooth.shape)
    return Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8))


def jpeg(picture, **options):
    file = io.BytesIO()
    picture.save(file, "JPEG", **options)
    return file.getvalue()


def as_pillow_decodes(data, size=None):
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return np.asarray(picture if size is None else picture.resize(size, Image.Resampling.BICUBIC))


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("sampling", ["4:4:4", "4:2:2", "4:2:0", "4:1:1", "grey", "rgb", "restarts", "cmyk"])
def test_jpegs_are_decoded_to_the_bits_that_pillow_gives(tmp_path, sampling, progressive):
    options = {"rgb": {"keep_rgb": True}, "restarts": {"restart_marker_blocks": 2}, "grey": {}, "cmyk": {}}
    mode = {"grey": "L", "cmyk": "CMYK"}.get(sampling, "RGB")
    path = tmp_path / "frame.jpg"
    for (height, width), quality in itertools.product([(64, 32), (61, 37), (9, 17), (2, 3), (1, 1)], [40, 90]):
        picture = textured(height, width).convert(mode)
        data = jpeg(
            picture, quality=quality, progressive=progressive, **options.get(sampling, {"subsampling": sampling})
        )
        path.write_bytes(data)
        assert (read_frame(str(path), height, width) == as_pillow_decodes(data)).all()
        assert (read_frame(str(path), 64, 32) == as_pillow_decodes(data, (32, 64))).all()


def test_a_jpeg_is_written_where_it_is_wanted_also_where_rows_are_apart(tmp_path):
    path = tmp_path / "frame.jpg"
    path.write_bytes(jpeg(textured(64, 32)))
    expected = read_frame(str(path), 64, 32)
    clip = np.zeros((2, 64, 40, 3), np.uint8)
    read_frame(str(path), 64, 32, out=clip[1, :, :32])
    assert (clip[1, :, :32] == expected).all() and not clip[0].any() and not clip[1, :, 32:].any()


def with_patch(data, start, patch):
    return data[:start] + patch + data[start + len(patch) :]


def with_sampling(data, *factors):
    """The same coded data under other sampling factors of its three components."""
    start = data.index(b"\xff\xc0") + 11
    for component, factor in enumerate(factors):
        data = with_patch(data, start + 3 * component, bytes([factor]))
    return data


@pytest.mark.parametrize(
    "data",
    [
        with_patch(jpeg(textured(64, 32)), 11, b"\x02"),
        with_sampling(jpeg(textured(64, 32)), 0x22, 0x21, 0x11),
        with_sampling(jpeg(textured(64, 32)), 0x14, 0x11, 0x11),
    ],
    ids=["unknown JFIF revision", "unusual sampling", "4:4:1"],
)
def test_headers_that_the_faster_decoder_does_not_know_are_left_to_pillow(tmp_path, data):
    path = tmp_path / "frame.jpg"
    path.write_bytes(data)
    assert (read_frame(str(path), 64, 32) == as_pillow_decodes(data)).all()


UPRIGHT = np.zeros((40, 24, 3), np.uint8)
UPRIGHT[:20, :12], UPRIGHT[:20, 12:], UPRIGHT[20:, :12] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
STORED = {  # by what EXIF calls it
    1: lambda pixels: pixels,
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, 1),
    7: lambda pixels: pixels[::-1, ::-1].transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, -1),
}


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("orientation", STORED)
def test_a_picture_is_read_upright_as_its_exif_data_say(tmp_path, orientation, suffix):
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](UPRIGHT)))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = str(tmp_path / f"frame.{suffix}")
    stored.save(path, exif=exif, quality=100)
    assert read_header(path)[:2] == (40, 24)
    frame, clip = read_frame(path, 40, 24), np.zeros((2, 40, 24, 3), np.uint8)
    assert np.abs(frame.astype(int) - UPRIGHT).mean() < 6  # colours are coded for blocks of pixels
    assert (read_frame(path, 40, 24, out=clip[1]) == frame).all() and not clip[0].any()
    assert (read_frame(path, 20, 12) == np.asarray(Image.fromarray(frame).resize((12, 20)))).all()


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "exif", [b"", b"rubbish", b"MM\0*\0\0\0\x08\0\x05", b"II*\0\x08\0\0\0\x01\0\x12\x01\3\0\1\0\0\0\x09\0\0\0"]
)
def test_damaged_exif_data_and_unknown_orientations_turn_nothing(tmp_path, exif):
    for suffix in ("jpg", "png"):
        path = str(tmp_path / f"frame.{suffix}")
        Image.fromarray(UPRIGHT).save(path, exif=b"Exif\0\0" + exif, quality=100)
        assert np.abs(read_frame(path, 40, 24).astype(int) - UPRIGHT).mean() < 6
        assert read_header(path)[:2] == (40, 24)


def test_sixteen_bit_pictures_are_refused(tmp_path):
    path = save(Image.fromarray(np.full((64, 32), 3000, np.uint16)), tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep.png has more than 8 bits"):
        read_frame(path, 64, 32)


JPEG = noise_jpeg()
CMYK = jpeg(Image.open(io.BytesIO(JPEG)).convert("CMYK"), quality=90)
FAULTS = {
    "empty": (b"", "is empty"),
    "text": (b"no picture at all", "is text, which begins with 'no picture at all'"),
    "bytes": (bytes(range(200)), "not a picture"),
    "pointer": (
        POINTER,
        "is a Git LFS pointer in place of the file: git lfs pull fetches it",
    ),
    "page": (
        b"\n<!DOCTYPE html><html><head><title>404</title></head></html>",
        "is a page of HTML, .*download it again",
    ),
    "header-only": (JPEG[:100], "damaged|not a picture"),
    "truncated": (JPEG[: len(JPEG) * 2 // 3], "damaged .*Premature end"),
    "end-marker-lost": (JPEG[:-2], "damaged .*Premature end"),
    "zeros-at-the-end": (JPEG[: len(JPEG) // 2] + bytes(len(JPEG) - len(JPEG) // 2), "damaged .*Premature end"),
    "cmyk-cut": (CMYK[: len(CMYK) * 2 // 3], "damaged .*truncated"),
    "cmyk-with-zeros": (CMYK[: len(CMYK) // 2] + bytes(len(CMYK) - len(CMYK) // 2), "damaged .*its end is missing"),
    "codes-overwritten": (with_patch(JPEG, len(JPEG) // 2, bytes(range(100))), "damaged .*Corrupt JPEG data"),
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


def test_no_damage_that_pillow_finds_passes_and_much_that_it_does_not_is_found(tmp_path):
    path = tmp_path / "frame.jpg"
    data = jpeg(textured(64, 32), quality=90)
    random = np.random.default_rng(0)
    found = []
    for place in random.integers(data.index(b"\xff\xda") + 14, len(data) - 2, 300).tolist():
        flipped = with_patch(data, place, bytes([data[place] ^ 1 << int(random.integers(8))]))
        path.write_bytes(flipped)
        try:
            frame = read_frame(str(path), 64, 32)
        except InputError:
            frame = None
        try:
            expected = as_pillow_decodes(flipped)
        except OSError:
            expected = None
        assert frame is None or (frame == expected).all()
        found.append((frame is None, expected is None))
    ours, pillows = np.sum(found, 0)
    assert ours > 60 > 20 > pillows


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
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 32 * 64 // 2 - 1)
    for name in ("large.png", "large.jpg"):
        path = save(Image.new("RGB", (32, 64), RGB), tmp_path / name)
        with pytest.raises(InputError, match=rf"{name} is too large"):
            read_frame(path, 64, 32)

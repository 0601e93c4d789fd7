"""The benchmark of the input pipeline: all loaders give the same clips, and the figures are written."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from bench import data as bench_data
from bench.decoders import compare, damage
from bench.loaders import PlainClips, ReidClips, Task, of_clips, ours
from images import noise_jpeg
from strf_cuda.data import open_dataset
from trees import write_mars

TASK = Task(people=2, clips=2, frames=2, stride=1, height=32, width=16, flip=0, erase=0)


@pytest.fixture(scope="module")
def tracklets(tmp_path_factory):
    root = write_mars(tmp_path_factory.mktemp("data") / "mars", size=(20, 40))
    return open_dataset("mars", str(root)).train


@pytest.mark.parametrize("clips", [PlainClips, ReidClips])
def test_every_loader_gives_the_same_clips(tracklets, clips):
    many = list(tracklets) * 4
    compared = 0
    for one, other in zip(ours(many, TASK, 0, "cpu"), of_clips(clips)(many, TASK, 0, "cpu"), strict=True):
        assert one.dtype == other.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)
        compared += len(one)
    assert compared >= 8


@pytest.mark.parametrize("clips", [PlainClips, ReidClips])
def test_other_loaders_flip_and_erase_too(tracklets, clips):
    (plain, *_), (changed, *_) = (
        of_clips(clips)(tracklets, task, 0, "cpu") for task in (TASK, Task(**{**vars(TASK), "flip": 1, "erase": 1}))
    )
    assert plain.shape == changed.shape
    assert (clips is ReidClips) == bool((changed == 0).any(1).flatten(2).all(1).any())


def test_decoders_are_compared_on_time_bits_and_damage():
    files = [noise_jpeg(), noise_jpeg(32, 32)]
    found = compare(files, 1, flipped=20)
    assert list(found)[:3] == ["simplejpeg", "simplejpeg, fast DCT and upsampling", "Pillow"]
    assert found["simplejpeg"]["same_bits_as_pillow"] and found["Pillow"]["ratio_to_pillow"]["median"] == 1
    assert found["simplejpeg"]["flipped_bits_refused"] >= found["Pillow"]["flipped_bits_refused"]
    for data, original in zip(damage(files, 2), files, strict=True):
        bits = np.unpackbits(np.frombuffer(data, np.uint8)) != np.unpackbits(np.frombuffer(original, np.uint8))
        assert bits.sum() == 1 and bits.argmax() // 8 > original.index(b"\xff\xda")


def test_batches_that_were_ready_before_are_not_timed(monkeypatch):
    seconds, clock = [], iter(range(100))
    monkeypatch.setattr(bench_data.time, "perf_counter", lambda: float(next(clock)))

    def contender(tracklets, task, workers, device):
        for number in range(100):
            seconds.append(number)
            yield number

    assert bench_data.seconds_a_batch(contender, [None], TASK, 2, "cpu", 4) == 0.25
    assert len(seconds) == (1 + 2 * 2) + 4


def test_the_benchmark_writes_figures_and_plot(tmp_path, capsys):
    bench_data.main(["--quick", "--workers", "0", "--device=cpu", f"--out={tmp_path}/data.json"])
    result = json.loads((tmp_path / "data.json").read_text())
    assert [entry["frames"].split()[0] for entry in result["sets"]] == ["32x64", "26x60"]
    for entry in result["sets"]:
        (found,) = entry["loaders"].values()
        assert list(found) == [
            "strf_cuda",
            "strf_cuda, not augmented",
            "strf_cuda, packed",
            "plain Pillow and torch",
            "re-ID code",
        ]
        assert all(figures["frames_per_s"]["median"] > 0 for figures in found.values())
        assert found["re-ID code"]["ratio"]["median"] == 1
        assert entry["floor"]["frames_per_s_a_core"] > 0
    assert list(result["batch"]["ms"]) == ["stack", "stack and share", "augment"]
    assert result["batch"]["bytes_as_float32"] == 4 * result["batch"]["bytes"] == 4 * 8 * 64 * 32 * 3 * 2
    assert result["command"].startswith("python -m bench.data") and result["versions"]["simplejpeg"]
    assert (tmp_path / "data.png").read_bytes().startswith(b"\x89PNG")
    assert "decoder" in capsys.readouterr().out


def test_the_benchmark_takes_a_real_data_set(tmp_path):
    root = write_mars(tmp_path / "mars", size=(16, 32))
    one = next((root / "bbox_train" / "0001").iterdir())
    Image.open(one).save(one, "PNG")  # whatever it is called
    options = ["--quick", "--workers", "0", "--rounds=1", "--device=cpu", f"--out={tmp_path}/data.json"]
    bench_data.main([*options, f"--root={root}"])
    (entry,) = json.loads((tmp_path / "data.json").read_text())["sets"]
    assert entry["frames"] == "MARS"

"""Made what lies here, in a checkout of the version before `model.similarity` (e5a1f3c); not run by any test.

    cd CHECKOUT && PYTHONPATH=. python make.py FOLDER

One epoch of a very small network on the walkers of tests/conftest.py, its model folder, a gallery, an exported program
that calls the operator library, an ONNX file, and what that version computed with them: features and fingerprint.
"""

import json
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from strf_cuda import export, extract, train
from strf_cuda.cli import load_config, to_dict
from strf_cuda.config import PRESETS, TrainConfig
from strf_cuda.data.walkers import WalkersConfig, make_walkers
from strf_cuda.exporting.embedder import embedder, example_clips
from strf_cuda.trained import open_model

WALKERS = dict(
    train_people=4, test_people=4, gait_groups=1, pace_groups=0, cameras_per_person=3, distractors=1, junk=1,
    height=32, width=16, frames=10,
)  # fmt: skip
OPTIONS = [
    "--data.height=32", "--data.width=16", "--data.people=2", "--data.clips=2", "--data.stride=2", "--data.workers=0",
    "--model.width=2", "--model.depth=[1, 1, 1, 1]", "--model.reduction=2", "--evaluation.every=1",
    "--evaluation.stride=2", "--epochs=1", "--device=cpu",
]  # fmt: skip
# Options of models without weights here, by name: the text that the version's fingerprints began with.
ARCHITECTURES = {
    "default": [],
    "temperature": ["--model.temperature=2"],
    "c2d": ["--model.kind=c2d", "--model.unit=none"],
    "c2d, temperature": ["--model.kind=c2d", "--model.unit=none", "--model.temperature=2.5"],
    "nonlocal": ["--model.unit=nonlocal", "--model.stages=[3]"],
    "gram": ["--model.unit=gram", "--model.integration=parallel"],
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1]).resolve()
    walkers = make_walkers(out / "walkers", WalkersConfig(**WALKERS), progress=False)
    train.main([*OPTIONS, f"--data.root={walkers}", f"--out={out}/run"])
    shutil.rmtree(out / "run" / "tensorboard")
    (out / "run" / "best.ckpt").unlink()
    checkpoint = f"--checkpoint={out}/run/last.ckpt"
    for form, name in {"safetensors": "folder", "export": "program.pt2", "onnx": "model.onnx"}.items():
        export.main([checkpoint, f"--format={form}", f"--out={out}/{name}"])
    extract.main([checkpoint, "--lists=gallery", f"--out={out}/gallery.safetensors"])
    trained = open_model(out / "run" / "last.ckpt")
    clips = example_clips(trained)
    with torch.inference_mode():
        features = embedder(trained, backend="reference")(clips)
    save_file({"clips": clips, "features": features}, out / "features.safetensors")
    architectures = {}
    for name, options in ARCHITECTURES.items():
        config = load_config(TrainConfig, options, prog="", presets=PRESETS)
        architecture = {**to_dict(config.model), "weights": None, "recompute": None}
        architectures[name] = {"options": options, "text": json.dumps(architecture, sort_keys=True)}
    said = {"fingerprint": trained.fingerprint, "architectures": architectures}
    (out / "said.json").write_text(json.dumps(said, indent=1) + "\n")
    shutil.rmtree(walkers)

#!/bin/sh
# Makes the virtual environment $VENV with strf_cuda and all it needs; called by the Makefile.
set -eu

"$PYTHON" - <<'CHECK' || exit 1
import sys
if sys.version_info < (3, 11):
    sys.exit("error: Python %d.%d is too old; give a newer one: make PYTHON=python3.11" % sys.version_info[:2])
CHECK

# The folder of a torch >= 2.10 that is installed already, or nothing.
installed=$("$PYTHON" - <<'CHECK' 2>/dev/null || true
import pathlib
import torch
if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 10):
    print(pathlib.Path(torch.__file__).parents[1])
CHECK
)

"$PYTHON" -m venv "$VENV"
constraints=constraints.txt
if [ -n "$installed" ]; then
    echo "using the torch in $installed; installing the other packages, once"
    # A .pth file and not --system-site-packages, which skips the packages of a virtual environment.
    packages=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$installed" > "$packages/installed_torch.pth"
    constraints="$VENV/constraints.txt"
    grep -v -e '^torch==' -e '^triton==' constraints.txt > "$constraints"
else
    echo "installing torch $(sed -n 's/^torch==//p' constraints.txt) and the other packages, once"
fi
pip() {
    "$VENV/bin/python" -m pip --quiet --disable-pip-version-check install $PIP_FLAGS -c "$constraints" "$@"
}
# What the build needs comes first: it reads the headers of this torch.
tools="setuptools torch"
command -v cmake > /dev/null || tools="$tools cmake"
command -v ninja > /dev/null || tools="$tools ninja"
pip $tools
PATH="$PATH:$(cd "$VENV/bin" && pwd)"
"$VENV/bin/python" setup.py --quiet build_native --inplace
pip --no-build-isolation -e ".[test]"

#!/usr/bin/env bash
# Everything that needs a GPU, in one command on a machine that has one, within ten minutes:
#
#     bash bench/gpu.sh OUT
#
# Builds the library in place, runs the tests that need a GPU, the benchmarks and compute-sanitizer. It installs nothing:
# python3 (or $PYTHON) must have torch built for CUDA, cmake, ninja, pytest and hypothesis, and nvcc must be there.
#
# OUT gets summary.md, log.txt with what every step printed, the tests' results as XML, and the benchmarks' JSON and
# plots; all of it as it comes, so that what was reached is there even if the command is stopped.
set -u
cd "$(dirname "$0")/.."
mkdir -p "${1:?give the folder for logs and figures: bash bench/gpu.sh OUT}"
out=$(cd "$1" && pwd)
python=${PYTHON:-python3}
PATH="$PATH:$(dirname "$(command -v "$python")")" # cmake and ninja of a virtual environment
export PYTHONUNBUFFERED=1
end=585 # seconds

failed=0
: > "$out/log.txt"
printf '| step | result | seconds |\n| --- | --- | ---: |\n' > "$out/summary.md"

# step NAME SECONDS COMMAND...: runs the command for at most so long; the next step comes whatever becomes of it.
step() {
  local name=$1 limit=$2 started=$SECONDS result status
  shift 2
  ((limit > end - SECONDS)) && limit=$((end - SECONDS))
  printf '\n==== %s: %s\n' "$name" "$*" | tee -a "$out/log.txt"
  if ((limit < 5)); then
    status=1 result="not started, no time left"
  else
    timeout --kill-after=5 "$limit" "$@" >> "$out/log.txt" 2>&1 < /dev/null
    status=$?
    case $status in
      0) result="done" ;;
      124 | 137) result="stopped after $limit s" ;;
      *) result="failed with status $status" ;;
    esac
  fi
  ((status)) && failed=1
  printf '| %s | %s | %d |\n' "$name" "$result" $((SECONDS - started)) >> "$out/summary.md"
  tail -n 4 "$out/log.txt"
}

# What there is; fails where the kernels cannot run, since the tests would only skip.
machine() {
  nvidia-smi
  nvcc --version || /usr/local/cuda/bin/nvcc --version
  "$python" -m strf_cuda
  for backend in cuda triton; do
    "$python" -c 'import sys, strf_cuda
said = strf_cuda.backends()[sys.argv[1]]
sys.exit(said != "usable" and said)' $backend || return 1
  done
}
export -f machine
export python

# Files that can be read without the packages of training; in several processes where pytest-xdist is installed.
mapfile -t tests < <(grep -lE 'mark\.gpu|BACKENDS|on_every_backend|\bFAST\b' tests/test_*.py | grep -vE 'sanitized|augment|train_on_gpu|program_on_gpu')
workers=()
"$python" -c 'import xdist' 2> /dev/null && workers=(-n 8)
pytest=("$python" -m pytest -p no:cacheprovider --tb=short)

step build 200 "$python" setup.py --quiet build_native --inplace
step machine 30 bash -c machine
step tests 200 "${pytest[@]}" -m "gpu and not slow" "${workers[@]}" --junit-xml="$out/tests.xml" "${tests[@]}"
step "training step" 90 "$python" -m bench.training_step --device cuda --out "$out/training_step.json"
step operator 240 "$python" -m bench.operator --device cuda --rounds 9 --out "$out/operator.json"
step sanitizer 150 "${pytest[@]}" -m gpu --junit-xml="$out/sanitizer.xml" tests/test_gpu_sanitized.py

printf '\n'
cat "$out/summary.md"
exit $failed

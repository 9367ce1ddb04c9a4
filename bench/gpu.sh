#!/usr/bin/env bash
# The GPU benchmark in one command, on any machine with CUDA, PyTorch and the built binaries: first the tests, then
# PyTorch and Sublet on the same models in the same run. Nothing is built here; `cargo xtask bench gpu` builds first.
#
#   bench/gpu.sh --bin DIR [--out DIR] [--work DIR] [--device cuda:0]
#                [--models all|a,b] [--dtypes f32,f16] [--batches 1,8,32]
#                [--steps tests,export,torch,models,throughput,soak,serve,startup,sanitize]
#                [--node-data FOLDER|ARCHIVE] [--jobs N] [--best] [--static] [--resume]
#                [--lean] [--time-limit SECONDS] [--models-args …] [--soak-args …] [--throughput-args …]
# With several GPUs, the step `soak` alone uses more than one: --soak-args '--beside cuda:1'
#
# --bin         folder with gpu-bench, sublet, and cuda-tests-* (the CUDA device's own): `cargo xtask gpu-build`
# --out         results as JSON and tables               [bench/results/gpu-<date>]
# --work        exported models, kept between runs       [/tmp/sublet-gpu]
# --node-data   ONNX's node tests, or a tar archive of the folder `node`
# --resume      go on after the models that the results have already
# --lean        for a short lease: batch 1 unless --batches names others, fewer repeats, a shorter soak
# --time-limit  begin with no step and no model after so many seconds; --resume measures the models that are left
# --*-args      further arguments of one step, as one word: see `gpu-bench STEP --help`
# The step `sanitize` is not among the defaults: compute-sanitizer's memcheck, and racecheck of our kernels, over a short
# soak of mobilenet_v2, which must have been exported.
# A step that fails does not end the others; the exit status says whether all passed.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
bin=$here/target/portable
work=/tmp/sublet-gpu
out=$here/bench/results/gpu-$(date -u +%Y%m%d)
device=cuda:0 models=all dtypes=f32,f16 batches='' jobs=6
steps=tests,export,torch,models,throughput,soak,serve,startup
node_data='' best='' fixed='' resume='' lean='' time_limit=''
soak_args='' throughput_args='' models_args=''

while [ $# -gt 0 ]; do
  case $1 in
    --bin) bin=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --work) work=$2; shift 2 ;;
    --device) device=$2; shift 2 ;;
    --models) models=$2; shift 2 ;;
    --dtypes) dtypes=$2; shift 2 ;;
    --batches) batches=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    --node-data) node_data=$2; shift 2 ;;
    --jobs) jobs=$2; shift 2 ;;
    --soak-args) soak_args=$2; shift 2 ;;
    --throughput-args) throughput_args=$2; shift 2 ;;
    --models-args) models_args=$2; shift 2 ;;
    --best) best=--best; shift ;;
    --static) fixed=--static; shift ;;
    --resume) resume=--resume; shift ;;
    --lean) lean=yes; shift ;;
    --time-limit) time_limit=$2; shift 2 ;;
    -h | --help) sed -n '2,/^set /s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "gpu.sh: unknown argument $1 (see --help)" >&2; exit 2 ;;
  esac
done

if [ -n "$lean" ]; then
  models_args="--warm 20 --cold 6 $models_args"
  soak_args="--copies 40 --swaps 2000 $soak_args"
  batches=${batches:-1}
fi
batches=${batches:-1,8,32}

python=$(command -v python3) || { echo "gpu.sh: no python3" >&2; exit 2; }
[ -x "$bin/gpu-bench" ] || { echo "gpu.sh: $bin/gpu-bench does not exist; name its folder with --bin" >&2; exit 2; }
mkdir -p "$work" "$out"

# PyTorch's wheels bring cuBLAS, cuDNN and NVRTC in folders of their own.
wheels=$("$python" - <<'PY'
import glob, site, sysconfig
roots = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"], *site.getsitepackages()}
print(":".join(sorted({path for root in roots for path in glob.glob(f"{root}/nvidia/*/lib")})))
PY
)
export LD_LIBRARY_PATH=$wheels${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PYTHONUNBUFFERED=1 PYTHONPATH=$here/python${PYTHONPATH:+:$PYTHONPATH}

failed=''
is_late() { [ -n "$time_limit" ] && [ $SECONDS -ge "$time_limit" ]; }
step() { # name, command…
  local name=$1 began=$SECONDS status
  shift
  if is_late; then
    echo "=== $name: left out, the time is up" | tee -a "$out/steps.txt"
    return
  fi
  echo "=== $name"
  "$@"
  status=$?
  echo "--- $name: $([ $status = 0 ] && echo ok || echo "FAILED ($status)") in $((SECONDS - began)) s"
  echo "$name $((SECONDS - began)) s, status $status" >>"$out/steps.txt"
  [ $status = 0 ] || failed="$failed $name"
}
wanted() { case ",$steps," in *",$1,"*) true ;; *) false ;; esac; }
bench() { "$bin/gpu-bench" "$@" --device "$device" --work "$work" --out "$out" --models "$models" --dtypes "$dtypes"; }
torch() {
  # shellcheck disable=SC2086
  "$python" "$here/python/gpu_models.py" "$1" --work "$work" --models "$models" --dtypes "$dtypes" \
    --batches "$batches" --jobs "$jobs" $fixed $best
}

# A fault loses the device to its process: go on with the models that are left, a few times.
models() {
  local status tries=0 again=$resume limit=''
  while :; do
    [ -z "$time_limit" ] || limit="--time-limit $((time_limit > SECONDS ? time_limit - SECONDS : 0))"
    # shellcheck disable=SC2086
    bench models --batches "$batches" $models_args $limit $again
    status=$?
    tries=$((tries + 1))
    { [ $status = 0 ] || [ $tries -ge 12 ]; } && return $status
    again=--resume
    echo "(again, for the models that are left)"
  done
}

node_tests() {
  local folder=$node_data
  if [ -f "$folder" ]; then
    mkdir -p "$work/node-tests" && tar -C "$work/node-tests" -xf "$folder" || return 1
    folder=$work/node-tests/node
  fi
  bench ops --data "$folder" --manifest "$here/crates/conformance/manifest/onnx-node-cuda.txt" --jobs "$jobs"
}

# Two copies of a small model take turns on one page. The run without a tool beforehand compiles the kernels and chooses
# the algorithms, which would take minutes under one. Racecheck does not understand the barriers of libraries' kernels and
# reports thousands of hazards in them: it looks at ours alone, whose names begin alike, and must find a race among them.
sanitize() {
  local canary=("$bin/cuda-tests-sublet_device_cuda" --ignored --exact jit::tests::racecheck_finds_this_race)
  local ours=(--kernel-name kns=sublet_)
  local soak=("$bin/gpu-bench" soak --copies 2 --requests 4 --clients 1 --memory 16MiB --models mobilenet_v2
    --dtypes "${dtypes%%,*}" --device "$device" --work "$work")
  "${soak[@]}" --out "$out/no-tool" >"$out/no-tool.log" 2>&1 || { tail -30 "$out/no-tool.log"; return 1; }
  under memcheck memcheck "${soak[@]}" --out "$out/memcheck" || return 1
  if under racecheck-canary racecheck "${ours[@]}" "${canary[@]}" >"$out/racecheck-canary.txt"; then
    echo "racecheck does not find the race that is there to be found: $out/racecheck-canary.log"
    return 1
  fi
  grep -q 'RACECHECK SUMMARY: [1-9]' "$out/racecheck-canary.log" || { tail -30 "$out/racecheck-canary.log"; return 1; }
  under racecheck racecheck "${ours[@]}" "${soak[@]}" --out "$out/racecheck"
}

# Runs a command under a tool of compute-sanitizer: name of the log, tool, arguments and command.
under() {
  local name=$1 tool=$2 status
  shift 2
  timeout 240 compute-sanitizer --tool "$tool" --error-exitcode 9 "$@" >"$out/$name.log" 2>&1
  status=$?
  {
    grep '^soak' "$out/$name.log"
    grep 'SUMMARY' "$out/$name.log" | tail -1 | sed "s/^=* */$name: /"
    [ $status != 124 ] || echo "$name: did not finish in 240 s"
  } | tee "$out/$name.txt"
  [ $status = 0 ] || { tail -30 "$out/$name.log"; return 1; }
  grep -q 'SUMMARY' "$out/$name.log" || { echo "$name: no summary in $out/$name.log"; return 1; }
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null | head -1
if wanted tests; then
  for tests in "$bin"/cuda-tests*; do
    [ -x "$tests" ] && step "$(basename "$tests")" "$tests" --test-threads 4
  done
  step problems bench problems
  if [ -n "$node_data" ]; then step node-tests node_tests; else echo "node tests: skipped, no --node-data"; fi
fi
wanted export && step export torch export
wanted torch && step torch torch measure
wanted models && step models models
# shellcheck disable=SC2086
wanted throughput && step throughput bench throughput $throughput_args
# shellcheck disable=SC2086
wanted soak && step soak bench soak $soak_args
wanted serve && step serve bench serve
wanted startup && step startup bench startup --sublet "$bin/sublet"
wanted sanitize && step sanitize sanitize

echo
cat "$out"/{onnx-node,problems,models,throughput,soak,serve,startup,memcheck,racecheck}.txt 2>/dev/null
[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }

#!/usr/bin/env bash
# Runs what eng/gpu-bundle.sh packed, with the libtorch of this host:
#   ./run tests [ARGS]         the test classes of the GPU; ARGS as xunit's runner takes them
#   ./run bench VERB [ARGS]    the benchmarks
# HEADINFER_LIBTORCH names the folder of libtorch; without it, that of python3's torch is taken.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [ -z "${HEADINFER_LIBTORCH:-}" ]; then
    HEADINFER_LIBTORCH=$(python3 -c 'import os, torch; print(os.path.join(torch.__path__[0], "lib"))')
    export HEADINFER_LIBTORCH
fi

# A Python install keeps CUDA's libraries in site-packages/nvidia/*/lib.
folders=$HEADINFER_LIBTORCH
for folder in "$HEADINFER_LIBTORCH"/../../nvidia/*/lib; do
    [ -d "$folder" ] && folders=$folders:$folder
done
export LD_LIBRARY_PATH=$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

# .NET wants ICU for other languages' rules; nothing that the GPU classes test does.
ldconfig -p 2>/dev/null | grep -q libicuuc || export DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=1

case "${1:-}" in
    tests)
        shift
        [ $# -gt 0 ] || set -- -class '*OnCuda'
        exec "$here/HeadInfer.Runtime.Tests" "$@" ;;
    bench) shift; exec "$here/HeadInfer.Benchmarks" "$@" ;;
    *) echo "usage: $0 tests [ARGS] | bench VERB [ARGS]" >&2; exit 2 ;;
esac

#!/usr/bin/env bash
# Makes one compressed bundle of tests, benchmarks and demo model that runs on a Linux x64 GPU host without an SDK:
#   eng/gpu-bundle.sh [FILE]        default: artifacts/headinfer-gpu.tar.xz
# libtorch is not in it. On the host: unpack, set HEADINFER_LIBTORCH (or have a python3 with torch), and
#   ./run tests [ARGS]              the test classes of the GPU
#   ./run bench VERB [ARGS]         the benchmarks
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
file=$(realpath -m "${1:-$root/artifacts/headinfer-gpu.tar.xz}")
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
app=$stage/headinfer-gpu

for project in tests/HeadInfer.Runtime.Tests benchmarks/HeadInfer.Benchmarks; do
    dotnet publish "$root/$project" -c Release -r linux-x64 --self-contained -p:HeadInferBackend=none \
        -p:DebugType=none -p:GenerateDocumentationFile=false -p:SatelliteResourceLanguages=en -o "$app" -v quiet --nologo
done

# Drawing, which TorchSharp names and nothing here uses, and what belongs to other platforms or to debugging.
rm -rf "$app"/libSkiaSharp.so "$app"/*.pdb "$app"/*.xml "$app"/runtimes/{win,osx}* "$app"/{amd64,x86,arm64}
rm -f "$app"/libmscordaccore.so "$app"/libmscordbi.so "$app"/createdump "$app"/libcapstone.so "$app"/libclrgc.so "$app"/libclrgcexp.so
[ -d "$app/models/headinfer-demo" ] || { mkdir -p "$app/models"; cp -r "$root/models/headinfer-demo" "$app/models/"; }
cp "$root/eng/gpu-run.sh" "$app/run"
chmod +x "$app/run"
mkdir -p "$(dirname "$file")"
tar -C "$stage" -c headinfer-gpu | xz -T0 -6 > "$file"
echo "$file: $(($(stat -c %s "$file") / 1000000)) MB"

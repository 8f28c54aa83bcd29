#!/usr/bin/env bash
# Packs the tool headinfer into artifacts/packages: the package that is installed, and one for each platform, which it names:
#   eng/tool.sh [RID...]        default: linux-x64 osx-arm64 win-arm64 win-x64 any
# A platform's package carries libtorch for its CPU (130 to 200 MB); that for any platform carries none.
#   dotnet tool install HeadInfer.Tool --global --add-source artifacts/packages
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
packages=$root/artifacts/packages
[ $# -gt 0 ] || set -- linux-x64 osx-arm64 win-arm64 win-x64 any
pack() {
    dotnet pack "$root/src/HeadInfer.Tool" -c Release -p:HeadInferToolPackages=true -o "$packages" -v quiet --nologo "$@"
}
for rid in "$@"; do
    pack -r "$rid"
done
pack -p:CreateRidSpecificToolPackages=false
ls -sh "$packages"

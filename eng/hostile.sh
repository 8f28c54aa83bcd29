#!/usr/bin/env bash
# Gives hostile schemas, templates and requests to the library, each in a process of its own; prints one line a case, exits 1 on any FAIL.
#   eng/hostile.sh [DIR]      DIR has schemas/*.json, templates/*.jinja and requests/*.json; default: the committed cases
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$(realpath "${1:-$root/tests/hostile}")
exec dotnet run -c Release --project "$root/tests/HeadInfer.Hostile" -- "$dir"

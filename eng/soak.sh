#!/usr/bin/env bash
# Sends random requests to small models for some minutes, many at once, and ends them in every way there is; exits 1 on any fault.
#   eng/soak.sh MINUTES [--seed N]      prints one line at the end; the seed is 1 unless given
# Answers must be those that the same prompts get alone, nothing native may be left of a disposed model, memory may not grow,
# and no request may hang.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec dotnet run -c Release --project "$root/tests/HeadInfer.Soak" -- "$root/tests/fixtures/models" "$@"

#!/usr/bin/env bash
# Sends random requests to small models for some minutes, many at once, and ends them in every way there is; exits 1 on any fault.
#   eng/soak.sh MINUTES [--seed N]      prints one line at the end; the seed is 1 unless given
# Answers must be those that the same prompts get alone, nothing native may be left of a disposed model, memory may not grow,
# and no request may hang.
set -euo pipefail
# Threads share one heap of the C library: it keeps what is given back for each heap, which would hide a leak, or look like one.
export MALLOC_ARENA_MAX=1
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
exec dotnet run -c Release --project "$root/tests/HeadInfer.Soak" -- "$root/tests/fixtures/models" "$@"

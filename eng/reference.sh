#!/usr/bin/env bash
# Runs every model, tokenizer, chat template and JSON schema of fixtures against its reference; prints one line a case, exits 1 on any FAIL.
#   eng/reference.sh [DIR]      DIR has models/, gguf/, tokenizers/, chat-templates/, jinja/ or json-schema-test-suite/; default: the committed fixtures
# "ok" of a model is: every logit within 1e-4 standard deviations of the reference's, and greedy tokens the same.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
dir=$(realpath "${1:-$root/tests/fixtures}")
exec dotnet run -c Release --project "$root/tests/HeadInfer.Reference" -- "$dir"

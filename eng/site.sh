#!/usr/bin/env bash
# Builds the pages of docs and the reference of the public API as a site, by docfx: artifacts/site/index.html. A link or a cross reference
# that leads nowhere is an error. To read it in a browser with its search: dotnet docfx serve artifacts/site
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
rm -rf artifacts/site artifacts/site-api
dotnet tool restore > /dev/null
dotnet docfx docfx.json --warningsAsErrors
cp artifacts/site/README.html artifacts/site/index.html
ls artifacts/site/api | grep -c '\.html$' | sed 's/$/ pages of the API/'

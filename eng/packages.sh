#!/usr/bin/env bash
# Packs the packages into artifacts/packages, installs them from there into projects that know nothing else, and runs these: a console
# program, the web application of docs/agents.md, the template's agent, and the tool.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
packages=$root/artifacts/packages
rm -rf "$packages"
build= # the connector's build is that of the others too
for project in HeadInfer.SemanticKernel HeadInfer.Runtime HeadInfer.Text; do
    dotnet pack "$root/src/$project" -c Release -p:ContinuousIntegrationBuild=true -o "$packages" -v quiet --nologo $build
    build=--no-build
done
dotnet pack "$root/templates/HeadInfer.Templates.csproj" -o "$packages" -v quiet --nologo
ls "$packages"
version=$(basename "$packages"/HeadInfer.Runtime.*.nupkg .nupkg)
version=${version#HeadInfer.Runtime.}
rid=$(dotnet msbuild "$root/src/HeadInfer.Text" -getProperty:NETCoreSdkPortableRuntimeIdentifier)

# A package cache of its own for ours, so that an earlier pack of the same version is never taken.
work=$(mktemp -d)
web=
trap '[ -z "$web" ] || kill "$web" 2> /dev/null || true; rm -rf "$work"' EXIT
cp -r "$root/eng/package-test" "$work/app"
rm -rf "${NUGET_PACKAGES:-$HOME/.nuget/packages}"/headinfer.{text,runtime,semantickernel,tool,"tool.$rid"}
sources=$(dotnet nuget list source --format Short | sed -n 's/^E //p' | sed 's/^/--source /')
# shellcheck disable=SC2086
dotnet restore "$work/app" -p:HeadInferVersion="$version" --source "$packages" $sources -v quiet
dotnet run --no-restore -c Release --project "$work/app" -p:HeadInferVersion="$version" -- "$root/models/headinfer-demo"

# The web application of docs/agents.md streams an answer, piece by piece.
mkdir "$work/web"
cp "$root"/eng/package-test/*.props "$work/web"
sed 's/Microsoft.NET.Sdk/&.Web/' "$root/eng/package-test/PackageTest.csproj" > "$work/web/PackageTest.csproj"
sed -n '/^```csharp$/,/^```$/{/^```/!p}' "$root/docs/agents.md" | sed "s#PATH/#$root/#" > "$work/web/Program.cs"
# shellcheck disable=SC2086
dotnet restore "$work/web" -p:HeadInferVersion="$version" --source "$packages" $sources -v quiet
dotnet build "$work/web" --no-restore -c Release -p:HeadInferVersion="$version" -v quiet --nologo
dotnet "$work/web/bin/Release/net10.0/PackageTest.dll" --urls http://127.0.0.1:0 > "$work/web.log" 2>&1 &
web=$!
url=
for _ in $(seq 300); do
    url=$(sed -n 's/.*Now listening on: //p' "$work/web.log")
    [ -z "$url" ] || break
    sleep 0.2
done
[ -n "$url" ] || { cat "$work/web.log"; exit 1; }
curl -sSN -G "$url/ask" --data-urlencode $'question=The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?' > "$work/events"
[ "$(grep -c '^data: ' "$work/events")" -gt 5 ]
sed -n 's/^data: //p' "$work/events" | tr -d '\n' | grep -x 'The access code for the old harbor is amber-4821.'
curl -sS "$url/health" | grep -x Healthy
kill "$web"
wait "$web" || true
web=

# A program without libtorch is told so when it is built.
cp -r "$root/eng/package-test" "$work/without"
# shellcheck disable=SC2086
dotnet restore "$work/without" -p:HeadInferVersion="$version" -p:WithoutLibTorch=true --source "$packages" $sources -v quiet
dotnet build "$work/without" --no-restore -c Release -p:HeadInferVersion="$version" -p:WithoutLibTorch=true -v quiet --nologo 2>&1 | grep -q HEADINFER001

# The template of dotnet new makes a program that builds, and answers. A path of Windows has backslashes, as this link has one.
ln -s "$root/models/headinfer-demo" "$work/a\\model"
dotnet new install "$packages"/HeadInfer.Templates.*.nupkg --debug:custom-hive "$work/hive" > /dev/null
dotnet new headinfer-agent -o "$work/Asker" --model "$work/a\\model" --debug:custom-hive "$work/hive" > /dev/null
# shellcheck disable=SC2086
dotnet restore "$work/Asker" --source "$packages" $sources -v quiet
dotnet run --no-restore -c Release --project "$work/Asker" -- "What is the weather in Oslo?" | grep "17 degrees in Oslo"

# The tool with its libtorch, as a user installs it.
"$root/eng/tool.sh" "$rid" > /dev/null
dotnet tool install HeadInfer.Tool --tool-path "$work/bin" --source "$packages" > /dev/null
"$work/bin/headinfer" ask "$root/models/headinfer-demo" --document "$root/samples/StructuredOutput/documents/log.txt" \
    --question 'What is the access code for the old harbor?' | grep -x 'The access code for the old harbor is amber-4821.'

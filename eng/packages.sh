#!/usr/bin/env bash
# Packs the packages into artifacts/packages, installs them from there into a project that knows nothing else, and runs it.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
packages=$root/artifacts/packages
rm -rf "$packages"
for project in HeadInfer.Text HeadInfer.Runtime HeadInfer.SemanticKernel; do
    dotnet pack "$root/src/$project" -c Release -p:ContinuousIntegrationBuild=true -o "$packages" -v quiet --nologo
done
dotnet pack "$root/templates/HeadInfer.Templates.csproj" -o "$packages" -v quiet --nologo
ls "$packages"
version=$(basename "$packages"/HeadInfer.Runtime.*.nupkg .nupkg)
version=${version#HeadInfer.Runtime.}

# A package cache of its own for ours, so that an earlier pack of the same version is never taken.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$root/eng/package-test" "$work/app"
rm -rf "${NUGET_PACKAGES:-$HOME/.nuget/packages}"/headinfer.{text,runtime,semantickernel}
sources=$(dotnet nuget list source --format Short | sed -n 's/^E //p' | sed 's/^/--source /')
# shellcheck disable=SC2086
dotnet restore "$work/app" -p:HeadInferVersion="$version" --source "$packages" $sources -v quiet
dotnet run --no-restore -c Release --project "$work/app" -p:HeadInferVersion="$version" -- "$root/models/headinfer-demo"

# A program without libtorch is told so when it is built.
cp -r "$root/eng/package-test" "$work/without"
# shellcheck disable=SC2086
dotnet restore "$work/without" -p:HeadInferVersion="$version" -p:WithoutLibTorch=true --source "$packages" $sources -v quiet
dotnet build "$work/without" --no-restore -c Release -p:HeadInferVersion="$version" -p:WithoutLibTorch=true -v quiet --nologo 2>&1 | grep -q HEADINFER001

# The template of dotnet new makes a program that builds, and answers.
dotnet new install "$packages"/HeadInfer.Templates.*.nupkg --debug:custom-hive "$work/hive" > /dev/null
dotnet new headinfer-agent -o "$work/Asker" --model "$root/models/headinfer-demo" --debug:custom-hive "$work/hive" > /dev/null
# shellcheck disable=SC2086
dotnet restore "$work/Asker" --source "$packages" $sources -v quiet
dotnet run --no-restore -c Release --project "$work/Asker" -- "What is the weather in Oslo?" | grep "17 degrees in Oslo"

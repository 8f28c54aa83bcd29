#!/usr/bin/env bash
# Runs README's first command and draws what it prints in a terminal: docs/results/ask.svg. Nothing else is in the picture.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
command=$(sed -n '/^```bash$/,/^```$/p' README.md | sed -n '2s/  *#.*//p')
eval "$command" > /dev/null 2>&1 # builds, so that the picture has the answer alone
{
    echo "\$ $command"
    eval "$command" 2>&1
} | fold -s -w 100 | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g' | awk '
    { lines[NR] = $0 }
    END {
        height = 20 * NR + 60
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"840\" height=\"%d\" font-family=\"ui-monospace, Menlo, Consolas, monospace\" font-size=\"13\">\n", height
        print "<rect width=\"100%\" height=\"100%\" rx=\"8\" fill=\"#1e1e1e\"/>"
        print "<circle cx=\"20\" cy=\"18\" r=\"6\" fill=\"#ff5f56\"/><circle cx=\"40\" cy=\"18\" r=\"6\" fill=\"#ffbd2e\"/><circle cx=\"60\" cy=\"18\" r=\"6\" fill=\"#27c93f\"/>"
        for (i = 1; i <= NR; i++)
            printf "<text x=\"20\" y=\"%d\" fill=\"%s\" xml:space=\"preserve\">%s</text>\n", 35 + 20 * i, i == 1 ? "#7ee787" : "#e6e6e6", lines[i]
        print "</svg>"
    }' > docs/results/ask.svg

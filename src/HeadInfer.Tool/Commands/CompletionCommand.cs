using System.CommandLine;

namespace HeadInfer.Tool.Commands;

/// <summary>Scripts by which a shell completes the tool's commands and flags. They ask the tool itself.</summary>
internal static class CompletionCommand
{
    private static readonly Dictionary<string, string> Scripts = new(StringComparer.Ordinal)
    {
        ["bash"] = """
            # eval "$(headinfer completion bash)"
            _headinfer() {
                local IFS=$'\r\n'
                COMPREPLY=($(headinfer "[suggest:${COMP_POINT}]" "${COMP_LINE}" 2>/dev/null))
                [ ${#COMPREPLY[@]} -gt 0 ] || COMPREPLY=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
            }
            complete -o filenames -F _headinfer headinfer
            """,
        ["zsh"] = """
            # eval "$(headinfer completion zsh)"
            _headinfer() {
                local found=("${(@f)$(headinfer "[suggest:${CURSOR}]" "${BUFFER}" 2>/dev/null)}")
                if [ -n "${found[1]}" ]; then compadd -- "${found[@]}"; else _files; fi
            }
            compdef _headinfer headinfer
            """,
        ["fish"] = """
            # headinfer completion fish | source
            complete -c headinfer -a '(headinfer "[suggest:"(commandline -C)"]" (commandline) 2>/dev/null)'
            """,
        ["pwsh"] = """
            # headinfer completion pwsh | Out-String | Invoke-Expression
            Register-ArgumentCompleter -Native -CommandName headinfer -ScriptBlock {
                param($word, $ast, $position)
                headinfer "[suggest:$position]" "$ast" 2>$null | ForEach-Object { [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_) }
            }
            """,
    };

    public static Command Create()
    {
        var shell = new Argument<string>("SHELL") { Description = string.Join(", ", Scripts.Keys) };
        shell.AcceptOnlyFromAmong([.. Scripts.Keys]);
        var command = new Command("completion", "Writes the script by which a shell completes commands and flags.") { shell };
        command.SetAction(result => Console.Write(Scripts[result.GetValue(shell)!].ReplaceLineEndings("\n") + "\n")); // no shell takes carriage returns
        return command;
    }
}

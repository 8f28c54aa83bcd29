using System.Diagnostics;

namespace HeadInfer.Runtime.Tests.Samples;

/// <summary>The sample as a user runs it: a process with its streams redirected.</summary>
public sealed class AskDocumentTests
{
    private const string Mordecai = "And Mordecai went out from the presence of the king in royal apparel of blue and white, and with a great crown of gold, and with a garment of fine linen and purple: and the city of Shushan rejoiced and was glad.";

    [Fact]
    public async Task It_quotes_the_book_of_Esther_when_nothing_is_asked()
    {
        var (code, output, error) = await RunAsync("");
        Assert.Equal(0, code);
        Assert.Equal(Mordecai + "\n", output);
        Assert.Matches(@"read [\d,]+ tokens in [\d.]+ s \([\d,]+ tok/s\).*KV cache [\d.]+ MiB in host memory", error);
        Assert.DoesNotContain('\u001b', output + error);
    }

    [Fact]
    public async Task Several_questions_share_one_reading()
    {
        using var folder = new ScratchFolder();
        Directory.CreateDirectory(folder.File("inner"));
        File.WriteAllText(folder.File("inner/jonah.txt"), Fixtures.Book("jonah"));
        File.WriteAllBytes(folder.File("picture.png"), [137, 80, 0, 0]);
        File.WriteAllText(folder.File("note.txt"), "The access code for the old harbor is amber-4821.");
        var (code, output, error) = await RunAsync("", "--document", folder.Path, "--question", "What is the access code for the old harbor?", "--question", "Quote the passage that begins with \"So they cast lots\".");
        Assert.Equal(0, code);
        Assert.Equal("The access code for the old harbor is amber-4821.\nSo they cast lots, and the lot fell upon Jonah.\n", output);
        Assert.Contains("left out picture.png: a binary file", error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Questions_are_read_line_by_line_when_none_is_given()
    {
        using var folder = new ScratchFolder();
        File.WriteAllText(folder.File("note.txt"), Fixtures.Book("jonah")[..3000] + "\nThe access code for the old harbor is amber-4821.");
        var (code, output, _) = await RunAsync("What is the access code for the old harbor?\n\n", "--document", folder.File("note.txt"));
        Assert.Equal(0, code);
        Assert.Equal("The access code for the old harbor is amber-4821.\n", output);
    }

    [Theory]
    [InlineData("There is no file or folder", "--document", "no-such-file")]
    [InlineData("There is no model folder 'no-such-folder', which from here is '", "--model", "no-such-folder")]
    [InlineData("--max-tokens", "--max-tokens", "-3")]
    [InlineData("needs a value", "--question")]
    [InlineData("not understood", "--nonsense")]
    public async Task What_cannot_be_done_is_one_paragraph_and_exit_code_1(string says, params string[] arguments)
    {
        var (code, output, error) = await RunAsync("", arguments);
        Assert.Equal(1, code);
        Assert.Empty(output);
        Assert.Contains(says, error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal);
        Assert.Single(error.Trim().Split('\n'));
    }

    [Fact]
    public async Task A_document_too_long_is_refused_with_numbers()
    {
        using var folder = new ScratchFolder();
        File.WriteAllText(folder.File("long.txt"), Fixtures.Book("acts") + Fixtures.Book("esther"));
        var (code, output, error) = await RunAsync("", "--document", folder.File("long.txt"), "--question", "Who?");
        Assert.Equal(1, code);
        Assert.Empty(output);
        Assert.Contains("32,768", error, StringComparison.Ordinal);
    }

    private static async Task<(int Code, string Output, string Error)> RunAsync(string input, params string[] arguments)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in (string[])["exec", Path.Combine(AppContext.BaseDirectory, "AskDocument.dll"), .. arguments])
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        await process.StandardInput.WriteAsync(input);
        process.StandardInput.Close();
        await process.WaitForExitAsync();
        return (process.ExitCode, (await output).ReplaceLineEndings("\n"), (await error).ReplaceLineEndings("\n"));
    }
}

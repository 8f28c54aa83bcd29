using HeadInfer.Text;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>A conversation goes on where the model's answer ended: each request reads only what is new.</summary>
public sealed class ContinuationTests(ITestOutputHelper output)
{
    public static TheoryData<string> OwnNames() => [.. LoopTemplates.Own.Select(t => t.Name)];

    [Theory]
    [MemberData(nameof(OwnNames))]
    public async Task A_loop_of_calls_is_read_once_or_the_reason_is_told(string name)
    {
        var (_, source, continues) = LoopTemplates.Own.Single(t => t.Name == name);
        var result = await new ToolLoop(LoopTemplates.Tokenizer([source]), LoopTemplates.Template(source)).RunAsync();
        output.WriteLine(result.ToString());
        Assert.Equal(continues, result.GoesOn);
        Assert.Equal(ToolCallFormats.IsSaid(source, null), result.Calls.Contains("calls", StringComparison.Ordinal));
        Assert.Equal(continues && result.Next, result.Reasons.Count == 0);
    }

    [Fact]
    public async Task So_it_is_with_all_published_templates()
    {
        var templates = LoopTemplates.Published();
        Assert.SkipWhen(templates.Count == 0, "third-party templates are read where they are present");
        var tokenizer = LoopTemplates.Tokenizer(templates.Select(t => t.Source));
        var results = new List<LoopResult>();
        foreach (var (name, source) in templates)
        {
            if (!ToolLoop.IsTaken(LoopTemplates.Template(source)))
            {
                output.WriteLine($"{name}: takes no conversation");
                continue;
            }

            results.Add(await new ToolLoop(tokenizer, LoopTemplates.Template(source)).RunAsync());
            output.WriteLine($"{name}: {results[^1]}");
        }

        output.WriteLine($"{results.Count} of {templates.Count} templates take conversations: {results.Count(r => r.GoesOn)} go on, {results.Count(r => r.GoesOn && r.Calls.Contains("calls", StringComparison.Ordinal))} of these with calls; {results.Count(r => r.Next)} after another question too");
        Assert.All(results, r => Assert.True((r.GoesOn && r.Next) || r.Reasons.Count > 0, r.ToString()));
        Assert.True(results.Count(r => r.GoesOn) >= 39);
        Assert.True(results.Count(r => r.GoesOn && r.Calls.Contains("calls", StringComparison.Ordinal)) >= 9);
    }
}

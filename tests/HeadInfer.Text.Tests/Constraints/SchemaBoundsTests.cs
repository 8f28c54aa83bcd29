using System.Text;
using System.Text.Json;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Text.Tests;

/// <summary>Schemas that ask for more work than they are long: each ends, done or refused. What ends them counts steps; there is no clock here.</summary>
public sealed class SchemaBoundsTests
{
    public static TheoryData<string> Greedy =>
    [
        $$"""{"type":"string","pattern":"^a{{new string('*', 15_000)}}$"}""",
        """{"type":"string","pattern":"^(((((){900}){900}){900}){900})b$"}""",
        """{"type":"string","pattern":"^((()*)*){999}(a|(b|c){0}){999}$"}""",
        """{"type":"string","pattern":"^(x?){900}(y?){900}(z?){900}$"}""",
        """{"type":"string","pattern":"^[01]*1[01]{17}$"}""",
        """{"type":"string","minLength":400,"pattern":"^[01]*1[01]{11}"}""",
        $$"""{"type":"string","pattern":"^{{string.Concat(Enumerable.Repeat('{', 19_000))}}$"}""",
        $$"""{"type":"integer","minimum":{{new string('9', 30_000)}}}""",
        $$"""{"type":"number","multipleOf":0.{{new string('0', 3_000)}}1}""",
        $"{{\"allOf\":[{{\"enum\":[{Many(20_000, "#")}]}},{{\"enum\":[{Many(20_000, "1#")}]}}]}}",
        $"{{\"enum\":[{Many(5_000, "#")}],\"anyOf\":[{Many(2_000, "{\"minimum\":#}")}]}}",
        $"{{\"properties\":{{\"x\":{{\"enum\":[{Many(5_000, "#")}]}}}},\"anyOf\":[{Many(5_000, "{\"minProperties\":#}")}]}}",
        $"{{\"oneOf\":[{Many(10_000, """{"type":"integer","const":#}""")}]}}",
        $"{{\"oneOf\":[{Many(2_000, """{"type":"object","properties":{"k":{"const":#}},"required":["k"]}""")}]}}",
        $"{{\"type\":\"object\",\"properties\":{{{Many(30, "\"p#\":{\"type\":\"string\",\"pattern\":\"^(a?){8#}(b?){8#}(c?){8#}$\"}")}}}}}",
        $"{{\"type\":\"array\",\"uniqueItems\":true,\"items\":{{\"enum\":[{Many(20_000, "\"v#\"")}]}},\"minItems\":900}}",
        $"{{\"type\":\"object\",\"properties\":{{\"{new string('x', 200_000)}\":true}},\"patternProperties\":{{\"^x*$\":{{\"type\":\"null\"}}}}}}",
        $"{{\"anyOf\":[{Many(800, "{\"type\":\"number\",\"multipleOf\":0.0##,\"minimum\":-##}")}]}}",
        $"{{\"type\":\"object\",\"properties\":{{{Many(3_000, "\"p#\":true")}}},\"minProperties\":2000}}",
        $"{{\"$ref\":\"#/$defs/d0\",\"$defs\":{{{Many(8_000, "\"d#\":{\"anyOf\":[{\"$ref\":\"@/$defs/d##\"},{\"type\":\"array\",\"items\":{\"$ref\":\"@/$defs/d##\"}},{\"const\":#}]}")}}}}}",
    ];

    [Theory]
    [MemberData(nameof(Greedy))]
    public void A_greedy_schema_is_done_or_refused(string schema)
    {
        OutputConstraint constraint;
        try
        {
            constraint = OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement);
        }
        catch (ArgumentException e)
        {
            Assert.Contains("JSON schema", e.Message, StringComparison.Ordinal);
            return;
        }

        Generate(constraint, 12);
    }

    [Fact]
    public void Many_ways_to_read_a_text_do_not_multiply()
    {
        // Each level of lists can be read in three ways, which are not told apart before the end: without bounds 3^8 places.
        const int Levels = 8;
        var schema = """{"type":"string","maxLength":20}""";
        for (var level = 0; level < Levels; level++)
        {
            schema = $$"""{"anyOf":[{"type":"array","items":{{schema}},"maxItems":{{level + 3}}},{"type":"array","items":{{schema}},"maxItems":{{level + 4}}},{"type":"array","items":{{schema}},"maxItems":{{level + 5}}}]}""";
        }

        var constraint = OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement);
        var frames = constraint.Enter();
        foreach (var value in Encoding.UTF8.GetBytes(new string('[', Levels) + "\"a\",\"b\"],[\"c"))
        {
            var next = new FrameSet();
            frames.Step(value, next);
            frames = next;
            Assert.InRange(frames.Count, 1, 2 * FrameSet.Wide);
        }

        Generate(constraint, 30);
    }

    [Fact]
    public void Equal_places_are_one()
    {
        var choice = """{"type":"array","items":{"anyOf":[{"type":"string","maxLength":9},{"type":"string","maxLength":9,"description":"the same"}]}}""";
        var constraint = OutputConstraint.JsonSchema(JsonDocument.Parse($$"""{"anyOf":[{{choice}},{{choice}}]}""").RootElement);
        var frames = constraint.Enter();
        foreach (var value in "[\"a\",\"b"u8)
        {
            var next = new FrameSet();
            frames.Step(value, next);
            frames = next;
        }

        Assert.Equal(1, frames.Count);
    }

    [Fact]
    public void A_schema_nested_too_deep_is_an_error_that_says_so()
    {
        foreach (var (open, close) in ((string, string)[])[("{\"items\":", "}"), ("{\"allOf\":[", "]}"), ("{\"const\":[", "]}")])
        {
            var text = string.Concat(Enumerable.Repeat(open, 50_000)) + "true" + string.Concat(Enumerable.Repeat(close, 50_000));
            using var schema = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 200_000 });
            Assert.Contains("nested too deep", Assert.Throws<ArgumentException>(() => OutputConstraint.JsonSchema(schema.RootElement)).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_schema_that_is_too_large_is_refused_by_what_it_takes()
    {
        var schema = $"{{\"enum\":[{Many(20_000, "\"value #\"")}],\"anyOf\":[{Many(4_000, "{\"minLength\":#}")}]}}";
        var error = Assert.Throws<ArgumentException>(() => OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement));
        Assert.Contains("too large", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Compiling_ends_when_the_caller_has_cancelled()
    {
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        Assert.ThrowsAny<OperationCanceledException>(() => OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"string","pattern":"^[01]*1[01]{17}$"}""").RootElement, null, cancelled.Token));
    }

    // A number for each '#', the next one for each '##', and '#' for each '@'.
    private static string Many(int count, string part) => string.Join(',', Enumerable.Range(0, count).Select(i => part
        .Replace("##", $"{i + 1}", StringComparison.Ordinal).Replace("#", $"{i}", StringComparison.Ordinal).Replace('@', '#')));

    private static void Generate(OutputConstraint constraint, int tokens)
    {
        var tokenizer = Tokenizer.Load(Fixtures.DemoModel);
        var (trie, random) = (TokenTrie.Of(tokenizer), new Random(7));
        var text = constraint.Begin(trie);
        var logits = new float[trie.Size];
        for (; tokens > 0 && !text.IsComplete; tokens--)
        {
            foreach (ref var logit in logits.AsSpan())
            {
                logit = random.NextSingle();
            }

            text.Mask(logits, 1_000_000, []);
            text.Advance(Array.IndexOf(logits, logits.Max()));
        }
    }
}

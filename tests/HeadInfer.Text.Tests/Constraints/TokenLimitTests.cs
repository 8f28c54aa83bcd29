using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Text.Tests;

/// <summary>What a limit of tokens makes of a text that has a form.</summary>
public sealed class TokenLimitTests
{
    private static readonly Lazy<Tokenizer> Words = new(() => Tokenizer.Load(Fixtures.DemoModel));

    [Fact]
    public void What_the_limit_did_not_touch_is_not_hurried()
    {
        var schema = OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}""").RootElement);
        var (cut, whole) = (0, 0);
        for (var limit = 14; limit < 60; limit++)
        {
            var (text, hurried) = Write(schema, "{\"city\":\"Johannesburg, which lies on the high plain in the north of its country\"}", limit);
            Assert.Equal(text != "{\"city\":\"Johannesburg, which lies on the high plain in the north of its country\"}", hurried);
            Assert.StartsWith(JsonDocument.Parse(text).RootElement.GetProperty("city").GetString()!, "Johannesburg, which lies on the high plain in the north of its country", StringComparison.Ordinal); // nothing else before a quote
            (cut, whole) = hurried ? (cut + 1, whole) : (cut, whole + 1);
        }

        Assert.True(cut > 0 && whole > 0);
    }

    [Fact]
    public void A_limit_closes_a_string_with_nothing_before_its_quote()
    {
        var schema = OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}""").RootElement);
        var closed = 0;
        for (var limit = 11; limit < 30; limit++)
        {
            var at = 0;
            var text = schema.Begin(TokenTrie.Of(Words.Value));
            List<byte> bytes = [];
            while (!text.IsComplete)
            {
                // Prefers what has most content, as a model does that has more to say.
                var logits = Enumerable.Range(0, Words.Value.VocabularySize).Select(id => Words.Value.Bytes(id).Span is { Length: > 0 } b ? b.Length + (b.Contains((byte)'{') ? 50f : 0) + (b.Contains((byte)'"') || b.Contains((byte)'}') ? 0 : 20) : -1f).ToArray();
                var before = Encoding.UTF8.GetString([.. bytes]);
                text.Mask(logits, limit - at++, []);
                var token = Array.IndexOf(logits, logits.Max());
                var inside = Regex.IsMatch(before, """^\{\s*"city"\s*:\s*"[^"]*$""");
                closed += inside && Words.Value.Bytes(token).Span.Contains((byte)'"') ? 1 : 0;
                Assert.False(text.WasHurried && inside && Words.Value.Bytes(token).Span is [not (byte)'"', ..] and var t && t.Contains((byte)'"'), before);
                text.Advance(token);
                bytes.AddRange(Words.Value.Bytes(token).ToArray());
            }

            Assert.NotNull(JsonDocument.Parse(bytes.ToArray()));
        }

        Assert.Equal(19, closed);
    }

    [Theory]
    [InlineData(2)]
    [InlineData(5)]
    [InlineData(9)]
    public void A_form_made_late_that_does_not_fit_is_cut_off(int limit)
    {
        var late = OutputConstraint.JsonSchema(JsonDocument.Parse("""{"const":"a long text that takes more tokens than are left"}""").RootElement);
        var (text, _) = Write(OutputConstraint.Sequence(OutputConstraint.Text("so "), OutputConstraint.Defer(() => late)), "so \"a long text that takes more tokens than are left\"", limit);
        Assert.StartsWith(text, "so \"a long text that takes more tokens than are left\"", StringComparison.Ordinal);
        Assert.NotEmpty(text);
    }

    [Fact]
    public void A_limit_refuses_nothing_of_a_form_that_it_does_not_hurry()
    {
        var form = OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"object","properties":{"city":{"type":"string"},"units":{"enum":["metric","imperial"]}},"required":["city","units"]}""").RootElement);
        const string said = "{\"city\":\"Johannesburg\",\"units\":\"imperial\"} and 12345";
        var tokens = Words.Value.Encode(said).Count;
        var constraint = OutputConstraint.Sequence(OutputConstraint.OneOf(form.Unhurried(), OutputConstraint.Text("no")), OutputConstraint.Text(" and "), OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"integer"}""").RootElement));
        foreach (var limit in (int[])[3, tokens / 2, tokens, tokens + 30])
        {
            var (text, hurried) = Write(constraint, said, limit);
            Assert.True(said.StartsWith(text, StringComparison.Ordinal) || hurried, text);
            Assert.Equal(limit >= tokens, text == said);
        }
    }

    // What is written by one who wants a text, in the tokens that it is usually written in.
    private static (string Text, bool WasHurried) Write(OutputConstraint constraint, string wanted, int limit)
    {
        var (text, ids, bytes) = (constraint.Begin(TokenTrie.Of(Words.Value)), Words.Value.Encode(wanted), new List<byte>());
        for (var i = 0; i < limit && !text.IsComplete; i++)
        {
            var logits = new float[Words.Value.VocabularySize];
            logits[Words.Value.AddedToken("<|im_end|>")!.Value] = 0.5f;
            if (i < ids.Count)
            {
                logits[ids[i]] = 1;
            }

            text.Mask(logits, limit - i, [Words.Value.AddedToken("<|im_end|>")!.Value]);
            var token = Array.IndexOf(logits, logits.Max());
            if (token == Words.Value.AddedToken("<|im_end|>"))
            {
                break;
            }

            text.Advance(token);
            bytes.AddRange(Words.Value.Bytes(token).ToArray());
        }

        return (Encoding.UTF8.GetString([.. bytes]), text.WasHurried);
    }
}

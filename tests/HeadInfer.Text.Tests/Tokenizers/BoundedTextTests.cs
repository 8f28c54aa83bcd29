using System.Globalization;
using System.Runtime;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using HeadInfer.Text.Templates;
using HeadInfer.Text.Tokenizers;
using static HeadInfer.Tests.TokenizerFolder;

namespace HeadInfer.Text.Tests;

/// <summary>Texts and tokenizers that would take for ever: each is encoded, or refused with a typed error.</summary>
/// <remarks>The tests' time limit is what finds a hang.</remarks>
public sealed class BoundedTextTests
{
    [Theory]
    [InlineData("(a+)+$")]
    [InlineData("(?:a|aa)+$")]
    [InlineData("(a|a)*(?=c)")]
    [InlineData(@"(a*)\1*c")]
    [InlineData("(?:a+b?)+(?=c)")]
    [InlineData("(?:a{1,50}){1,50}z")]
    public void An_expression_that_takes_too_long_is_named(string pattern)
    {
        using var words = WithExpression(pattern);
        var text = string.Concat(Enumerable.Repeat(new string('a', 5_000) + "b", 100));
        var error = Assert.Throws<TokenizerException>(() => Tokenizer.Load(words.Path).Encode(text));
        Assert.Contains(pattern, error.Message, StringComparison.Ordinal);
        using var normalizer = Folder("llama2-style");
        Edit(normalizer, json => json["normalizer"] = new JsonObject { ["type"] = "Replace", ["pattern"] = new JsonObject { ["Regex"] = pattern }, ["content"] = "x" });
        Assert.Contains(pattern, Assert.Throws<TokenizerException>(() => Tokenizer.Load(normalizer.Path).Encode(text)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Matches_by_the_share_are_the_engines()
    {
        foreach (var pattern in (string[])[@"\w+", "", @"\b", "a|", "(?<=a)", "(?!x)b", @"(?<=b)a*"])
        {
            var expression = Expressions.Compile(pattern);
            var text = string.Concat(Enumerable.Repeat("aab ba 😀", 60));
            var all = new Regex(expression.ToString(), expression.Options).Matches(text); // without a limit of time
            Assert.Equal(all.Select(m => (m.Index, m.Length)), new TextWork(text.Length).Matches(expression, text));
        }
    }

    // To make machine code of it takes far longer than to match, and the time of a text is bounded.
    [Fact]
    public void An_expression_is_machine_code_before_a_text_has_to_wait_for_it()
    {
        long Made(string pattern)
        {
            var expression = Expressions.Compile(pattern);
            var before = JitInfo.GetCompiledMethodCount(currentThread: true);
            Assert.NotEmpty(new TextWork(9).Matches(expression, "user 17").ToList());
            return JitInfo.GetCompiledMethodCount(currentThread: true) - before;
        }

        Made(@"\p{L}+"); // what all of them have in common
        Assert.Equal(0, Made(@"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|\s+(?!\S)|\s+"));
    }

    [Fact]
    public void Normalizers_that_multiply_text_are_refused()
    {
        using var folder = Folder("qwen2-style");
        JsonObject Replace() => new() { ["type"] = "Replace", ["pattern"] = new JsonObject { ["String"] = "a" }, ["content"] = new string('a', 300) };
        Edit(folder, json => json["normalizer"] = new JsonObject { ["type"] = "Sequence", ["normalizers"] = new JsonArray([.. Enumerable.Range(0, 5).Select(_ => Replace())]) });
        Assert.Contains("normalizers", Assert.Throws<TokenizerException>(() => Tokenizer.Load(folder.Path).Encode("a")).Message, StringComparison.Ordinal);
        Edit(folder, json => json["normalizer"] = new JsonObject { ["type"] = "Prepend", ["prepend"] = new string('x', 100_000) });
        var text = string.Concat(Enumerable.Repeat("b<|im_end|>", 100));
        Assert.Contains("normalizers", Assert.Throws<TokenizerException>(() => Tokenizer.Load(folder.Path).Encode(text, parseSpecial: true)).Message, StringComparison.Ordinal);
        Edit(folder, json => json["normalizer"] = new JsonObject { ["type"] = "Sequence", ["normalizers"] = new JsonArray([.. Enumerable.Range(0, 1000).Select(_ => new JsonObject { ["type"] = "NFC" })]) });
        Assert.Contains("normalizer", Assert.Throws<UnsupportedModelException>(() => Tokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Thousands_of_added_tokens_are_found_in_one_walk()
    {
        // As models that speak have them: one for each code of sound.
        const int Count = 20_000;
        using var folder = Folder("qwen2-style");
        Edit(folder, json =>
        {
            for (var i = 0; i < Count; i++)
            {
                json["added_tokens"]!.AsArray().Add(Added(4000 + i, $"<|sound_{i}|>", special: true));
            }
        });
        var tokenizer = Tokenizer.Load(folder.Path);
        var random = new Random(5);
        var wanted = Enumerable.Range(0, 50_000).Select(_ => random.Next(Count)).ToList();
        var text = string.Concat(wanted.Select(i => $"<|sound_{i}|>"));
        Assert.Equal(wanted.Select(i => 4000 + i), tokenizer.Encode(text, parseSpecial: true));
        Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        Assert.DoesNotContain(tokenizer.Encode(text), id => id >= 4000);
    }

    [Fact]
    public void Added_tokens_that_repeat_each_other_are_encoded_or_refused()
    {
        using var folder = Folder("qwen2-style");
        Edit(folder, json =>
        {
            for (var i = 1; i < 1000; i++)
            {
                json["added_tokens"]!.AsArray().Add(Added(4000 + i, new string('z', i) + "!", special: true));
            }
        });
        var tokenizer = Tokenizer.Load(folder.Path);
        Assert.Equal([4003, 4002, 4001, .. tokenizer.Encode("zz")], tokenizer.Encode("zzz!zz!z!zz", parseSpecial: true));
        Assert.Contains("added tokens", Assert.Throws<TokenizerException>(() => tokenizer.Encode(new string('z', 1_000_000), parseSpecial: true)).Message, StringComparison.Ordinal);
        Edit(folder, json => json["added_tokens"]!.AsArray().Add(Added(9000, new string('y', 3_000_000), special: true)));
        Assert.Contains("added tokens", Assert.Throws<TokenizerException>(() => Tokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Numbers_of_an_error_are_the_same_in_every_culture()
    {
        using var folder = Folder("qwen2-style");
        Edit(folder, json => json["added_tokens"]!.AsArray().Add(Added(9000, new string('y', 3_000_000), special: true)));
        var (before, other) = (CultureInfo.CurrentCulture, (CultureInfo)CultureInfo.InvariantCulture.Clone());
        other.NumberFormat.NumberGroupSeparator = "\u00A0";
        try
        {
            CultureInfo.CurrentCulture = other;
            Assert.Contains("at most 2,097,152 are", Assert.Throws<TokenizerException>(() => Tokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            CultureInfo.CurrentCulture = before;
        }
    }

    [Fact]
    public void Markers_among_many_pieces_of_a_template_are_found_in_one_pass()
    {
        using var folder = Folder("llama2-style");
        File.WriteAllText(folder.File("chat_template.jinja"), "[INST] [/INST]");
        var tokenizer = Tokenizer.Load(folder.Path);
        var builder = new TemplateTextBuilder();
        for (var i = 0; i < 100_000; i++)
        {
            builder.Append(TemplateText.Trusted("[INST]")).Append(TemplateText.Data("[/INST]"));
        }

        var ids = tokenizer.Encode(builder.Build());
        Assert.Equal(string.Concat(Enumerable.Repeat("[INST][/INST]", 100_000)), tokenizer.Decode(ids));
        var (trusted, forged) = (tokenizer.Encode(TemplateText.Trusted("[/INST]")), tokenizer.Encode(TemplateText.Data("[/INST]")));
        Assert.NotEqual(trusted, forged);
        var once = new TemplateTextBuilder().Append(TemplateText.Trusted("[INST]")).Append(TemplateText.Data("[/INST]")).Build();
        Assert.Equal(tokenizer.Encode(once).Count - 1, (ids.Count - 1) / 100_000);
    }

    [Fact]
    public void A_word_of_two_million_letters_is_encoded_as_its_merges_say()
    {
        var random = new Random(6);
        var text = string.Concat(Enumerable.Range(0, 2_000_000).Select(_ => (char)('a' + random.Next(26))));
        foreach (var style in (string[])["llama2-style", "qwen2-style"])
        {
            var tokenizer = Tokenizer.Load(Path.Combine(Fixtures.Root, "tokenizers", style));
            Assert.Equal(text, tokenizer.Decode(tokenizer.Encode(text)));
        }
    }

    [Fact]
    public void A_long_word_whose_bytes_are_not_all_tokens_is_merged_as_a_short_one()
    {
        using var folder = Folder("qwen2-style");
        Edit(folder, json => json["model"]!["vocab"]!.AsObject().Remove(ByteLevel.Character(0xff).ToString()));
        var (whole, less) = (Tokenizer.Load(Path.Combine(Fixtures.Root, "tokenizers", "qwen2-style")), Tokenizer.Load(folder.Path));
        var text = string.Concat(Enumerable.Repeat("thewordsthatfollow", 5_000));
        Assert.Equal(whole.Encode(text), less.Encode(text));
    }

    [Fact]
    public void Encoding_ends_when_it_is_cancelled()
    {
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        foreach (var style in (string[])["llama2-style", "qwen2-style", "llama3-style"])
        {
            var tokenizer = Tokenizer.Load(Path.Combine(Fixtures.Root, "tokenizers", style));
            foreach (var text in (string[])["text", new string('x', 300_000), string.Concat(Enumerable.Repeat("a b\u0301 ", 100_000)), "e" + new string('\u0323', 10_000)])
            {
                Assert.ThrowsAny<OperationCanceledException>(() => tokenizer.Encode(text, cancellationToken: cancelled.Token));
            }
        }
    }

    private static ScratchFolder WithExpression(string pattern)
    {
        var folder = Folder("qwen2-style");
        Edit(folder, json => json["pre_tokenizer"]!["pretokenizers"]![0]!["pattern"]!["Regex"] = pattern);
        return folder;
    }
}

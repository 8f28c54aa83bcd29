using HeadInfer.Text.Templates;

namespace HeadInfer.Text.Tests;

public sealed class TokenizerTests
{
    private readonly Tokenizer _tokenizer = Tokenizer.Load(Fixtures.DemoModel);

    [Fact]
    public void Text_comes_back_and_every_beginning_decodes_as_a_whole()
    {
        foreach (var text in (string[])["Now it came to pass.", "naïve café — 你好 😀👩\u200d👩\u200d👧 𝒳", "  tabs\t\n\n and 3.14", ""])
        {
            var ids = _tokenizer.Encode(text);
            Assert.Equal(text.Normalize(), _tokenizer.Decode(ids));
            var (stream, sofar) = (new TokenStream(_tokenizer), "");
            foreach (var id in ids)
            {
                var part = stream.Append(id);
                Assert.DoesNotContain('\uFFFD', part);
                sofar += part;
                Assert.StartsWith(sofar, text.Normalize(), StringComparison.Ordinal);
            }

            Assert.Equal(text.Normalize(), sofar + stream.Flush());
        }
    }

    [Fact]
    public void A_character_that_never_ends_becomes_a_replacement()
    {
        var ids = _tokenizer.Encode("😀");
        Assert.True(ids.Count > 1, "the test needs a character of several tokens");
        var stream = new TokenStream(_tokenizer);
        Assert.Equal("", stream.Append(ids[0]));
        Assert.Equal("\uFFFD", stream.Flush());
    }

    [Fact]
    public void Special_tokens_count_only_where_they_are_allowed()
    {
        var end = _tokenizer.AddedToken("<|im_end|>")!.Value;
        Assert.Contains(end, _tokenizer.Encode("a<|im_end|>b", parseSpecial: true));
        Assert.DoesNotContain(end, _tokenizer.Encode("a<|im_end|>b"));
        Assert.DoesNotContain(_tokenizer.AddedToken("<tool_call>")!.Value, _tokenizer.Encode("<tool_call>"));
        Assert.Equal("a<|im_end|>b", _tokenizer.Decode(_tokenizer.Encode("a<|im_end|>b")));
        Assert.Equal("ab", _tokenizer.Decode(_tokenizer.Encode("a<|im_end|>b", parseSpecial: true)));
        Assert.Equal("a<|im_end|>b", _tokenizer.Decode(_tokenizer.Encode("a<|im_end|>b", parseSpecial: true), skipSpecial: false));
    }

    [Fact]
    public void A_special_token_half_of_which_came_from_a_user_is_text()
    {
        var text = new TemplateTextBuilder().Append(TemplateText.Trusted("<|im_")).Append(TemplateText.Data("end|>")).Build();
        Assert.DoesNotContain(_tokenizer.AddedToken("<|im_end|>")!.Value, _tokenizer.Encode(text));
        var whole = new TemplateTextBuilder().Append(TemplateText.Trusted("<|im_")).Append(TemplateText.Trusted("end|>")).Build();
        Assert.Equal([_tokenizer.AddedToken("<|im_end|>")!.Value], _tokenizer.Encode(whole));
    }

    [Fact]
    public void Ids_out_of_range_are_refused()
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => _tokenizer.Decode([-1]));
        Assert.Throws<ArgumentOutOfRangeException>(() => _tokenizer.Decode([_tokenizer.VocabularySize]));
        Assert.Null(_tokenizer.AddedToken("<|no_such|>"));
    }

    [Fact]
    public void A_dropout_of_merges_is_named_as_unsupported()
    {
        using var folder = new ScratchFolder(Path.Combine(Fixtures.Root, "tokenizers", "qwen2-style"));
        folder.Edit("tokenizer.json", "\"dropout\": null", "\"dropout\": 0.1");
        Assert.Contains("dropout", Assert.Throws<UnsupportedModelException>(() => Tokenizer.Load(folder.Path)).Message, StringComparison.Ordinal);
    }
}

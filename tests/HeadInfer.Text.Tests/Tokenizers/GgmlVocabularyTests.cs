using System.Text.Json;
using System.Text.Json.Nodes;
using HeadInfer.Text.Tokenizers;

namespace HeadInfer.Text.Tests;

/// <summary>Tokenizers of GGUF's metadata against those of the folders that the metadata was made from.</summary>
public sealed class GgmlVocabularyTests
{
    [Theory]
    [InlineData("qwen2-style", "qwen2")]
    [InlineData("llama3-style", "llama-bpe")]
    [InlineData("tekken-style", "tekken")]
    [InlineData("llama2-style", null)]
    public void Ids_and_texts_are_the_folders(string style, string? pre)
    {
        var folder = Path.Combine(Fixtures.Root, "tokenizers", style);
        var (tokenizer, expected) = (Of(style, pre).Build(ChatTemplate.ChatMl), Tokenizer.Load(folder));
        Assert.Equal(expected.VocabularySize, tokenizer.VocabularySize);
        using var golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "golden.json")));
        var texts = golden.RootElement.EnumerateArray().Select(row => row.GetProperty("text").GetString()!).Concat(Fixtures.Book("jonah").Chunk(333).Select(c => new string(c))).ToList();
        Assert.All(texts, text =>
        {
            var ids = expected.Encode(text, parseSpecial: true, addSpecial: true);
            Assert.Equal(ids, tokenizer.Encode(text, parseSpecial: true, addSpecial: true));
            Assert.Equal(expected.Encode(text), tokenizer.Encode(text));
            Assert.Equal(expected.Decode(ids), tokenizer.Decode(ids));
            Assert.Equal(expected.Decode(ids, skipSpecial: false), tokenizer.Decode(ids, skipSpecial: false));
        });
        Assert.All(Enumerable.Range(0, expected.VocabularySize), id => Assert.Equal(expected.Bytes(id).ToArray(), tokenizer.Bytes(id).ToArray()));
    }

    [Fact]
    public void Ids_of_merges_across_spaces_and_lines_are_the_folders()
    {
        // As Gemma 4's folders have it: a mark for each space and none before a text, and lines' ends that merge.
        using var folder = TokenizerFolder.Folder("llama2-style");
        TokenizerFolder.Edit(folder, json =>
        {
            (json["normalizer"], json["pre_tokenizer"]) = (JsonNode.Parse("""{"type": "Replace", "pattern": {"String": " "}, "content": "▁"}"""), JsonNode.Parse("""{"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": false}"""));
            json["decoder"] = JsonNode.Parse("""{"type": "Sequence", "decoders": [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]}""");
            var (vocabulary, merges, added) = (json["model"]!["vocab"]!.AsObject(), json["model"]!["merges"]!.AsArray(), json["added_tokens"]!.AsArray());
            var next = vocabulary.Max(v => (int)v.Value!) + 1;
            foreach (var lines in (string[])["\n", "\n\n", "\n\n\n"])
            {
                vocabulary[lines] = next++;
            }

            merges.Insert(0, new JsonArray("\n", "\n"));
            merges.Insert(1, new JsonArray("\n\n", "\n"));
            added.Add(TokenizerFolder.Added(next++, "<|turn>", special: true));
            added.Add(TokenizerFolder.Added(next++, "<turn|>", special: true));
            added.Add(TokenizerFolder.Added(next++, "<|tool_call>", special: false));
        });
        const string template = "{% for m in messages %}<|turn>{{ m.role }}\n<|tool_call>{{ m.content }}<turn|>\n{% endfor %}";
        var vocabulary = GgmlVocabularies.Of(folder.File("tokenizer.json"), "gemma4");
        var expected = Tokenizer.Load(folder.Path, template);
        string[] texts = ["", "x", " x", "a  b\n\n\n\n\nc\n", "\n\n", "é你好 😀\u200d", "<|turn>user\n<|tool_call>a b<turn|>\n", "x▁y", .. Fixtures.Book("jonah").Chunk(333).Select(c => new string(c))];
        // The second as the first files have it, the third as Ollama's converter.
        foreach (var its in (GgmlVocabulary[])[vocabulary, vocabulary with { AddsFirst = false }, vocabulary with { Model = "llama", Pre = "gemma4", Scores = new float[vocabulary.Tokens.Count] }])
        {
            var tokenizer = its.Build(template);
            Assert.All(texts, text =>
            {
                var ids = expected.Encode(text, parseSpecial: true, addSpecial: true);
                Assert.Equal(ids, tokenizer.Encode(text, parseSpecial: true, addSpecial: true));
                Assert.Equal(expected.Encode(text), tokenizer.Encode(text));
                Assert.Equal(expected.Decode(ids, skipSpecial: false), tokenizer.Decode(ids, skipSpecial: false));
            });
            Assert.All(Enumerable.Range(0, expected.VocabularySize), id => Assert.Equal((expected.IsSpecial(id), Convert.ToHexString(expected.Bytes(id).Span)), (tokenizer.IsSpecial(id), Convert.ToHexString(tokenizer.Bytes(id).Span))));
        }
    }

    // Worked out by hand from the expressions of the models' own tokenizer.json.
    [Theory]
    [InlineData("gpt-2", "It's 1234 x\n\n  y", "It|'s| 1234| x|\n\n | y")]
    [InlineData("smollm", "It's 1234 x", "It|'s| |1|2|3|4| x")]
    [InlineData("llama-bpe", "IT'S 12345 x\n\n  y", "IT|'S| |123|45| x|\n\n| | y")]
    [InlineData("qwen2", "It's 12 x_y", "It|'s| |1|2| x|_y")]
    [InlineData("hunyuan", "It's 12 x_y", "It|'s| |1|2| x|_y")]
    [InlineData("qwen35", "It's 12 नमस्ते x\u0323\u0323_y", "It|'s| |1|2| नमस्ते| x\u0323\u0323|_y")]
    [InlineData("glm4", "IT'S 12345 x\n\n  y", "IT|'S| |123|45| x|\n\n| | y")]
    [InlineData("command-r", "It's 1234½ x\n\n  y", "It|'s| |1|2|3|4|½| x|\n\n | y")]
    [InlineData("tekken", "helloWorld it's 12", "hello|World| it|'s| |1|2")]
    [InlineData("gpt-4o", "helloWorld it's 1234/\n", "hello|World| it's| |123|4|/\n")]
    [InlineData("deepseek-coder", "if x1 == 你好:\n", "if| x|1| ==| |你好|:|\n")]
    [InlineData("deepseek-v3", "a.b 1234 你好 x+=1", "a|.b| |123|4| |你好| x|+=|1")]
    [InlineData("deepseek-llm", "It's 1234 你  好。x\n y  ", "It|'|s| |1|2|3|4| |你|  |好|。|x|\n| y|  ")]
    [InlineData("deepseek-llm", "x \U00010400Ω \U0001D400Ω naïve", "x| \U00010400Ω| \U0001D400|Ω| na|ï|ve")] // of letters it has some alphabets, and not those of mathematics
    [InlineData("seed-coder", "It's 12 x\n\n  y!\n", "It|'s| |1|2| x|\n\n| | y|!|\n")]
    [InlineData("tiny_aya", "helloWorld it's 1234567 12/\n", "hello|World| it's| |1|234|567| |12|/\n")]
    [InlineData("default", "don't 12345!", "don|'|t| |123|45|!")]
    public void Text_is_cut_as_the_name_says(string pre, string text, string words)
    {
        var splits = GgmlSplits.Of(pre, "x.gguf").Expressions.Select(e => new WordSplit(Expressions.Compile(e))).ToList();
        Assert.Equal(words, string.Join('|', new WordSplitter(splits).Words(text, new TextWork(text.Length)).Select(w => text.Substring(w.Offset, w.Length))));
    }

    // The tokenizer.json of DeepSeek V2 names letters that .NET's classes cannot have.
    [Fact]
    public void A_folder_of_DeepSeek_V2_cuts_as_its_gguf_file()
    {
        using var folder = TokenizerFolder.Folder("qwen2-style");
        TokenizerFolder.Edit(folder, json =>
        {
            var steps = GgmlSplits.Of("deepseek-llm", "x.gguf").Expressions.SkipLast(1)
                .Select(e => new JsonObject { ["type"] = "Split", ["pattern"] = new JsonObject { ["Regex"] = e }, ["behavior"] = "Isolated", ["invert"] = false });
            json["normalizer"] = null;
            json["pre_tokenizer"] = new JsonObject { ["type"] = "Sequence", ["pretokenizers"] = new JsonArray([.. steps, new JsonObject { ["type"] = "Digits", ["individual_digits"] = true }, new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["use_regex"] = false }]) };
        });
        var (ofFolder, ofFile) = (Tokenizer.Load(folder.Path), Of("qwen2-style", "deepseek-llm").Build(""));
        const string text = "The \U00010400Ω of 1234 你好, it's naïve\n";
        Assert.Equal(ofFolder.Encode(text), ofFile.Encode(text));
    }

    [Theory]
    [InlineData("qwen2", true)]
    [InlineData("qwen35", true)]
    [InlineData("command-r", true)]
    [InlineData("seed-coder", true)]
    [InlineData("olmo", true)]
    [InlineData("tiny_aya", false)]
    [InlineData("deepseek-llm", false)]
    [InlineData("glm4", false)]
    public void Marks_are_composed_where_the_models_files_say_so(string pre, bool composed)
    {
        var tokenizer = Of("qwen2-style", pre).Build("");
        Assert.Equal(composed, tokenizer.Encode("cafe\u0301").SequenceEqual(tokenizer.Encode("caf\u00e9")));
    }

    [Fact]
    public void What_fills_the_vocabulary_up_is_no_token()
    {
        var whole = GgmlVocabularies.Of(Path.Combine(Fixtures.Root, "tokenizers", "qwen2-style", "tokenizer.json"), "qwen2", size: 3100);
        var tokenizer = whole.Build("");
        Assert.Equal(Tokenizer.Load(Path.Combine(Fixtures.Root, "tokenizers", "qwen2-style")).VocabularySize, tokenizer.VocabularySize);
        Assert.Null(tokenizer.AddedToken("[PAD3099]"));
    }

    [Fact]
    public void Flags_are_followed()
    {
        var llama = Of("llama2-style", null);
        var ids = llama.Build("").Encode("x");
        Assert.Equal([1, .. ids, 2], (llama with { Last = 2, AddsLast = true }).Build("").Encode("x", addSpecial: true));
        Assert.Equal(ids, (llama with { AddsFirst = false }).Build("").Encode("x", addSpecial: true));
        var bare = (llama with { AddsSpace = false }).Build("");
        Assert.NotEqual(ids, bare.Encode("x"));
        Assert.Equal(("x", " x"), (bare.Decode(bare.Encode("x")), bare.Decode(bare.Encode(" x"))));
        var qwen = Of("qwen2-style", "qwen2");
        var end = qwen.Build("").AddedToken("<|im_end|>")!.Value;
        Assert.Equal([end, .. qwen.Build("").Encode("x")], (qwen with { First = end, AddsFirst = true }).Build("").Encode("x", addSpecial: true));
        // Phi-3's turns take the line's end with them; what begins a text does not.
        var phi = (llama with { Types = [.. llama.Types.Select((type, id) => id == 300 ? 3 : type)], StripsAfterControl = true }).Build("");
        var marker = llama.Tokens[300];
        Assert.Equal([300, .. phi.Encode("x")], phi.Encode($"{marker}\n x", parseSpecial: true));
        Assert.NotEqual([1, .. phi.Encode("x")], phi.Encode("<s>\n x", parseSpecial: true));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    public void A_marker_that_the_template_writes_is_no_text(int wrongType)
    {
        var (right, warnings) = (Of("qwen2-style", "qwen2"), new List<string>());
        var wrong = right with { Types = [.. right.Types.Select((type, id) => type == 3 ? wrongType : type)], Warn = warnings.Add };
        var (expected, tokenizer) = (right.Build(ChatTemplate.ChatMl), wrong.Build(ChatTemplate.ChatMl));
        foreach (var marker in (string[])["<|im_start|>", "<|im_end|>"])
        {
            var id = expected.AddedToken(marker)!.Value;
            Assert.Equal((id, true), (tokenizer.AddedToken(marker), tokenizer.IsSpecial(id)));
            Assert.Equal([id], tokenizer.Encode(marker, parseSpecial: true));
            Assert.DoesNotContain(id, tokenizer.Encode(marker));
        }

        Assert.Contains("'<|im_start|>', '<|im_end|>'", Assert.Single(warnings), StringComparison.Ordinal);
        right.Build(ChatTemplate.ChatMl);
        wrong.Build(""); // nobody writes them
        Assert.Single(warnings);
    }

    [Theory]
    [InlineData(1, "<\uff5ctool\u2581calls\u2581begin\uff5c>")]
    [InlineData(4, "<\uff5ctool\u2581calls\u2581begin\uff5c>")]
    [InlineData(1, "<|tool_call|>")]
    [InlineData(4, "<|tool_call|>")]
    [InlineData(4, "[TOOL_CALLS]")]
    [InlineData(4, "[THINK]")]
    public void A_marker_of_calls_that_is_text_stays_so_and_is_one_token(int type, string marker)
    {
        var (qwen, warnings) = (Of("qwen2-style", "qwen2"), new List<string>());
        var id = qwen.Build("").AddedToken("<|im_start|>")!.Value;
        var tokenizer = (qwen with { Tokens = [.. qwen.Tokens.Select((t, i) => i == id ? marker : t)], Types = [.. qwen.Types.Select((t, i) => i == id ? type : t)], Warn = warnings.Add }).Build($"{{{{ '{marker}' }}}}");
        Assert.Equal((id, false), (tokenizer.AddedToken(marker), tokenizer.IsSpecial(id)));
        Assert.Equal([id], tokenizer.Encode(marker, parseSpecial: true));
        Assert.DoesNotContain(id, tokenizer.Encode(marker));
        Assert.Equal(marker, tokenizer.Decode([id])); // calls are read from what is shown
        Assert.Empty(warnings);
    }

    [Fact]
    public void What_a_file_names_as_an_end_is_no_text_if_it_looks_like_a_marker()
    {
        var (llama, warnings) = (Of("llama2-style", null), new List<string>());
        var (marker, word) = (300, 301);
        llama = llama with { Tokens = [.. llama.Tokens.Select((t, id) => id == marker ? "<eos>" : t)], Named = [marker, word], Warn = warnings.Add };
        var tokenizer = llama.Build("");
        Assert.Equal((true, false), (tokenizer.IsSpecial(marker), tokenizer.IsSpecial(word)));
        Assert.Contains("'<eos>'", Assert.Single(warnings), StringComparison.Ordinal);
        var turns = llama with { Tokens = [.. llama.Tokens.Select((t, id) => id == marker ? "<end_of_turn>" : t)], Named = [] };
        Assert.True(turns.Build("{{ m.content }}<end_of_turn>").IsSpecial(marker));
    }

    [Fact]
    public void Markers_of_Gemma_4_that_are_shown_stay_text()
    {
        var (llama, warnings) = (Of("llama2-style", null), new List<string>());
        var gemma = llama with { Model = "gemma4", Tokens = [.. llama.Tokens.Select((t, id) => id == 300 ? "<|\"|>" : t)], Types = [.. llama.Types.Select((t, id) => id == 300 ? 4 : t)], Warn = warnings.Add };
        Assert.False(gemma.Build("{{ '<|\"|>' }}").IsSpecial(300));
        Assert.Empty(warnings);
    }

    [Fact]
    public void What_contradicts_itself_or_is_not_known_is_named()
    {
        var qwen = Of("qwen2-style", "qwen2");
        Assert.Contains("'nobody'", Assert.Throws<UnsupportedModelException>(() => (qwen with { Pre = "nobody" }).Build("")).Message, StringComparison.Ordinal);
        Assert.Contains("May 2024", Assert.Throws<UnsupportedModelException>(() => (qwen with { Pre = null }).Build("")).Message, StringComparison.Ordinal);
        Assert.Contains("'bert'", Assert.Throws<UnsupportedModelException>(() => (qwen with { Model = "bert" }).Build("")).Message, StringComparison.Ordinal);
        foreach (var wrong in (GgmlVocabulary[])[
            qwen with { Types = [1] }, qwen with { Tokens = [] }, qwen with { Last = 999_999 }, qwen with { Merges = ["ab"] },
            qwen with { Tokens = [.. qwen.Tokens.Select(t => t == "a" ? "\u4e00" : t)] }, Of("llama2-style", null) with { Scores = [] }])
        {
            Assert.Throws<TokenizerException>(() => wrong.Build(""));
        }
    }

    private static GgmlVocabulary Of(string style, string? pre) => GgmlVocabularies.Of(Path.Combine(Fixtures.Root, "tokenizers", style, "tokenizer.json"), pre);
}

using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Microsoft.ML.Tokenizers;

namespace HeadInfer.Text.Tests;

/// <summary>Folders whose tokenizer is a <c>tekken.json</c>.</summary>
public sealed class TekkenTests
{
    private const int Specials = 8; // of TekkenWriter.Small
    private const string Style = "tekken-style";

    // Pieces of one character are bytes; the others stand here by rank.
    [Theory]
    [InlineData("hello", "he|llo")] // "hello" is listed beyond those that count
    [InlineData("hel", "he|l")]
    [InlineData("lllo", "ll|l|o")] // of equal ranks the leftmost
    [InlineData("xyz", "xyz")] // no merge makes it, but it is a token as it stands
    [InlineData("xyzx", "x|y|z|x")]
    [InlineData("é!", "\u00c3|\u00a9|!")]
    [InlineData("[INST]", "[|I|N|S|T|]")]
    public void Ids_are_those_worked_out_by_hand(string text, string pieces)
    {
        string[] longer = ["he", "ll", "llo", "xyz"];
        int[] ids = [.. pieces.Split('|').Select(p => Specials + (p.Length == 1 ? p[0] : 256 + Array.IndexOf(longer, p)))];
        var tokenizer = Load(TekkenWriter.Small());
        Assert.Equal(ids, tokenizer.Encode(text));
        Assert.Equal([1, .. ids], tokenizer.Encode(text, addSpecial: true));
        Assert.Equal(text, tokenizer.Decode(ids));
        Assert.Equal(Specials + 256 + longer.Length, tokenizer.VocabularySize);
    }

    [Fact]
    public void Special_tokens_have_the_first_ids_and_the_rest_of_them_is_filled()
    {
        var json = TekkenWriter.Small();
        json["special_tokens"]![4]!["is_control"] = false;
        var tokenizer = Load(json);
        Assert.Equal([3, Specials + 'x', 4, 2], tokenizer.Encode("[INST]x[/INST]</s>", parseSpecial: true));
        Assert.Equal("<s>[INST]<SPECIAL_5><SPECIAL_7>x", tokenizer.Decode([1, 3, 5, 7, Specials + 'x'], skipSpecial: false));
        Assert.Equal("[/INST]x", tokenizer.Decode([1, 3, 4, 5, 7, Specials + 'x']));
        Assert.Equal([true, true, true, true, false, true, true, true, false], Enumerable.Range(0, Specials + 1).Select(tokenizer.IsSpecial));
        Assert.DoesNotContain(4, tokenizer.Encode("[/INST]")); // which text cannot spell, though it is shown
    }

    [Theory]
    [InlineData("v3")]
    [InlineData("v7")]
    public void Older_files_leave_special_tokens_out(string version)
    {
        var tokenizer = Load(TekkenWriter.Of([], special: null, specials: 1000, version: version));
        Assert.Equal((0, 1, 2, 3, 9, 11, 19, 20), (tokenizer.AddedToken("<unk>"), tokenizer.AddedToken("<s>"), tokenizer.AddedToken("</s>"), tokenizer.AddedToken("[INST]"), tokenizer.AddedToken("[TOOL_CALLS]"), tokenizer.AddedToken("<pad>"), tokenizer.AddedToken("[TOOL_CONTENT]"), tokenizer.AddedToken("<SPECIAL_20>")));
        Assert.Equal([1, 1000 + 'a'], tokenizer.Encode("a", addSpecial: true));
    }

    [Fact]
    public void Tokens_that_are_no_whole_characters_keep_their_bytes()
    {
        var tokenizer = Load(TekkenWriter.Of([[0xe4, 0xbd], [0xff, 0xfe]], TekkenWriter.Special, Specials));
        var ids = tokenizer.Encode("你");
        Assert.Equal([Specials + 256, Specials + 0xa0], ids);
        Assert.Equal("你", tokenizer.Decode(ids));
        Assert.Equal("\ufffd", tokenizer.Decode(ids.Take(1)));
        Assert.Equal([0xff, 0xfe], tokenizer.Bytes(Specials + 257).ToArray());
        Assert.All(Enumerable.Range(0, 256), b => Assert.Equal([(byte)b], tokenizer.Bytes(Specials + b).ToArray()));
    }

    [Fact]
    public void Ids_of_a_converted_vocabulary_are_the_golden_ones()
    {
        var folder = Path.Combine(Fixtures.Root, "tokenizers", Style);
        var tokenizer = Load(TekkenWriter.FromTokenizer(Path.Combine(folder, "tokenizer.json"), out var ids));
        using var golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(folder, "golden.json")));
        Assert.All(golden.RootElement.EnumerateArray(), row => Assert.Equal(
            row.GetProperty("ids_without_added_bos").EnumerateArray().Select(id => ids[id.GetInt32()]), tokenizer.Encode(row.GetProperty("text").GetString()!, parseSpecial: true)));
    }

    [Fact]
    public void Ids_of_a_converted_vocabulary_are_those_of_a_tiktoken_library()
    {
        var json = TekkenWriter.FromTokenizer(Path.Combine(Fixtures.Root, "tokenizers", Style, "tokenizer.json"), out _);
        var tokenizer = Load(json);
        var lines = string.Join('\n', json["vocab"]!.AsArray().Select(t => string.Create(CultureInfo.InvariantCulture, $"{t!["token_bytes"]} {(int)t["rank"]!}")));
        var specials = (int)json["config"]!["default_num_special_tokens"]!;
        var words = new RegexPreTokenizer(new Regex((string)json["config"]!["pattern"]!), null);
        var oracle = TiktokenTokenizer.Create(new MemoryStream(Encoding.UTF8.GetBytes(lines)), words, normalizer: null);
        var random = new Random(5);
        string[] texts = [.. Fixtures.Book("jonah").Chunk(333).Select(c => new string(c)), .. Enumerable.Range(0, 500).Select(_ => new string([.. Enumerable.Range(0, random.Next(1, 60)).Select(_ => "etaoinhs Ee\n-é你"[random.Next(15)])])), new string('e', 1500)];
        Assert.All(texts, text => Assert.Equal(oracle.EncodeToIds(text).Select(id => id + specials), tokenizer.Encode(text)));
    }

    [Fact]
    public void Templates_know_its_tokens_by_their_names_where_no_file_says_them()
    {
        using var folder = new ScratchFolder();
        File.WriteAllText(folder.File("tekken.json"), TekkenWriter.Small().ToJsonString());
        File.WriteAllText(folder.File("chat_template.jinja"), "{{ bos_token }}[INST]{{ messages[0].content }}[/INST]{{ eos_token }}");
        Assert.Equal(
            [1, 3, .. "[/INST]</s>".Select(c => Specials + c), 4, 2],
            ChatTemplate.Load(folder.Path)!.Encode([new("user", "[/INST]</s>")], Tokenizer.Load(folder.Path)));
        File.WriteAllText(folder.File("tokenizer_config.json"), """{"bos_token": "[/INST]"}""");
        Assert.Equal("[/INST][INST]x[/INST]</s>", ChatTemplate.Load(folder.Path)!.Render([new("user", "x")]));
    }

    [Fact]
    public void A_tokenizer_json_beside_it_comes_first()
    {
        using var folder = TokenizerFolder.Folder(Style);
        File.WriteAllText(folder.File("tekken.json"), "{");
        Assert.Equal(3005, Tokenizer.Load(folder.Path).VocabularySize);
    }

    [Theory]
    [InlineData("config", "lacks 'config'")]
    [InlineData("vocab", "lacks 'vocab'")]
    [InlineData("config.pattern", "lacks 'pattern'")]
    [InlineData("config.default_vocab_size", "lacks 'default_vocab_size'")]
    [InlineData("config.default_num_special_tokens", "lacks 'default_num_special_tokens'")]
    [InlineData("vocab.257.rank", "lacks 'rank'")]
    [InlineData("vocab.257.token_bytes", "lacks 'token_bytes'")]
    [InlineData("special_tokens.2.token_str", "lacks 'token_str'")]
    [InlineData("special_tokens", "no special_tokens", "config.version=\"v13\"")]
    [InlineData("", "vocab[257] are no base64", "vocab.257.token_bytes=\"?\"")]
    [InlineData("", "vocab[257]", "vocab.257.token_bytes=\"\"")]
    [InlineData("", "vocab[257]", "vocab.257.token_bytes=\"aGU=\"")] // as the one before it
    [InlineData("", "vocab[65]", "vocab.65.token_bytes=\"Qg==\"")]
    [InlineData("", "vocab[257] has the rank 256", "vocab.257.rank=256")]
    [InlineData("", "special_tokens[2] has the rank 1", "special_tokens.2.rank=1")]
    [InlineData("", "'<s>' twice", "special_tokens.2.token_str=\"<s>\"")]
    [InlineData("", "'<SPECIAL_6>' twice", "special_tokens.2.token_str=\"<SPECIAL_6>\"")]
    [InlineData("", "special_tokens[2] has no text", "special_tokens.2.token_str=\"\"")]
    [InlineData("", "it has 5 special tokens", "config.default_num_special_tokens=4;config.default_vocab_size=264")]
    [InlineData("", "default_vocab_size is 270", "config.default_vocab_size=270")]
    [InlineData("", "default_vocab_size is 263", "config.default_vocab_size=263")]
    [InlineData("", "default_vocab_size is -2147483648", "config.default_vocab_size=-2147483648")]
    [InlineData("", "default_vocab_size is 2147483647", "config.default_vocab_size=2147483647")]
    [InlineData("", "tokens 2147483647", "config.default_num_special_tokens=2147483647")]
    [InlineData("", "tokens -1", "config.default_num_special_tokens=-1")]
    [InlineData("", "is not a tokenizer", "config.default_vocab_size=1e99")]
    [InlineData("", "is not a tokenizer", "config.default_vocab_size=\"268\"")]
    [InlineData("", "is not a tokenizer", "config.pattern=\"(\"")]
    [InlineData("", "is not a tokenizer", "vocab={}")]
    [InlineData("", "is not a tokenizer", "vocab.257=null")]
    [InlineData("", "is not a tokenizer", "special_tokens=7")]
    public void A_damaged_file_is_named(string removed, string says, string? changed = null)
    {
        var json = TekkenWriter.Small();
        if (removed.Length > 0)
        {
            var (parent, name) = Place(json, removed);
            parent.AsObject().Remove(name);
        }

        foreach (var change in changed?.Split(';') ?? [])
        {
            var (path, value) = (change[..change.IndexOf('=', StringComparison.Ordinal)], change[(change.IndexOf('=', StringComparison.Ordinal) + 1)..]);
            var (parent, name) = Place(json, path);
            if (parent is JsonArray list)
            {
                list[int.Parse(name, CultureInfo.InvariantCulture)] = JsonNode.Parse(value);
            }
            else
            {
                parent[name] = JsonNode.Parse(value);
            }
        }

        var error = Assert.Throws<TokenizerException>(() => Load(json));
        Assert.Contains("tekken.json", error.Message, StringComparison.Ordinal);
        Assert.Contains(says, error.Message, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public void Work_and_memory_are_bounded()
    {
        var error = Assert.Throws<TokenizerException>(() => Load(TekkenWriter.Of([[.. Enumerable.Repeat((byte)'a', 20_000)]], TekkenWriter.Special, Specials)));
        Assert.Contains("takes more than 100,000,000 steps", error.Message, StringComparison.Ordinal);
        var many = TekkenWriter.Small();
        (many["config"]!["default_vocab_size"], many["config"]!["default_num_special_tokens"]) = (100_256, 100_000);
        Assert.Contains("tokens 100000", Assert.Throws<TokenizerException>(() => Load(many)).Message, StringComparison.Ordinal);
    }

    private static (JsonNode Parent, string Name) Place(JsonNode json, string path)
    {
        var names = path.Split('.');
        var parent = names[..^1].Aggregate(json, (node, name) => node is JsonArray list ? list[int.Parse(name, CultureInfo.InvariantCulture)]! : node[name]!);
        return (parent, names[^1]);
    }

    private static Tokenizer Load(JsonObject json)
    {
        using var folder = new ScratchFolder();
        File.WriteAllText(folder.File("tekken.json"), json.ToJsonString());
        return Tokenizer.Load(folder.Path);
    }
}

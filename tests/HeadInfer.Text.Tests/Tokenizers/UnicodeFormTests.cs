using System.Text;
using HeadInfer.Text.Tokenizers;
using static HeadInfer.Tests.TokenizerFolder;

namespace HeadInfer.Text.Tests;

/// <summary>Unicode's forms are the system library's, in time that grows with the text.</summary>
public sealed class UnicodeFormTests
{
    // Marks of many classes, of none, and those that are several marks or become none; characters that compose with them.
    private const string Marks = "\u0300\u0301\u0302\u0306\u0308\u030a\u031b\u0323\u0327\u0328\u0334\u0338\u0340\u0341\u0343\u0344\u0345\u0360\u05b0\u05b4\u05bc\u064b\u0651\u0653\u0654\u093c\u094d\u09be\u09d7\u0b3e\u0bd7\u0cc2\u0cd5\u0dca\u0dcf\u0e38\u0f71\u0f72\u0f73\u0f74\u0f75\u0f80\u0f81\u102e\u1161\u11a8\u1b35\u20d0\u3099\u309a\uff9e\uff9f";
    private const string Bases = "aAeEoOuUwWsSdDzZ\u00e9\u00e7\u0105\u01b0\u1ea1\u1ec7\u0391\u03b1\u03c9\u1f00\u05d0\u0627\u0915\u09c7\u0b47\u0bc6\u0cc6\u0cca\u0dd9\u1025\u1100\uac00\uac01\u1b05\u304b\u30cf\u2126\u212b\ufb01\ufdfa\uff76\ufffe\u037e\u0f77\u0e33";

    public static TheoryData<NormalizationForm> Forms => [NormalizationForm.FormC, NormalizationForm.FormD, NormalizationForm.FormKC, NormalizationForm.FormKD];

    [Theory]
    [MemberData(nameof(Forms))]
    public void Every_form_is_the_librarys(NormalizationForm form)
    {
        var random = new Random(21);
        for (var i = 0; i < 3000; i++)
        {
            var text = RandomText(random, random.Next(60), longRuns: i % 10 == 0);
            Assert.Equal(Library(text, form), UnicodeForm.Of(text, form, new TextWork(text.Length)));
        }
    }

    [Theory]
    [MemberData(nameof(Forms))]
    public void A_run_in_linear_time_is_the_librarys_whatever_it_has(NormalizationForm form)
    {
        var random = new Random(22);
        for (var i = 0; i < 3000; i++)
        {
            var text = RandomText(random, random.Next(1, 40), longRuns: false).Replace("\ufffe", "", StringComparison.Ordinal);
            var result = new StringBuilder();
            RunNormalizer.Append(text, form, result, new TextWork(text.Length));
            Assert.Equal(text.Normalize(form), result.ToString());
        }
    }

    [Theory]
    [MemberData(nameof(Forms))]
    public void Every_character_of_the_first_planes_has_the_librarys_form(NormalizationForm form)
    {
        var text = string.Concat(Enumerable.Range(1, 0x1ffff).Where(c => c is not (>= 0xd800 and <= 0xdfff or 0xfffe)).Select(char.ConvertFromUtf32));
        Assert.Equal(text.Normalize(form), UnicodeForm.Of(text, form, new TextWork(text.Length)));
        var result = new StringBuilder();
        RunNormalizer.Append(text, form, result, new TextWork(text.Length));
        Assert.Equal(text.Normalize(form), result.ToString());
    }

    [Fact]
    public void A_million_marks_are_put_in_order()
    {
        // The library needs minutes. What it must give: e and the dot below compose, with the circumflex too.
        const int Half = 500_000;
        var text = "e" + string.Concat(Enumerable.Repeat("\u0302\u0323", Half));
        var composed = UnicodeForm.Of(text, NormalizationForm.FormC, new TextWork(text.Length));
        Assert.Equal("\u1ec7" + new string('\u0323', Half - 1) + new string('\u0302', Half - 1), composed);
        Assert.Equal("e" + new string('\u0323', Half) + new string('\u0302', Half), UnicodeForm.Of(text, NormalizationForm.FormKD, new TextWork(text.Length)));
        using var folder = new ScratchFolder(Path.Combine(Fixtures.Root, "tokenizers", "qwen2-style"));
        var tokenizer = Tokenizer.Load(folder.Path);
        Assert.Equal(composed, tokenizer.Decode(tokenizer.Encode(text)));
    }

    [Fact]
    public void Without_a_library_what_a_form_would_change_is_refused()
    {
        foreach (var (form, same, changed, name) in (ValueTuple<NormalizationForm, string, string, string>[])[
            (NormalizationForm.FormC, "naïve 你好 привет", "e\u0301", "NFC"),
            (NormalizationForm.FormD, "plain", "é", "NFD"),
            (NormalizationForm.FormKC, "plain", "ﬁ", "NFKC"),
            (NormalizationForm.FormKD, "plain", "１", "NFKD")])
        {
            Assert.Equal(same, UnicodeForm.Of(same, form, new TextWork(9), systemNormalizes: false));
            var error = Assert.Throws<TokenizerException>(() => UnicodeForm.Of("a " + changed, form, new TextWork(9), systemNormalizes: false));
            Assert.Contains(name, error.Message, StringComparison.Ordinal);
            Assert.Contains("libicu", error.Message, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("qwen2-style", "NFC")]
    [InlineData("qwen2-style", "NFKC")]
    [InlineData("llama2-style", "NFD")]
    [InlineData("llama2-style", null)]
    [InlineData("llama3-style", null)]
    public void What_is_no_text_is_a_replacement_and_noncharacters_stay(string style, string? form)
    {
        using var folder = Folder(style);
        if (form is not null)
        {
            Edit(folder, json => json["normalizer"] = new System.Text.Json.Nodes.JsonObject { ["type"] = form });
        }

        var tokenizer = Tokenizer.Load(folder.Path);
        foreach (var (text, expected) in ((string, string)[])[
            ("a\ufffeb", "a\ufffeb"), ("\uffff\ufffe", "\uffff\ufffe"), ("\ud800", "\ufffd"), ("a\udc00\u0301\ufffe\ud83d", "a\ufffd\u0301\ufffe\ufffd"), ("\udfff\ud800", "\ufffd\ufffd")])
        {
            foreach (var special in (bool[])[true, false])
            {
                Assert.Equal(expected, tokenizer.Decode(tokenizer.Encode(text, parseSpecial: special)));
            }
        }
    }

    private static string Library(string text, NormalizationForm form) => string.Join('\ufffe', text.Split('\ufffe').Select(part => part.Normalize(form)));

    private static string RandomText(Random random, int pieces, bool longRuns)
    {
        var text = new StringBuilder();
        for (var i = 0; i < pieces; i++)
        {
            switch (random.Next(5))
            {
                case 0:
                    text.Append(char.ConvertFromUtf32(random.Next(5) == 0 ? random.Next(0x1_0000, 0x3_0000) : random.Next(0x20, 0xd800)));
                    break;
                case 1:
                    text.Append(Bases[random.Next(Bases.Length)]);
                    break;
                default:
                    for (var marks = random.Next(longRuns && random.Next(8) == 0 ? 1500 : 6); marks > 0; marks--)
                    {
                        text.Append(Marks[random.Next(Marks.Length)]);
                    }

                    break;
            }
        }

        return text.ToString();
    }
}

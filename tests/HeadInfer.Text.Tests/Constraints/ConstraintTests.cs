using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Text.Tests;

public sealed class ConstraintTests
{
    private static readonly Lazy<Tokenizer> Words = new(() => Tokenizer.Load(Fixtures.DemoModel));

    [Theory]
    [InlineData("""{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"string"}},"required":["a"]}""", """{"a":1}|{"a": 1, "b": "x"}|{ "a" : 1}|{"b":"x"}|{"b":"x","a":1}|{"a":1,"c":2}|{"a":1.5}|{}""", "yynnnnnn")]
    [InlineData("""{"type":"object","additionalProperties":{"type":"boolean"}}""", """{}|{"x":true,"y":false}|{"x":true,"x":false}|{"x":1}|{"":true}""", "yynnn")]
    [InlineData("""{"properties":{"a":true},"additionalProperties":true}""", """{"a":null,"b":[1,{"c":"d"}]}|{"b":1,"a":2}|{"ab":1}|{"b":1}""", "ynyy")]
    [InlineData("""{"type":"object","required":["z"]}""", """{"z":[]}|{"z":1,"y":2}|{"y":2}""", "yyn")]
    [InlineData("""{"type":"array","items":{"type":"number"},"minItems":1,"maxItems":2}""", """[]|[1]|[1, -2.5e3]|[1,2,3]|["1"]|[01]|[1.]|[-]|[.5]|[1,]""", "nyynnnnnnn")]
    [InlineData("""{"type":"array","prefixItems":[{"const":1},{"enum":["a",null]}]}""", """[]|[1]|[1,"a"]|[1,null]|[2]|[1,"a",1]""", "yyyynn")]
    [InlineData("""{"type":"string","minLength":2,"maxLength":3}""", "\"a\"|\"ab\"|\"äöü\"|\"abcd\"|\"a\\n\"|\"a\\u00e9b\"|\"a\\ud800b\"|\"\\x\"|\"ab\u0001\"|\"😀😀\"", "nyynyynnny")]
    [InlineData("""{"type":"string","pattern":"^a(b|c)+$"}""", "\"ab\"|\"abcbc\"|\"a\"|\"abd\"", "yynn")]
    [InlineData("""{"type":"string","pattern":"b{2}","maxLength":4}""", "\"bb\"|\"abba\"|\"abbab\"|\"ab\"", "yynn")]
    [InlineData("""{"type":"string","pattern":"^[\"\\\\\\n]$"}""", "\"\\\"\"|\"\\\\\"|\"\\n\"|\"n\"", "yyyn")]
    [InlineData("""{"enum":["a","ab",1,12,null,{"k":[1]}]}""", """1|12|null|"a"|"ab"|{"k":[1]}|"b"|2|{"k":[2]}|{"k":[]}""", "yyyyyynnnn")]
    [InlineData("""{"anyOf":[{"type":"string"},{"type":"object","properties":{"a":{"const":1}},"required":["a"]},{"type":"object","properties":{"a":{"const":2},"b":{"type":"null"}},"required":["a","b"]}]}""", """{"a":1}|{"a":2,"b":null}|"s"|{"a":2}|{"a":1,"b":null}""", "yyynn")]
    [InlineData("""{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"next":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}]}},"required":["next"]}}}""", """{"next":null}|{"next":{"next":{"next":null}}}|{"next":{}}""", "yyn")]
    [InlineData("""{"allOf":[{"type":"object","properties":{"a":{"minimum":3}},"required":["a"]},{"properties":{"a":{"type":"integer","maximum":5},"b":{"type":"boolean"}},"required":["b"]}]}""", """{"a":4,"b":true}|{"a":6,"b":true}|{"a":2,"b":true}|{"a":4}""", "ynnn")]
    [InlineData("""{"properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"anyOf":[{"required":["a"]},{"required":["b"]}]}""", """{"a":1}|{"b":1}|{"a":1,"b":2}|{}""", "yyyn")]
    [InlineData("""{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"},"c":{"type":"null"}},"minProperties":2,"maxProperties":2}""", """{"a":null,"b":null}|{"b":null,"c":null}|{"a":null}|{"a":null,"b":null,"c":null}|{"c":null}""", "yynnn")]
    [InlineData("""{"type":["integer","null"],"minimum":10}""", "10|9|null|100|\"x\"", "ynyyn")]
    [InlineData("""{"type":"string","format":"date-time"}""", "\"2026-11-24T19:15:45Z\"|\"2026-13-24T19:15:45Z\"|\"yesterday\"", "ynn")]
    [InlineData("""{"type":"string","format":"time"}""", "\"23:59:59\"|\"07:30:00.25\"|\"24:00:00\"|\"12:60:00\"|\"12:30\"", "yynnn")]
    [InlineData("""{"anyOf":[{"$ref":"#"},{"type":"null"}]}""", "null|1", "yn")]
    [InlineData("""{"$ref":"#/$defs/v","$defs":{"v":{"anyOf":[{"$ref":"#/$defs/w"},{"const":"s"}]},"w":{"anyOf":[{"$ref":"#/$defs/v"},{"type":"null"}]}}}""", "\"s\"|null|1", "yyn")]
    [InlineData("""{"type":"object","properties":{"child":{"description":"next","allOf":[{"$ref":"#"}]}}}""", """{}|{"child":{"child":{}}}|{"child":1}""", "yyn")]
    [InlineData("""{"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"n":{"anyOf":[{"$ref":"#/$defs/n"},{"type":"null"}],"nullable":true}},"required":["n"]}}}""", """{"n":{"n":null}}|{"n":1}""", "yn")]
    [InlineData("""{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}],"$defs":{"a":{"type":"object","properties":{"x":{"allOf":[{"$ref":"#/$defs/a"},{"$ref":"#/$defs/b"}]}}},"b":{"type":"object","properties":{"x":{"$ref":"#/$defs/b"}},"maxProperties":1}}}""", """{}|{"x":{"x":{}}}|{"x":3}""", "yyn")]
    [InlineData("""{"type":["string","null"],"anyOf":[{"type":"integer"},{"type":"string","maxLength":3}]}""", "\"abc\"|\"abcd\"|7|null", "ynnn")]
    [InlineData("""{"enum":["a","abc",1,5,10,{"a":1},{"b":1}],"minLength":2,"minimum":3,"required":["a"]}""", """5|"abc"|"a"|1|{"a":1}|{"b":1}""", "yynnyn")]
    [InlineData("""{"type":"integer","enum":[1.0,2.5,1e2]}""", "1.0|2.5|1e2", "yny")]
    [InlineData("""{"const":"a","anyOf":[{"const":"a"},{"const":"b"}]}""", "\"a\"|\"b\"", "yn")]
    [InlineData("""{"allOf":[{"allOf":[{"type":"string","minLength":3}]},{"allOf":[{"maxLength":4,"type":"string"}]}]}""", "\"ab\"|\"abc\"|\"abcde\"", "nyn")]
    [InlineData("""{"allOf":[{"properties":{"a":{"type":"null"}},"additionalProperties":false},{"properties":{"b":{"type":"null"}}}]}""", """{"a":null}|{"b":null}|{}""", "yny")]
    [InlineData("""{"type":"array","minItems":1,"allOf":[{"prefixItems":[{"type":"integer"}]},{"items":{"type":["integer","string"],"maximum":3}}]}""", """[2]|[4]|["a"]|[1,"a"]|[1,4]""", "ynnyn")]
    [InlineData("""{"type":"string","pattern":"^.{2}$"}""", "\"ab\"|\"äö\"|\"😀😀\"", "yyn")]
    [InlineData("""{"type":"object","minProperties":1,"additionalProperties":{"type":"array","minItems":1,"items":{"type":"array"}}}""", """{"a":[[]]}|{}|{"a":[]}""", "ynn")]
    public void A_schema_allows_what_it_says(string schema, string texts, string expected)
    {
        var constraint = OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement);
        var actual = string.Concat(texts.Split('|').Select(t => Allows(constraint, t) ? 'y' : 'n'));
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void Integers_are_those_between_the_bounds()
    {
        var random = new Random(1);
        for (var i = 0; i < 40; i++)
        {
            var (low, high, step) = (random.Next(-150, 150), random.Next(150, 1200), random.Next(1, 7));
            var constraint = OutputConstraint.JsonSchema(JsonDocument.Parse($$"""{"type":"integer","minimum":{{low}},"exclusiveMaximum":{{high}},"multipleOf":{{step}}}""").RootElement);
            for (var n = -200; n < 1300; n++)
            {
                Assert.Equal(n >= low && n < high && n % step == 0, Allows(constraint, n.ToString(CultureInfo.InvariantCulture)));
            }
        }
    }

    [Theory]
    [InlineData(0.5, 0.75, "0.5 0.6 0.75 0.5000 0.749999 0.76 0.49 0 1 -0.5 0.7500", "yyyyynnnnny")]
    [InlineData(-1.25, -1, "-1.25 -1 -1.1 -1.251 -0.99 1 -2 -1.0", "yyynnnny")]
    [InlineData(-3, 12, "-3 -2.5 0 0.001 11.999 12 12.0 12.1 -3.1", "yyyyyyynn")]
    public void Numbers_are_those_between_the_bounds(double low, double high, string numbers, string expected)
    {
        var constraint = OutputConstraint.JsonSchema(JsonSerializer.SerializeToElement(new { type = "number", minimum = low, maximum = high }));
        Assert.Equal(expected, string.Concat(numbers.Split(' ').Select(n => Allows(constraint, n) ? 'y' : 'n')));
    }

    [Theory]
    [InlineData(@"^[a-c]{2,3}x?$")]
    [InlineData("a+b|^c")]
    [InlineData(@"^(?:\d\d|[^\d,])*$")]
    [InlineData("(ab|a)(bc|c)?$")]
    [InlineData("^(a|b)*abb$|cc")]
    [InlineData("^(?<name>a.c)*?$")]
    public void A_pattern_matches_what_dotnets_does(string pattern)
    {
        var automaton = CharacterAutomaton.Of(Pattern.Parse(pattern), new PatternWork(null, pattern));
        var random = new Random(2);
        var matched = 0;
        for (var i = 0; i < 5000; i++)
        {
            var text = new string([.. Enumerable.Range(0, random.Next(8)).Select(_ => "abcx1,"[random.Next(6)])]);
            var state = text.Aggregate(0, (s, c) => s < 0 ? s : automaton.Next(s, c));
            var accepts = state >= 0 && automaton.Accepts(state);
            Assert.Equal(Regex.IsMatch(text, pattern), accepts);
            matched += accepts ? 1 : 0;
        }

        Assert.True(matched > 0);
    }

    [Theory]
    [InlineData("""{"type":"string","pattern":"(?=x)y"}""", "pattern")]
    [InlineData("""{"type":"string","pattern":"\\p{L}"}""", "pattern")]
    [InlineData("""{"type":"string","format":"regex"}""", "regex")]
    [InlineData("""{"type":"array","uniqueItems":true}""", "uniqueItems")]
    [InlineData("""{"type":"object","patternProperties":{"(?=x)":true}}""", "pattern")]
    [InlineData("""{"oneOf":[{"multipleOf":2},{"multipleOf":3}]}""", "oneOf")]
    [InlineData("""{"$ref":"https://example.org/other"}""", "example.org")]
    [InlineData("""{"type":"whatever"}""", "whatever")]
    [InlineData("""{"x-vendor":{"a":1},"type":"string"}""", "x-vendor")]
    [InlineData("17", "17")]
    [InlineData("""{"enum":"x"}""", "enum")]
    [InlineData("""{"type":"object","required":"x"}""", "required")]
    [InlineData("""{"properties":[]}""", "properties")]
    [InlineData("""{"type":5}""", "5")]
    [InlineData("""{"type":"string","minLength":"5"}""", "minLength")]
    [InlineData("""{"$ref":3}""", "$ref")]
    public void What_is_not_enforced_is_told_and_never_thrown(string schema, string part)
    {
        var told = new List<string>();
        OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement, told.Add);
        Assert.Contains(part, Assert.Single(told), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("false")]
    [InlineData("""{"type":"integer","minimum":3,"maximum":2}""")]
    [InlineData("""{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}""")]
    [InlineData("""{"type":"string","minLength":3,"maxLength":2}""")]
    [InlineData("""{"type":"string","pattern":"^ab$","minLength":3}""")]
    [InlineData("""{"allOf":[{"type":"integer"},false]}""")]
    [InlineData("""{"allOf":[{"type":"string"},{"type":"integer"}]}""")]
    [InlineData("""{"$ref":"#/a","a":{"$ref":"#/b"},"b":{"$ref":"#/a"}}""")]
    public void What_nothing_satisfies_is_refused(string schema) =>
        Assert.Contains("Nothing satisfies", Assert.Throws<ArgumentException>(() => OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement)).Message, StringComparison.Ordinal);

    [Fact]
    public void Every_value_of_many_is_within_reach_and_the_shortest_fits()
    {
        var values = Enumerable.Range(0, 3000).Select(i => $"v{i:0000}").ToArray();
        var constraint = OutputConstraint.JsonSchema(JsonSerializer.SerializeToElement(new Dictionary<string, object> { ["enum"] = values }));
        Assert.All(values, v => Assert.True(Allows(constraint, $"\"{v}\"")));
        Assert.False(Allows(constraint, "\"v3000\""));
        var optional = Enumerable.Range(0, 150).ToDictionary(i => $"p{i}", i => (object)new { type = "string", minLength = 100 });
        optional["r"] = new { type = "null" };
        var schema = JsonSerializer.Serialize(new { type = "object", properties = optional, required = (string[])["r"] });
        var node = SchemaCompiler.Compile(JsonDocument.Parse(schema).RootElement, _ => { });
        Assert.Equal("{\"r\":null}", Generate(node, node.MinBytes, logits => Array.Fill(logits, 1)));
    }

    [Fact]
    public void Large_combinations_are_compiled_or_told_in_time_that_grows_with_them()
    {
        // Exponential growth would take hours here; there is no clock in this test.
        var told = new List<string>();
        var choices = string.Join(",", Enumerable.Range(0, 40).Select(i => $$$"""{"anyOf":[{"required":["a{{{i}}}"]},{"required":["b{{{i}}}"]}]}"""));
        OutputConstraint.JsonSchema(JsonDocument.Parse($$"""{"allOf":[{{choices}}]}""").RootElement, told.Add);
        Assert.Contains(told, t => t.Contains("anyOf", StringComparison.Ordinal));
        var definitions = string.Join(",", Enumerable.Range(0, 60).Select(i => """
            "dHERE":{"type":"object","properties":{"x":{"allOf":[{"$ref":"#/$defs/dNEXT"}]},"y":{"description":"y","allOf":[{"$ref":"#/$defs/dNEXT"}]}}}
            """.Replace("HERE", $"{i}", StringComparison.Ordinal).Replace("NEXT", $"{i + 1}", StringComparison.Ordinal)));
        OutputConstraint.JsonSchema(JsonDocument.Parse("{\"$ref\":\"#/$defs/d0\",\"$defs\":{" + definitions + ",\"d60\":{\"type\":\"null\"}}}").RootElement);
        OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"string","pattern":"^.*([a-z]?){900}$","maxLength":15000}""").RootElement, told.Add);
    }

    [Fact]
    public void A_mask_allows_the_tokens_whose_bytes_are_allowed()
    {
        var schemas = new RandomSchemas(3);
        var (trie, random) = (TokenTrie.Of(Words.Value), new Random(4));
        for (var i = 0; i < 30; i++)
        {
            var node = SchemaCompiler.Compile(JsonSerializer.SerializeToElement(schemas.Next()), _ => { });
            var text = new ConstrainedText(node, trie);
            var frames = new FrameSet();
            node.Enter(new EndFrame(), frames);
            for (var step = 0; step < 40 && !text.IsComplete; step++)
            {
                var logits = new float[trie.Size];
                text.Mask(logits, 10_000, []);
                for (var token = 0; token < logits.Length; token++)
                {
                    Assert.Equal(After(frames, trie.Bytes(token)).Count > 0, logits[token] == 0);
                }

                int[] allowed = [.. Enumerable.Range(0, logits.Length).Where(t => logits[t] == 0)];
                if (allowed.Length == 0)
                {
                    break;
                }

                var chosen = allowed[random.Next(allowed.Length)];
                text.Advance(chosen);
                frames = After(frames, trie.Bytes(chosen));
            }
        }
    }

    [Fact]
    public void Random_tokens_make_valid_json_within_any_limit()
    {
        var schemas = new RandomSchemas(5);
        var random = new Random(6);
        for (var i = 0; i < 400; i++)
        {
            var schema = schemas.Next().ToJsonString();
            var node = SchemaCompiler.Compile(JsonDocument.Parse(schema).RootElement, what => Assert.Fail(what));
            var limit = node.MinBytes + random.Next(0, 60);
            var text = Generate(node, limit, logits =>
            {
                foreach (ref var logit in logits.AsSpan())
                {
                    logit = random.NextSingle() * 10;
                }
            });
            RandomSchemas.AssertValid(schema, text);
        }
    }

    [Fact]
    public void Json_is_a_container_and_ends_by_itself()
    {
        var constraint = OutputConstraint.Json();
        Assert.Equal("yyyynnnn", string.Concat(((string[])["{}", "[]", """{"a":[1,2,{"b":"c"}]}""", "[\n  true,\n  null\n]", "1", "\"x\"", "{", "{} {}"]).Select(t => Allows(constraint, t) ? 'y' : 'n')));
        var deep = new string('[', 65);
        Assert.True(Allows(constraint, deep[..64] + new string(']', 64)));
        Assert.False(Allows(constraint, deep + new string(']', 65)));
    }

    [Fact]
    public void Constraints_compose()
    {
        var number = OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"integer"}""").RootElement);
        var call = OutputConstraint.Sequence(OutputConstraint.Text("<n>"), number, OutputConstraint.Text("</n>"));
        var constraint = OutputConstraint.OneOf(
            OutputConstraint.Sequence(OutputConstraint.Text("<think>"), OutputConstraint.Until("</think>"), OutputConstraint.Space(), OutputConstraint.Repeat(call, "\n", 2)),
            OutputConstraint.Repeat(call, "\n", 2));
        string[] texts = ["<n>1</n>", "<n>1</n>\n<n>-20</n>", "<think>a < b </th </think>\n\n<n>7</n>", "<think></think><n>1</n>", "<n>1</n>\n<n>2</n>\n<n>3</n>", "<n></n>", "<think><n>1</n>", "x<n>1</n>", ""];
        Assert.Equal("yyyynnnnn", string.Concat(texts.Select(t => Allows(constraint, t) ? 'y' : 'n')));
        Assert.True(Allows(OutputConstraint.Sequence(OutputConstraint.Text("a"), OutputConstraint.Optional(OutputConstraint.Text("b")), OutputConstraint.Space()), "a"));
    }

    [Fact]
    public void A_special_token_is_a_marker_and_never_text()
    {
        var trie = TokenTrie.Of(Words.Value);
        var special = Words.Value.AddedToken("<|im_end|>")!.Value;
        bool Allowed(OutputConstraint constraint, string before)
        {
            var text = constraint.Begin(trie);
            foreach (var token in Words.Value.Encode(before))
            {
                text.Advance(token);
            }

            var logits = new float[trie.Size];
            text.Mask(logits, 1000, []);
            return logits[special] == 0;
        }

        Assert.True(Allowed(OutputConstraint.Marker("<|im_end|>"), ""));
        Assert.False(Allowed(OutputConstraint.Text("<|im_end|>"), ""));
        Assert.False(Allowed(OutputConstraint.Json(), "{\"a\": \""));
        Assert.False(Allowed(OutputConstraint.Until("</think>"), "so "));
        Assert.True(Allows(OutputConstraint.Marker("<|im_end|>"), "<|im_end|>")); // spelled, where there is no such token
    }

    private static FrameSet After(FrameSet frames, ReadOnlySpan<byte> bytes)
    {
        if (bytes.IsEmpty)
        {
            return new FrameSet(); // a hole of the vocabulary
        }

        foreach (var value in bytes)
        {
            var next = new FrameSet();
            frames.Step(value, next);
            frames = next;
        }

        return frames;
    }

    private static bool Allows(OutputConstraint constraint, string text) => After(constraint.Enter(), Encoding.UTF8.GetBytes(text)) is { CanEnd: true };

    private static string Generate(Node node, int limit, Action<float[]> fill)
    {
        var constrained = new ConstrainedText(node, TokenTrie.Of(Words.Value));
        var (stop, logits, bytes) = (Words.Value.AddedToken("<|im_end|>")!.Value, new float[Words.Value.VocabularySize], new List<byte>());
        for (var left = limit; left > 0 && !constrained.IsComplete; left--)
        {
            fill(logits);
            constrained.Mask(logits, left, [stop]);
            var token = Array.IndexOf(logits, logits.Max());
            if (token == stop)
            {
                break;
            }

            constrained.Advance(token);
            bytes.AddRange(Words.Value.Bytes(token).ToArray());
        }

        return new UTF8Encoding(false, true).GetString([.. bytes]);
    }
}

using System.Text.Json;
using HeadInfer.SemanticKernel.ToolCalls;
using HeadInfer.Text;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Calls as models write them, read by their formats.</summary>
public sealed class CallTextTests
{
    private static readonly ChatTool[] Tools = [Tool("now", "{}"), Tool("note", """
        {"type":"object","$defs":{"size":{"enum":["s","m",3,null]},"place":{"type":"object","properties":{"city":{"type":"string"}}}},"required":["text"],"properties":{
          "text":{"type":"string"},"maybe":{"type":["string","null"]},"whole":{"type":"integer"},"number":{"type":"number"},"flag":{"type":"boolean"},"gone":{"type":"null"},
          "list":{"type":"array","items":{"type":"integer"}},"size":{"$ref":"#/$defs/size"},"place":{"$ref":"#/$defs/place"},"fixed":{"const":"a b"},"either":{"type":["integer","string"]},
          "any":{"anyOf":[{"type":"boolean"},{"$ref":"#/$defs/place"},{"type":"null"}]},"one":{"oneOf":[{"type":"integer"},{"type":"string"}]},"open":{"type":"integer","nullable":true},
          "all":{"allOf":[{"$ref":"#/$defs/place"},{"description":"where"}]},"free":{},"shaped":{"properties":{"a":{"type":"integer"}}}}}
        """)];

    public static TheoryData<string, string, string> Values() => new()
    {
        { "text", "12", "\"12\"" }, { "text", "True", "\"True\"" }, { "text", "null", "\"null\"" }, { "text", "\"quoted\"", "\"\\u0022quoted\\u0022\"" }, { "text", "", "\"\"" },
        { "maybe", "null", "null" }, { "maybe", "None", "null" }, { "maybe", "nothing", "\"nothing\"" }, { "maybe", "12", "\"12\"" },
        { "whole", "12", "12" }, { "whole", "12.0", "12" }, { "whole", "-3", "-3" }, { "whole", "many", "\"many\"" }, { "number", "12.5", "12.5" }, { "number", "12", "12" },
        { "flag", "true", "true" }, { "flag", "True", "true" }, { "flag", "False", "false" }, { "gone", "None", "null" },
        { "list", "[1, 2]", "[1,2]" }, { "size", "s", "\"s\"" }, { "size", "3", "3" }, { "size", "None", "null" }, { "size", "xl", "\"xl\"" },
        { "place", "{'city': 'O\\'Hare', 'near': None, 'big': True}", """{"city":"O\u0027Hare","near":null,"big":true}""" }, { "place", """{"city":"Oslo"}""", """{"city":"Oslo"}""" },
        { "fixed", "a b", "\"a b\"" }, { "either", "12", "12" }, { "either", "twelve", "\"twelve\"" }, { "any", "False", "false" }, { "any", "{'city': 'x'}", """{"city":"x"}""" }, { "any", "null", "null" },
        { "one", "12", "12" }, { "one", "x", "\"x\"" }, { "open", "None", "null" }, { "open", "5", "5" }, { "all", """{"city":"Oslo"}""", """{"city":"Oslo"}""" },
        { "free", "[1]", "[1]" }, { "free", "x", "\"x\"" }, { "shaped", "{'a': 1}", """{"a":1}""" }, { "unknown", "12", "\"12\"" },
        { "text", "a </parameter> b </seed:tool_call> c", "\"a \\u003C/parameter\\u003E b \\u003C/seed:tool_call\\u003E c\"" },
        { "text", "a </parameter> b </function> c </tool_call> </arg_value> d", "\"a \\u003C/parameter\\u003E b \\u003C/function\\u003E c \\u003C/tool_call\\u003E \\u003C/arg_value\\u003E d\"" },
    };

    [Theory]
    [MemberData(nameof(Values))]
    public void A_value_between_tags_has_the_type_that_its_schema_says(string key, string text, string json)
    {
        foreach (var (format, answer) in ((ToolCallFormat, string)[])[
            (ToolCallFormat.QwenCoder, $"<tool_call>\n<function=note>\n<parameter={key}>\n{text}\n</parameter>\n</function>\n</tool_call>"),
            (ToolCallFormat.QwenCoder, $"<function=note>\n<parameter={key}>\n{text}\n</parameter>\n</function>\n</tool_call>"),
            (ToolCallFormat.Seed, $"<seed:tool_call>\n<function=note>\n<parameter={key}>{text}</parameter>\n</function>\n</seed:tool_call>"),
            (ToolCallFormat.Glm, $"<tool_call>note\n<arg_key>{key}</arg_key>\n<arg_value>{text}</arg_value>\n</tool_call>"),
            (ToolCallFormat.Glm, $"<tool_call>note<arg_key>{key}</arg_key><arg_value>{text}</arg_value></tool_call>")])
        {
            var (calls, shown) = Scan(format, answer);
            var call = Assert.Single(calls);
            Assert.Null(call.Error);
            Assert.Equal(json, JsonSerializer.Serialize(call.Arguments![key]));
            Assert.Equal("", shown);
        }
    }

    [Theory]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"now\", \"parameters\": {}}", "now")]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"now\", \"arguments\": {\"a\": 1}}", "now")]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"now\"}", "now")]
    [InlineData(ToolCallFormat.Llama, "{\"parameters\": {}, \"name\": \"now\"}", "now")]
    [InlineData(ToolCallFormat.Llama, "{\"type\": \"function\", \"function\": \"now\", \"parameters\": null}", "now")]
    [InlineData(ToolCallFormat.Llama, "{\"type\": \"function\", \"function\": {\"name\": \"now\", \"arguments\": \"{}\"}}", "now")]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"Ruth\", \"age\": 17}", "")]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"now\", \"age\": 17}", "")]
    [InlineData(ToolCallFormat.Llama, "{\"city\": \"Oslo\"}", "")]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"later\", \"parameters\": {}}", "")]
    [InlineData(ToolCallFormat.Llama, "{}", "")]
    [InlineData(ToolCallFormat.Llama, "{", "")]
    [InlineData(ToolCallFormat.Llama, "{curly} words", "")]
    [InlineData(ToolCallFormat.Llama, "{% if x %}", "")]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>{\"name\": \"now\", \"parameters\": {}}</tool_call>", "now")]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>{\"name\": \"now\", \"arguments\": \"\"}</tool_call>", "now")]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>{\"name\": \"now\"}</tool_call>", "now")]
    [InlineData(ToolCallFormat.Mistral, "[TOOL_CALLS][{\"name\": \"now\", \"arguments\": null}]", "now")]
    [InlineData(ToolCallFormat.Mistral, "[TOOL_CALLS] [{\"name\": \"now\", \"parameters\": {}, \"id\": \"123456789\"}]", "now")]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]now[ARGS]", "now")]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]now", "now")]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]now[ARGS]{}", "now now")]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=now>\n</function>\n</tool_call>", "now")]
    [InlineData(ToolCallFormat.QwenCoder, "<function=now>\n</function>\n</tool_call>", "now")]
    [InlineData(ToolCallFormat.QwenCoder, "<function=now></function>", "now")]
    [InlineData(ToolCallFormat.QwenCoder, "<function=now>\n</function>\n<function=now>\n</function>", "now now")]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=now>\n</function>\n<function=now>\n</function>\n</tool_call>", "now now")]
    [InlineData(ToolCallFormat.QwenCoder, "<function=later>\n</function>", "")]
    [InlineData(ToolCallFormat.QwenCoder, "Write <function=name> and </function>.", "")]
    [InlineData(ToolCallFormat.Seed, "<seed:tool_call>\n<function=now>\n</function>\n</seed:tool_call>\n<seed:tool_call>\n<function=now>\n</function>\n</seed:tool_call>", "now now")]
    [InlineData(ToolCallFormat.Seed, "<tool_call>\n</tool_call>", "")]
    [InlineData(ToolCallFormat.Glm, "<tool_call>now</tool_call>", "now")]
    [InlineData(ToolCallFormat.Glm, "<tool_call>now\n</tool_call>\n<tool_call>now\n</tool_call>", "now now")]
    [InlineData(ToolCallFormat.Harmony, "<|channel|>commentary to=functions.now <|constrain|>json<|message|>{}<|call|>", "now")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:now{}<tool_call|>", "now")]
    [InlineData(ToolCallFormat.DeepSeek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{\n}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "now now")]
    [InlineData(ToolCallFormat.DeepSeek, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "now now")]
    [InlineData(ToolCallFormat.DeepSeekNames, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁call▁begin｜>now<｜tool▁sep｜><｜tool▁call▁end｜><｜tool▁calls▁end｜>", "now now")]
    [InlineData(ToolCallFormat.Nemotron, "<TOOLCALL>[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\", \"arguments\": {}}]</TOOLCALL>", "now now")]
    [InlineData(ToolCallFormat.Python, "<|tool_call_start|>[now(), now()]<|tool_call_end|>", "now now")]
    [InlineData(ToolCallFormat.Python, "<|tool_call_start|>\n[ now( ) ]\n<|tool_call_end|>", "now")]
    [InlineData(ToolCallFormat.Python, "<|tool_call_start|>now()<|tool_call_end|>", "now")]
    [InlineData(ToolCallFormat.Python, "<|tool_call_start|>[now()]\n[now()]<|tool_call_end|>", "now now")]
    [InlineData(ToolCallFormat.Granite, "<|tool_call|> [{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"now\"}]", "now now")]
    [InlineData(ToolCallFormat.Phi, "<|tool_call|>{\"name\": \"now\", \"arguments\": {}}<|/tool_call|>", "now")]
    [InlineData(ToolCallFormat.Phi, "<|tool_call|>[{\"name\": \"now\"}]<|/tool_call|><|tool_call|>[{\"name\": \"now\"}]<|/tool_call|>", "now now")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:now{}<tool_call|><|tool_call>call:now{}<tool_call|>", "now now")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>now<tool_call|>", "now")]
    [InlineData(ToolCallFormat.Harmony, "<|channel|>commentary to=functions.now<|message|>", "now")]
    public void What_is_a_call_is_one_and_the_rest_stays_text(ToolCallFormat format, string answer, string names)
    {
        var (calls, shown) = Scan(format, answer);
        Assert.Equal(names, string.Join(' ', calls.Select(c => c.Name)));
        Assert.All(calls, c => Assert.NotNull(c.Arguments));
        Assert.Equal(names.Length > 0 ? "" : answer, shown.Length == 0 ? shown : shown.Trim('\n'));
    }

    [Theory]
    [InlineData("", "{}")]
    [InlineData("a=1, b=-2.5e3, c=True, d=None, e=false,", """{"a":1,"b":-2.5e3,"c":true,"d":null,"e":false}""")]
    [InlineData("a = 'x, y) = \\'z\\'', b=[1, [ ], {'c': \"(\"}]", """{"a":"x, y) = \u0027z\u0027","b":[1,[],{"c":"("}]}""")]
    [InlineData("a=\"]<|tool_call_end|>[\\n\"", """{"a":"]\u003C|tool_call_end|\u003E[\n"}""")]
    [InlineData("a='\\d\\x41\\U0001F600\\\n\\0\\\\\\\"'", """{"a":"\\dA\uD83D\uDE00\u0000\\\u0022"}""")]
    [InlineData("a='\\x4'", """{"a":"\\x4"}""")]
    [InlineData("a", null)]
    [InlineData("a=", null)]
    [InlineData("'a'", null)]
    [InlineData("a=b", null)]
    [InlineData("a=[1", null)]
    [InlineData("a='x", null)]
    [InlineData("a=(1, 2)", null)]
    public void Arguments_as_Python_writes_them_are_JSON(string text, string? json)
    {
        var (calls, shown) = Scan(ToolCallFormat.Python, $"So: <|tool_call_start|>[note({text})]<|tool_call_end|>");
        var call = Assert.Single(calls);
        Assert.Equal(("note", json is null), (call.Name, call.Error is not null));
        Assert.Equal(json, call.Arguments is null ? null : JsonSerializer.Serialize(call.Arguments));
        Assert.Equal("So:", shown);
    }

    [Fact]
    public void A_text_that_a_call_leaves_open_does_not_take_the_next_call_with_it()
    {
        var (calls, shown) = Scan(ToolCallFormat.Python, "<|tool_call_start|>[note(a='it's')]<|tool_call_end|>Now more.<|tool_call_start|>[now()]<|tool_call_end|>");
        Assert.Equal([("note", true), ("now", false)], calls.Select(c => (c.Name, c.Error is not null)));
        Assert.Equal("Now more.", shown);
    }

    [Fact]
    public void An_answer_that_ends_behind_a_whole_call_for_Python_has_it()
    {
        var scanner = new ToolCallScanner(ToolCallFormats.Of("", ToolCallFormat.Python), Tools);
        List<ScannedPart> parts = [.. scanner.Append("<|tool_call_start|>[note(a=\"x\")]"), .. scanner.End(cut: true)];
        Assert.Null(Assert.Single(parts).Call!.Error);
        scanner = new ToolCallScanner(ToolCallFormats.Of("", ToolCallFormat.Python), Tools);
        parts = [.. scanner.Append("<|tool_call_start|>[note(a=\"x\""), .. scanner.End(cut: true)];
        Assert.NotNull(Assert.Single(parts).Call!.Error);
    }

    [Fact]
    public void Arguments_for_Python_are_held_to_the_schema_in_its_order()
    {
        var tool = Tool("f", """{"type":"object","required":["d","a"],"properties":{"d":{"type":"integer","minimum":5},"b":{"type":["boolean","null"]},"a":{"enum":["kg",3]},"c":{"type":"array","items":{"type":"string"}}}}""");
        var form = ToolCallFormats.Of("", ToolCallFormat.Python).Constrain([tool], 2, new SchemaForms(Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance));
        bool Allows(string arguments) => StructuredOutputTests.Allows(form, $"<|tool_call_start|>[f({arguments})]<|tool_call_end|>");
        Assert.All((string[])["d=7, a=\"kg\"", "d=5, b=True, a=3", "d=5, b=None, a=3, c=[\"x\"]", "d=5, a=3), f(d=5, a=3"], a => Assert.True(Allows(a), a));
        Assert.All((string[])["", "d=7", "a=3, d=7", "d=4, a=3", "d=5, b=true, a=3", "d=5, b=1, a=3", "d=5, a=4", "d=5, a=3, c=[1]", "d=5, a=3,", "d=5, a=3), f(d=5, a=3), f(d=5, a=3"], a => Assert.False(Allows(a), a));
    }

    [Theory]
    [InlineData("""{"type":"object","additionalProperties":{"type":"string"}}""", true)]
    [InlineData("""{"type":"object","properties":{"a":{"type":"string","minLength":3,"maxLength":2}}}""", true)] // nothing is both
    [InlineData("""{"type":"object","additionalProperties":false}""", false)]
    [InlineData("""{"type":"object","properties":{}}""", false)]
    public void Arguments_for_Python_that_no_schema_lists_may_have_any_text(string schema, bool open)
    {
        var held = ToolCallFormats.Of("", ToolCallFormat.Python).Hold([Tool("f", schema)], new SchemaForms(Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance), OutputConstraint.Text("."));
        var form = Assert.Single(held).Form;
        Assert.Equal(open, StructuredOutputTests.Allows(form, "[f(a=\"call (me)\", b=True)]<|tool_call_end|>."));
        Assert.True(StructuredOutputTests.Allows(form, "[f()]<|tool_call_end|>."));
        Assert.False(StructuredOutputTests.Allows(form, "[f(a=\"call (me)]<|tool_call_end|>."));
    }

    [Fact]
    public void Calls_are_written_as_Python_writes_them() => Assert.Equal(
        "<|tool_call_start|>[f(a=\"<é> \\\"\", b=[1, True, None], c={\"x y\": False}), now()]<|tool_call_end|>",
        ToolCallFormats.Of("", ToolCallFormat.Python).Write([new("1", "f", """{"a":"<é> \"","b":[1,true,null],"c":{"x y":false}}"""), new("2", "now", "{}")])!.ToString());

    [Theory]
    [InlineData("{}", "{}")]
    [InlineData("{a:1,b:-2.5e3,c:true,d:None,e:False}", """{"a":1,"b":-2.5e3,"c":true,"d":null,"e":false}""")]
    [InlineData("{ a : <|\"|>x, y: {z}<|\"|> , b:[1, [ ], {c:<|\"|><|\"|>}] }", """{"a":"x, y: {z}","b":[1,[],{"c":""}]}""")]
    [InlineData("{<|\"|>a:b<|\"|>:<|\"|>\"q\" \\ \n<|\"|>}", """{"a:b":"\u0022q\u0022 \\ \n"}""")]
    [InlineData("{\"a\":\"b\\\"}\",c:Oslo}", """{"a":"b\"}","c":"Oslo"}""")]
    [InlineData("{a:[1,2,],}", """{"a":[1,2]}""")]
    [InlineData("{a:}", null)]
    [InlineData("{a}", null)]
    [InlineData("{a:1", null)]
    [InlineData("{a:1}}", null)]
    [InlineData("{a:<|\"|>x}", null)]
    [InlineData("{a:\"x}", null)]
    public void A_value_as_Gemma_writes_it_is_JSON(string text, string? json) => Assert.Equal(json, GemmaText.ToJson(text));

    [Fact]
    public void A_value_that_is_nested_without_end_is_refused() =>
        Assert.Null(GemmaText.ToJson(string.Concat(Enumerable.Repeat("[", 100_000))));

    [Fact]
    public void Gemmas_values_are_held_to_the_schema_in_the_order_of_their_names()
    {
        var tool = Tool("f", """
            {"type":"object","$defs":{"u":{"enum":["kg","lb",3]},"n":{"type":"object","properties":{"next":{"$ref":"#/$defs/n"}}}},"required":["d","a"],"properties":{
              "d":{"type":"integer","minimum":5},"a":{"$ref":"#/$defs/u"},"b":{"type":["boolean","null"]},"c":{"type":"array","items":{"type":"string"},"maxItems":2},"n":{"$ref":"#/$defs/n"},"x":{}}}
            """);
        var form = ToolCallFormats.Of("", ToolCallFormat.Gemma).Constrain([tool], 2, new SchemaForms(Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance));
        bool Allows(string arguments) => StructuredOutputTests.Allows(form, $"<|tool_call>call:f{{{arguments}}}<tool_call|>");
        Assert.True(Allows("a:<|\"|>kg<|\"|>,d:7"));
        Assert.True(Allows("a:3,b:null,c:[<|\"|>x } y<|\"|>,<|\"|><|\"|>],d:5,n:{next:{next:{next:{next:{next:{}}}}}},x:{any:[1,<|\"|>t<|\"|>,{k:true}]}"));
        Assert.True(Allows("a:3,d:5}<tool_call|><|tool_call>call:f{a:3,d:5"));
        Assert.False(Allows("a:3,d:5}<tool_call|><|tool_call>call:f{a:3,d:5}<tool_call|><|tool_call>call:f{a:3,d:5"));
        Assert.All((string[])["a:3", "d:5", "a:4,d:5", "a:3,d:4", "a:<|\"|>g<|\"|>,d:5", "d:5,a:3", "a:3,d:5,b:null", "a:3,b:1,d:5", "a:3,c:[<|\"|>1<|\"|>,<|\"|>2<|\"|>,<|\"|>3<|\"|>],d:5", "a:3,d:5,", ",a:3,d:5"], a => Assert.False(Allows(a), a));
    }

    [Fact]
    public void Json_that_is_no_call_streams_at_once()
    {
        var scanner = new ToolCallScanner(ToolCallFormats.Of("", ToolCallFormat.Llama), Tools);
        Assert.Equal("{\"city\": ", string.Concat(scanner.Append("{\"city\": ").Select(p => p.Text)));
        Assert.Equal("\"Oslo\"}", string.Concat(scanner.Append("\"Oslo\"}").Select(p => p.Text)));
    }

    [Theory]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=note>\n<parameter=text>\nabc")]
    [InlineData(ToolCallFormat.QwenCoder, "<function=note>\n<parameter=text>\nabc")]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<func")]
    [InlineData(ToolCallFormat.Seed, "<seed:tool_call>\n<function=note>\n<parameter=text>abc")]
    [InlineData(ToolCallFormat.Glm, "<tool_call>note\n<arg_key>text</arg_key>\n<arg_value>abc")]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"note\", \"parameters\": {\"text\": \"ab")]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]note[ARGS]{\"text\": \"ab")]
    [InlineData(ToolCallFormat.Mistral, "[TOOL_CALLS][{\"name\": \"note\", \"argum")]
    [InlineData(ToolCallFormat.Harmony, "<|channel|>commentary to=functions.note <|constrain|>json<|message|>{\"text\": \"ab")]
    [InlineData(ToolCallFormat.Harmony, "<|channel|>commentary to=functions.note <|constr")]
    [InlineData(ToolCallFormat.DeepSeek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>note\n```json\n{\"text\": \"ab")]
    [InlineData(ToolCallFormat.DeepSeek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>note\n```json\n{text: ab}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>")]
    [InlineData(ToolCallFormat.DeepSeekNames, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>no")]
    [InlineData(ToolCallFormat.Granite, "<|tool_call|>[{\"name\": \"note\", \"argum")]
    [InlineData(ToolCallFormat.Phi, "<|tool_call|>[{\"name\": \"note\", \"argum")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:note{text:<|\"|>ab")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:note{text")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:note{text:<|\"|>ab<|\"|>,more<tool_call|>")]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:later")]
    public void A_call_that_is_cut_off_carries_its_error(ToolCallFormat format, string answer) =>
        Assert.IsType<FormatException>(Assert.Single(Scan(format, answer).Calls).Error);

    [Theory]
    [InlineData("\n a\n", "\n a\n")]
    [InlineData("", "")]
    public void Seeds_values_keep_their_lines(string text, string read)
    {
        var (calls, _) = Scan(ToolCallFormat.Seed, $"<seed:tool_call>\n<function=note>\n<parameter=text>{text}</parameter>\n</function>\n</seed:tool_call>");
        Assert.Equal(read, Assert.Single(calls).Arguments!["text"]);
    }

    [Fact]
    public void Values_between_tags_are_held_to_the_schema_as_the_model_writes_them()
    {
        var ignored = new List<string>();
        var tool = Tool("f", """
            {"type":"object","$defs":{"u":{"enum":["kg","lb"]}},"required":["a","b","c","d"],"properties":{"a":{"$ref":"#/$defs/u"},"b":{"type":["boolean","null"]},"c":{"type":"string","pattern":"^x","maxLength":3},"d":{"type":"integer","minimum":5}}}
            """);
        var schemas = new SchemaForms(new Told(ignored));
        var form = ToolCallFormats.Of("", ToolCallFormat.QwenCoder).Constrain([tool], 1, schemas);
        static string Text(string a, string b, string c, string d) =>
            $"<tool_call>\n<function=f>\n<parameter=a>\n{a}\n</parameter>\n<parameter=b>\n{b}\n</parameter>\n<parameter=c>\n{c}\n</parameter>\n<parameter=d>\n{d}\n</parameter>\n</function>\n</tool_call>";
        Assert.True(StructuredOutputTests.Allows(form, Text("kg", "True", "yyyyy", "7")));
        Assert.True(StructuredOutputTests.Allows(form, Text("lb", "None", "a </parameter>", "5")));
        Assert.False(StructuredOutputTests.Allows(form, Text("\"kg\"", "True", "x", "7")));
        Assert.False(StructuredOutputTests.Allows(form, Text("g", "True", "x", "7")));
        Assert.False(StructuredOutputTests.Allows(form, Text("kg", "yes", "x", "7")));
        Assert.False(StructuredOutputTests.Allows(form, Text("kg", "true", "x", "4")));
        Assert.Contains(ignored, i => i.Contains("pattern", StringComparison.Ordinal));
        Assert.Contains(ignored, i => i.Contains("maxLength", StringComparison.Ordinal));
    }

    private static (List<ParsedCall> Calls, string Text) Scan(ToolCallFormat format, string answer)
    {
        (List<ParsedCall> Calls, string Text)? all = null;
        foreach (var piece in (int[])[1, 4, 1000])
        {
            var scanner = new ToolCallScanner(ToolCallFormats.Of("", format), Tools);
            var parts = answer.Chunk(piece).SelectMany(c => scanner.Append(new string(c))).ToList();
            parts.AddRange(scanner.End());
            var result = (parts.Select(p => p.Call).OfType<ParsedCall>().ToList(), string.Concat(parts.Select(p => p.Text)));
            Assert.Equal((all ?? result).Text, result.Item2);
            all = result;
        }

        return all!.Value;
    }

    private static ChatTool Tool(string name, string schema) => new(name, "", JsonDocument.Parse(schema).RootElement);

    private sealed class Told(List<string> lines) : Microsoft.Extensions.Logging.ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(Microsoft.Extensions.Logging.LogLevel logLevel) => true;

        public void Log<TState>(Microsoft.Extensions.Logging.LogLevel logLevel, Microsoft.Extensions.Logging.EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) => lines.Add(formatter(state, exception));
    }
}

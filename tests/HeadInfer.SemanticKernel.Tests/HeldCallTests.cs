using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel.ToolCalls;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Logging.Abstractions;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Free text in which a call, once begun, is held to the functions that were offered.</summary>
public sealed class HeldCallTests(DemoModel demo) : IClassFixture<DemoModel>
{
    private static readonly ChatTool[] Tools =
    [
        new("now", "", default),
        new("place", "", JsonDocument.Parse("""{"type":"object","required":["count"],"properties":{"count":{"type":"integer"},"unit":{"enum":["kg","lb"]}}}""").RootElement),
        new("broken", "", JsonDocument.Parse("""{"type":"object","required":["no"],"properties":{"no":false}}""").RootElement),
    ];

    [Theory]
    [InlineData(ToolCallFormat.Hermes, "Text with < and <tool_box> stays.", true)]
    [InlineData(ToolCallFormat.Hermes, "I look.\n<tool_call>\n{\"name\": \"place\", \"arguments\": {\"count\": 3}}\n</tool_call> then <tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>", true)]
    [InlineData(ToolCallFormat.Hermes, "I look.\n<tool_call>\n{\"name\": \"later\", \"arguments\": {}}\n</tool_call>", false)]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>\n{\"name\": \"place\", \"arguments\": {\"count\": \"3\"}}\n</tool_call>", false)]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call><tool_call>no", false)]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>\n{\"name\": \"broken\", \"arguments\": {\"any\": 1}}\n</tool_call>", true)]
    [InlineData(ToolCallFormat.Hermes, "<tool_call>\n{\"name\": \"broken\", \"arguments\": 3}\n</tool_call>", false)]
    [InlineData(ToolCallFormat.Hermes, "<think>A <tool_call> in thoughts</think>Yes.", true)]
    [InlineData(ToolCallFormat.Hermes, "<think>A thought that never ends", true)]
    [InlineData(ToolCallFormat.Hermes, "<think>A thought</think><tool_call>no", false)]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=place>\n<parameter=count>\n3\n</parameter>\n<parameter=unit>\nkg\n</parameter>\n</function>\n</tool_call>", true)]
    [InlineData(ToolCallFormat.QwenCoder, "I look.\n<function=place>\n<parameter=count>\n3\n</parameter>\n</function>\n</tool_call>", true)]
    [InlineData(ToolCallFormat.QwenCoder, "<function=place>\n<parameter=count>\nthree\n</parameter>\n</function>", false)]
    [InlineData(ToolCallFormat.QwenCoder, "Write <function=name> and </function>.", true)]
    [InlineData(ToolCallFormat.QwenCoder, "<tool_call>\n<function=later>", false)]
    [InlineData(ToolCallFormat.Seed, "I look.\n<seed:tool_call>\n<function=place>\n<parameter=count>3</parameter>\n<parameter=unit>kg</parameter>\n</function>\n</seed:tool_call>", true)]
    [InlineData(ToolCallFormat.Seed, "<seed:tool_call>\n<function=place>\n<parameter=count>\n3\n</parameter>\n</function>\n</seed:tool_call>", false)]
    [InlineData(ToolCallFormat.Seed, "<seed:tool_call>\n<function=place>\n<parameter=count>three</parameter>", false)]
    [InlineData(ToolCallFormat.Seed, "<seed:tool_call>\n<function=later>", false)]
    [InlineData(ToolCallFormat.Glm, "<tool_call>place\n<arg_key>count</arg_key>\n<arg_value>3</arg_value>\n</tool_call>", true)]
    [InlineData(ToolCallFormat.Glm, "<tool_call>place<arg_key>count</arg_key><arg_value>3</arg_value></tool_call>Done", true)]
    [InlineData(ToolCallFormat.Glm, "<tool_call>place<arg_key>count</arg_key><arg_value>x</arg_value></tool_call>", false)]
    [InlineData(ToolCallFormat.Mistral, "I look.[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {}}]", true)]
    [InlineData(ToolCallFormat.Mistral, "[TOOL_CALLS][{\"name\": \"later\", \"arguments\": {}}]", false)]
    [InlineData(ToolCallFormat.MistralNames, "I look.[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]place[ARGS]{\"count\": 1}", true)]
    [InlineData(ToolCallFormat.MistralNames, "[TOOL_CALLS]now[ARGS]{}[TOOL_CALLS]later[ARGS]{}", false)]
    [InlineData(ToolCallFormat.DeepSeek, "I look.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>place\n```json\n{\"count\": 1}\n```<｜tool▁call▁end｜>\n<｜tool▁call▁begin｜>function<｜tool▁sep｜>now\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", true)]
    [InlineData(ToolCallFormat.DeepSeek, "<｜tool▁call▁begin｜>function<｜tool▁sep｜>place\n```json\n{\"count\": 1}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", true)]
    [InlineData(ToolCallFormat.DeepSeek, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>later\n```json\n{}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>", false)]
    [InlineData(ToolCallFormat.DeepSeekNames, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>now<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁call▁begin｜>place<｜tool▁sep｜>{\"count\": 1}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", true)]
    [InlineData(ToolCallFormat.DeepSeekNames, "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>place<｜tool▁sep｜>{\"count\": \"1\"}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", false)]
    [InlineData(ToolCallFormat.Granite, "<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}, {\"name\": \"place\", \"arguments\": {\"count\": 1}}]", true)]
    [InlineData(ToolCallFormat.Nemotron, "<TOOLCALL>[{\"name\": \"now\", \"arguments\": {}}]</TOOLCALL> and so on", true)]
    [InlineData(ToolCallFormat.Nemotron, "<TOOLCALL>[{\"name\": \"later\", \"arguments\": {}}]</TOOLCALL>", false)]
    [InlineData(ToolCallFormat.Python, "I look.<|tool_call_start|>[place(count=3, unit=\"kg\"), now()]<|tool_call_end|> and so on", true)]
    [InlineData(ToolCallFormat.Python, "<|tool_call_start|>[place(unit=\"kg\")]<|tool_call_end|>", false)]
    [InlineData(ToolCallFormat.Python, "<|tool_call_start|>[place(count=\"3\")]<|tool_call_end|>", false)]
    [InlineData(ToolCallFormat.Python, "<|tool_call_start|>[later()]<|tool_call_end|>", false)]
    [InlineData(ToolCallFormat.Granite, "<|tool_call|>[{\"name\": \"later\", \"arguments\": {}}]", false)]
    [InlineData(ToolCallFormat.Phi, "I look.<|tool_call|>[{\"name\": \"now\", \"arguments\": {}}]<|/tool_call|>Done", true)]
    [InlineData(ToolCallFormat.Phi, "<|tool_call|>[{\"name\": \"place\", \"arguments\": {}}]<|/tool_call|>", false)]
    [InlineData(ToolCallFormat.Gemma, "I look.<|tool_call>call:place{count:1,unit:<|\"|>kg<|\"|>}<tool_call|><|tool_call>call:now{}<tool_call|>", true)]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:later{}<tool_call|>", false)]
    [InlineData(ToolCallFormat.Gemma, "<|tool_call>call:place{count:<|\"|>1<|\"|>}<tool_call|>", false)]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"Ruth\", \"age\": 17}", true)]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"place\", \"parameters\": {\"count\": 1}}; {\"name\": \"now\", \"parameters\": {}}", true)]
    [InlineData(ToolCallFormat.Llama, "{\"name\": \"place\", \"parameters\": {\"count\": \"1\"}}", false)]
    [InlineData(ToolCallFormat.Llama, "<|python_tag|>{\"name\": \"later\", \"parameters\": {}}", false)]
    [InlineData(ToolCallFormat.Llama, "So: {\"name\": \"place\", \"parameters\": {\"count\": \"1\"}}", true)]
    public void A_call_once_begun_is_held_to_names_and_schemas(ToolCallFormat format, string answer, bool allowed)
    {
        var forms = new OutputForm(ToolCallFormats.Of("", format), ThoughtTags.Usual, new SchemaForms(NullLogger.Instance));
        var form = forms.Of(null, Tools, int.MaxValue, thinking: false, mayThink: true, given: null)!;
        Assert.Equal(allowed, StructuredOutputTests.Allows(form, answer));
        Assert.Same(form, forms.Of(null, Tools, int.MaxValue, thinking: false, mayThink: true, given: null));
    }

    [Theory]
    [InlineData("[TOOL_CALLS]{{ name }}[CALL_ID]{{ id }}[ARGS]", "[TOOL_CALLS]now[CALL_ID]a1B2c3D4e[ARGS]{}[TOOL_CALLS]place[ARGS]{\"count\": 1}", true)]
    [InlineData("[TOOL_CALLS]{{ name }}[CALL_ID]{{ id }}[ARGS]", "[TOOL_CALLS]now[CALL_ID]a1B2c3D4[ARGS]{}", false)]
    [InlineData("[TOOL_CALLS]{{ name }}[CALL_ID]{{ id }}[ARGS]", "[TOOL_CALLS]now[CALL_ID]a1B2c3D4-[ARGS]{}", false)]
    [InlineData("[TOOL_CALLS]{{ name }}[ARGS]", "[TOOL_CALLS]now[CALL_ID]a1B2c3D4e[ARGS]{}", false)]
    public void An_id_of_a_call_may_stand_where_the_template_has_one(string template, string answer, bool allowed)
    {
        var (format, schemas) = (ToolCallFormats.Of(template), new SchemaForms(NullLogger.Instance));
        Assert.Equal(allowed, StructuredOutputTests.Allows(new OutputForm(format, ThoughtTags.Usual, schemas).Of(null, Tools, int.MaxValue, thinking: false, mayThink: true, given: null)!, answer));
        Assert.Equal(allowed, StructuredOutputTests.Allows(format.Constrain(Tools[..2], 2, schemas), answer));
        Assert.All(format.Parse("now[CALL_ID]a1B2c3D4e[ARGS]{}", Tools), c => Assert.Equal("now", c.Name));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void What_random_tokens_call_is_always_right(int seed)
    {
        // As a model would that writes anything, but begins calls often.
        var tokenizer = demo.Model.Tokenizer;
        var (format, random, read) = (ToolCallFormats.Of("", ToolCallFormat.Hermes), new Random(seed), 0);
        var form = new OutputForm(format, ThoughtTags.Usual, new SchemaForms(NullLogger.Instance)).Of(null, Tools, int.MaxValue, false, true, null)!;
        var (end, start) = (tokenizer.AddedToken("<|im_end|>")!.Value, tokenizer.Encode("<tool_call>"));
        bool[] closes = [.. Enumerable.Range(0, tokenizer.VocabularySize).Select(id => tokenizer.Bytes(id).Span is [(byte)'"' or (byte)'}' or (byte)']', ..])];
        for (var i = 0; i < 5; i++)
        {
            var text = form.Begin(Text.Constraints.TokenTrie.Of(tokenizer));
            List<int> ids = [];
            void Take(int? wanted, int left)
            {
                var logits = closes.Select(c => random.NextSingle() + (c && left < 300 ? 1 : 0)).ToArray(); // no limit ends a call, so it comes to its end itself
                text.Mask(logits, left, [end]);
                logits[end] = ids.Count < 10 || wanted is not null || !float.IsFinite(logits[end]) ? float.NegativeInfinity : 2;
                ids.Add(wanted is { } id && float.IsFinite(logits[id]) ? id : Array.IndexOf(logits, logits.Max()));
                if (ids[^1] != end)
                {
                    text.Advance(ids[^1]);
                }
            }

            Take(null, 500);
            start.ToList().ForEach(id => Take(id, 500));
            for (var left = 400; left > 0 && ids[^1] != end; left--)
            {
                Take(null, left);
            }

            var answer = tokenizer.Decode(ids);
            var scanner = new ToolCallScanner(format, Tools);
            var calls = scanner.Append(answer).Concat(scanner.End()).Select(p => p.Call).OfType<ParsedCall>().ToList();
            Assert.All(calls, c => Assert.True(c.Error is null && Tools.Any(t => t.Name == c.Name), answer));
            read += calls.Count;
        }

        Assert.True(read >= 5);
    }

    [Fact]
    public async Task A_model_is_asked_with_it_unless_the_caller_has_a_form_of_its_own()
    {
        var engine = new ScriptedEngine(demo.Model, "a", "b", "c");
        using var client = new HeadInferChatClient(engine);
        var tools = new ChatOptions { Tools = [AIFunctionFactory.Create(() => 1, "now")] };
        await client.GetResponseAsync("Go", tools);
        Assert.NotNull(engine.Options[0].Constraint);
        await client.GetResponseAsync("Go");
        Assert.Null(engine.Options[1].Constraint);
        var own = OutputConstraint.Text("x");
        tools.RawRepresentationFactory = _ => new GenerationOptions { Constraint = own };
        await client.GetResponseAsync("Go", tools);
        Assert.Same(own, engine.Options[2].Constraint);
    }

    [Fact]
    public async Task A_stop_sequence_that_is_a_special_token_stops()
    {
        // The model ends its turn with this token; here nothing else makes that an end.
        const string question = "The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?";
        var given = new GenerationOptions { StopTokens = [0], MaxTokens = 60 };
        using var client = new HeadInferChatClient(demo.Model);
        var options = new ChatOptions { RawRepresentationFactory = _ => given };
        var free = await client.GetResponseAsync(question, options);
        Assert.Equal(ChatFinishReason.Length, free.FinishReason);
        foreach (var stop in (string[])["<|im_end|>", "<|im_end|>\n"])
        {
            options.StopSequences = [stop];
            var stopped = await client.GetResponseAsync(question, options);
            Assert.Equal(("The access code for the old harbor is amber-4821.", ChatFinishReason.Stop), (stopped.Text, stopped.FinishReason));
            using var session = demo.Model.CreateSession();
            var steps = await session.GenerateAsync(
                demo.Model.ChatTemplate!.Encode([new("user", question)], demo.Model.Tokenizer), given with { StopSequences = [stop] }).ToListAsync();
            Assert.Equal(Runtime.FinishReason.Stop, steps[^1].FinishReason);
            Assert.Equal(stopped.Text, string.Concat(steps.Select(s => s.Text)));
        }
    }
}

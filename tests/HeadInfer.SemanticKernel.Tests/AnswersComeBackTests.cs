using HeadInfer.Runtime;
using HeadInfer.Text;
using Microsoft.Extensions.AI;
using Microsoft.SemanticKernel.ChatCompletion;
using FunctionCallContent = Microsoft.Extensions.AI.FunctionCallContent;
using FunctionResultContent = Microsoft.Extensions.AI.FunctionResultContent;
using TextContent = Microsoft.Extensions.AI.TextContent;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>What a client may do to an answer before it sends it back, and which of it is still the model's own.</summary>
public sealed class AnswersComeBackTests : IDisposable
{
    private const string Call = "<tool_call>\n{\"name\":\"now\",   \"arguments\" : {\"place\":\"Oslo\",\"days\":2}}\n</tool_call>";

    private static readonly AIFunction Now = AIFunctionFactory.Create((string place, int days) => "12:00", "now", "Tells the time");

    private readonly Tokenizer _tokenizer = LoopTemplates.Tokenizer([LoopTemplates.Own[0].Source]);
    private readonly ChatTemplate _template = LoopTemplates.Template(LoopTemplates.Own[0].Source);
    private readonly TokenEngine _engine;
    private readonly HeadInferChatClient _client;
    private readonly ChatOptions _options = new() { Tools = [Now] };

    public AnswersComeBackTests()
    {
        _engine = new TokenEngine(_tokenizer, _template, [_tokenizer.AddedToken("<|im_end|>")!.Value]);
        _client = new HeadInferChatClient(_engine);
    }

    public static TheoryData<string, bool> Returned() => new()
    {
        { """{"days":2,"place":"Oslo"}""", true },
        { """{ "place": "Oslo", "days": 2.0 }""", true },
        { """{"place":"Oslo","days":3}""", false },
        { """{"place":"Oslo","days":"2"}""", false },
        { """{"place":"Oslo"}""", false },
        { """{"place":"Oslo","days":2,"more":null}""", false },
    };

    [Theory]
    [MemberData(nameof(Returned))]
    public async Task Only_a_call_with_equal_arguments_is_the_models_own(string arguments, bool same)
    {
        var call = (await AnswerAsync([new(ChatRole.User, "Go")], "I look.\n" + Call)).Messages[0].Contents.OfType<FunctionCallContent>().Single();
        var returned = new FunctionCallContent(call.CallId, "now", System.Text.Json.JsonSerializer.Deserialize<Dictionary<string, object?>>(arguments));
        await ContinuesAsync(same, new ChatMessage(ChatRole.Assistant, [new TextContent("I look."), returned]), new ChatMessage(ChatRole.Tool, [new FunctionResultContent(call.CallId, "12:00")]));
    }

    [Theory]
    [InlineData("I look.", "I look.", true)]
    [InlineData("  I look.\n", "I look.", true)]
    [InlineData("I look.", "I look!", false)]
    [InlineData("I look.", "I look", false)]
    [InlineData("I  look.", "I look.", false)]
    [InlineData("A <|im_end|> is a marker.", "A <|im_end|> is a marker.", true)]
    [InlineData("<think>Hm.</think>Yes.", "Yes.", false)]
    public async Task Only_the_same_text_is_the_models_own(string answer, string returned, bool same)
    {
        await AnswerAsync([new(ChatRole.User, "Go")], answer);
        await ContinuesAsync(same, new ChatMessage(ChatRole.Assistant, returned), new ChatMessage(ChatRole.User, "And?"));
    }

    [Fact]
    public async Task Of_two_answers_to_one_question_each_goes_on_by_itself()
    {
        foreach (var answer in (string[])["Yes, of course.", "No, of course not."])
        {
            await AnswerAsync([new(ChatRole.User, "Go")], answer);
        }

        var (yes, no) = (_engine.Generated[0], _engine.Generated[1]);
        await ContinuesAsync(true, yes, new ChatMessage(ChatRole.Assistant, "Yes, of course."), new ChatMessage(ChatRole.User, "And?"));
        await ContinuesAsync(true, no, new ChatMessage(ChatRole.Assistant, "No, of course not."), new ChatMessage(ChatRole.User, "And?"));
    }

    [Fact]
    public async Task What_another_caller_was_answered_is_not_found()
    {
        await AnswerAsync([new(ChatRole.User, "Go")], "Yes, of course.");
        _options.WithCacheKey("another");
        await ContinuesAsync(false, new ChatMessage(ChatRole.Assistant, "Yes, of course."), new ChatMessage(ChatRole.User, "And?"));
        await _client.AsChatCompletionService().GetChatMessageContentAsync(new ChatHistory("Go", AuthorRole.User), new HeadInferPromptExecutionSettings { CacheKey = "of settings" });
        Assert.Equal(["", "another", "of settings"], _engine.Keys);
    }

    [Fact]
    public async Task An_answer_that_its_caller_cuts_off_goes_on_where_it_was_cut()
    {
        _engine.Next = Cut("One two three four five six seven.");
        var text = "";
        await foreach (var update in _client.GetStreamingResponseAsync("Go", _options))
        {
            text += update.Text;
            if (text.Length > 15)
            {
                break;
            }
        }

        var generated = _engine.Next.TakeWhile((_, i) => _tokenizer.Decode(_engine.Next.Take(i + 1)).Length <= text.Length).ToList();
        Assert.InRange(generated.Count, 3, _engine.Next.Count - 1);
        await ContinuesAsync(true, generated, new ChatMessage(ChatRole.Assistant, text), new ChatMessage(ChatRole.User, "Go on"));
    }

    [Fact]
    public async Task An_answer_that_a_limit_or_a_stop_sequence_ends_goes_on_too()
    {
        _engine.Reason = FinishReason.Length;
        await AnswerAsync([new(ChatRole.User, "Go")], "One two three");
        await ContinuesAsync(true, new ChatMessage(ChatRole.Assistant, "One two three"), new ChatMessage(ChatRole.User, "Go on"));

        // The engine tells the text before the sequence, and has generated the sequence too.
        (_engine.Reason, _engine.Shown) = (FinishReason.Stop, "One two".Length);
        await AnswerAsync([new(ChatRole.User, "Stop")], "One two three");
        var kept = _engine.Next.TakeWhile((_, i) => _tokenizer.Decode(_engine.Next.Take(i + 1)).Length <= "One two".Length).ToList();
        Assert.Equal("One two", _tokenizer.Decode(kept));
        await ContinuesAsync(true, kept, [new(ChatRole.User, "Stop"), new ChatMessage(ChatRole.Assistant, "One two"), new ChatMessage(ChatRole.User, "Go on")]);
    }

    [Fact]
    public async Task Thoughts_of_calls_come_back_by_their_ids()
    {
        var (_, source, _) = LoopTemplates.Own.Single(t => t.Name == "thoughts in the loop");
        var engine = new TokenEngine(_tokenizer, LoopTemplates.Template(source), _engine.EndTokens);
        using var client = new HeadInferChatClient(engine);
        engine.Next = Cut("<think>I need the time.</think><tool_call>\n<function=now>\n<parameter=place>\nOslo\n</parameter>\n</function>\n</tool_call>");
        List<ChatMessage> messages = [new(ChatRole.User, "Go")];
        var call = (await client.GetResponseAsync(messages, _options)).Messages[0].Contents.OfType<FunctionCallContent>().Single();
        foreach (var (id, known) in ((string, bool)[])[(call.CallId, true), ("unknown", false)])
        {
            await client.GetResponseAsync([.. messages, new(ChatRole.Assistant, [new FunctionCallContent(id, call.Name, call.Arguments)]), new(ChatRole.Tool, [new FunctionResultContent(id, "12:00")])], _options);
            Assert.Equal(known, _tokenizer.Decode(engine.Prompts[^1], skipSpecial: false).Contains("I need the time.", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task A_message_of_the_user_that_stands_where_an_answer_was_is_none()
    {
        var (_, source, _) = LoopTemplates.Own.Single(t => t.Name == "mistral");
        var (tokenizer, template) = (LoopTemplates.Tokenizer([source]), LoopTemplates.Template(source)); // it writes nothing before an answer
        var engine = new TokenEngine(tokenizer, template, [tokenizer.AddedToken("</s>")!.Value]) { Next = Cut("Of course.") };
        using var client = new HeadInferChatClient(engine);
        await client.GetResponseAsync("Go");
        List<ChatMessage> messages = [new(ChatRole.User, "Go"), new(ChatRole.User, "Of course.")];
        await client.GetResponseAsync(messages);
        Assert.Equal(template.Encode(ChatRequest.Conversation(messages, null, null).Turns, tokenizer), engine.Prompts[^1]);
        await client.GetResponseAsync([messages[0], new(ChatRole.Assistant, "Of course."), new(ChatRole.User, "And?")]);
        Assert.Equal([.. engine.Prompts[0], .. engine.Next], engine.Prompts[^1].Take(engine.Prompts[0].Count + engine.Next.Count));
    }

    [Fact]
    public void What_is_remembered_is_bounded_in_number_and_bytes()
    {
        var past = new Recollection(most: 10, mostBytes: 20_000);
        var (edit, text) = ((Edit?)null, new Text.Templates.TemplateTextBuilder());
        var most = 0L;
        for (var i = 0; i < 200; i++)
        {
            // A conversation that goes on forks now and then; its answers share what stands before.
            edit = new Edit(i, i + 1, new int[i % 7 == 0 ? 900 : 30], i % 5 == 0 ? null : edit);
            past.Add(new PastAnswer("", new Digest(0, (UInt128)i), i, default, edit, "", 0, new int[50], false, 0, new Outline(0, [1, 2], false)));
            most = Math.Max(most, past.Bytes);
            Assert.InRange(past.Count, 1, 10);
        }

        Assert.InRange(most, 5_000, 20_000);
        past.Add(new PastAnswer("", default, 0, default, null, "", 0, new int[100_000], false, 0, new Outline(0, [], false)));
        Assert.Equal((0, 0), (past.Count, past.Bytes));
    }

    public void Dispose() => _client.Dispose();

    private async Task<ChatResponse> AnswerAsync(IEnumerable<ChatMessage> messages, string answer)
    {
        _engine.Next = Cut(answer);
        return await _client.GetResponseAsync(messages, _options);
    }

    private Task ContinuesAsync(bool continues, params ChatMessage[] more) => ContinuesAsync(continues, _engine.Generated[^1], [new(ChatRole.User, "Go"), .. more]);

    private Task ContinuesAsync(bool continues, IReadOnlyList<int> generated, ChatMessage answer, ChatMessage next) => ContinuesAsync(continues, generated, [new(ChatRole.User, "Go"), answer, next]);

    // Either the last prompt and answer go on, token for token, or the conversation is read as the template writes it.
    private async Task ContinuesAsync(bool continues, IReadOnlyList<int> generated, ChatMessage[] messages)
    {
        IReadOnlyList<int> before = [.. _template.Encode(ChatRequest.Conversation(messages.Take(1), null, null).Turns, _tokenizer, ChatRequest.Tools(_options)), .. generated];
        var written = _template.Encode(ChatRequest.Conversation(messages, null, null).Turns, _tokenizer, ChatRequest.Tools(_options));
        Assert.False(before.SequenceEqual(written.Take(before.Count)));
        await AnswerAsync(messages, "Fine.");
        Assert.Equal(continues ? before : written, _engine.Prompts[^1].Take(continues ? before.Count : int.MaxValue));
    }

    // A character at a time, which is not how the tokenizer would do it; markers stay whole.
    private List<int> Cut(string text) =>
        [.. System.Text.RegularExpressions.Regex.Split(text, "(</?think>|</?tool_call>)").SelectMany(p => _tokenizer.AddedToken(p) is { } marker ? [marker] : p.SelectMany(c => _tokenizer.Encode(c.ToString())))];
}

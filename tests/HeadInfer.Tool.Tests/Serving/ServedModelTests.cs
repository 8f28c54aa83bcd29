using System.Net;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Tool.Serving;
using OllamaSharp;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>What the server tells of a model: its health, its figures, its plan, and its continued texts.</summary>
public sealed class ServedModelTests : IAsyncLifetime
{
    private const string Text = "The access code for the old harbor is amber-4821. The access code for the silver tower is 7305926. The access code for the old harbor is";

    private RunningServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await RunningServer.StartAsync("--max-context", "4K", "--cors", "http://pages.example");

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task A_text_is_continued_and_known_the_second_time()
    {
        var ask = $$"""{"prompt":"{{Text}}","max_tokens":6,"temperature":0}""";
        var (_, first) = await _server.AskAsync(ask, "/v1/completions");
        var (_, second) = await _server.AskAsync(ask, "/v1/completions");
        var expected = await ContinueAsync();
        Assert.Equal((expected, "length", "text_completion"), (first.GetProperty("choices")[0].GetProperty("text").GetString(), first.GetProperty("choices")[0].GetProperty("finish_reason").GetString(), first.GetProperty("object").GetString()));
        Assert.Equal(expected, second.GetProperty("choices")[0].GetProperty("text").GetString());
        var usage = second.GetProperty("usage");
        Assert.Equal(usage.GetProperty("prompt_tokens").GetInt32() - 1, usage.GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32()); // the last one is always read
        var streamed = "";
        await foreach (var line in _server.LinesAsync(ask[..^1] + ""","stream":true}""", "/v1/completions"))
        {
            streamed += line.StartsWith("data: {", StringComparison.Ordinal) ? JsonElement.Parse(line["data: ".Length..]).GetProperty("choices")[0].GetProperty("text").GetString() : "";
        }

        var (_, raw) = await _server.AskAsync($$"""{"prompt":"{{Text}}","raw":true,"stream":false,"options":{"num_predict":6,"temperature":0} }""", "/api/generate");
        Assert.Equal((expected, expected), (streamed, raw.GetProperty("response").GetString()));
    }

    [Theory]
    [InlineData("/v1/chat/completions", ""","continue_final_message":true,"add_generation_prompt":false""")]
    [InlineData("/api/chat", ""","stream":false""")]
    public async Task An_answer_that_was_begun_is_continued(string path, string more)
    {
        const string Whole = "The access code for the old harbor is amber-4821.";
        foreach (var begun in (string[])["The access code for", "The access code for the old harbor is"])
        {
            var (status, body) = await _server.AskAsync($$"""{"messages":[{"role":"user","content":"{{Whole}}\n\nWhat is the access code for the old harbor?"},{"role":"assistant","content":"{{begun}}"}]{{more}}}""", path);
            Assert.True(status == HttpStatusCode.OK, body.ToString());
            var message = path == "/api/chat" ? body.GetProperty("message") : body.GetProperty("choices")[0].GetProperty("message");
            Assert.Equal(Whole[begun.Length..], message.GetProperty("content").GetString());
        }
    }

    [Theory]
    [InlineData("/v1/completions", "0")]
    [InlineData("/v1/completions", "1e-60")]
    [InlineData("/api/generate", "0")]
    public async Task No_share_is_the_likeliest_token_alone(string path, string share)
    {
        var sampling = $"\"temperature\":100,\"seed\":1,\"top_k\":-1,\"top_p\":{share}";
        var (_, body) = path == "/api/generate"
            ? await _server.AskAsync($$"""{"prompt":"{{Text}}","raw":true,"stream":false,"options":{"num_predict":6,{{sampling}}} }""", path)
            : await _server.AskAsync($$"""{"prompt":"{{Text}}","max_tokens":6,{{sampling}}}""", path);
        Assert.Equal(await ContinueAsync(), path == "/api/generate" ? body.GetProperty("response").GetString() : body.GetProperty("choices")[0].GetProperty("text").GetString());
    }

    // By the model itself, which is asked after the request was read.
    [Theory]
    [InlineData("/v1/chat/completions", "4,096", """{"messages":[{"role":"user","content":"LONG"}]}""")]
    [InlineData("/v1/completions", "4,096", """{"prompt":"LONG"}""")]
    [InlineData("/v1/responses", "4,096", """{"input":"LONG"}""")]
    [InlineData("/api/chat", "4,096", """{"messages":[{"role":"user","content":"LONG"}]}""")]
    [InlineData("/api/generate", "4,096", """{"prompt":"LONG"}""")]
    [InlineData("/api/generate", "4,096", """{"prompt":"LONG","raw":true}""")]
    [InlineData("/v1/chat/completions", "tool_choice", """{"messages":[{"role":"user","content":"x"}],"tool_choice":"required"}""")]
    [InlineData("/v1/responses", "tool_choice", """{"input":"x","tool_choice":"required"}""")]
    [InlineData("/v1/chat/completions", "reasoning_effort", """{"messages":[{"role":"user","content":"x"}],"reasoning_effort":"high"}""")]
    [InlineData("/v1/responses", "reasoning_effort", """{"input":"x","reasoning":{"effort":"high"}}""")]
    public async Task A_stream_that_is_refused_has_a_status(string path, string part, string body)
    {
        using var response = await _server.PostAsync(RunningServer.Json(body.Replace("LONG", string.Concat(Enumerable.Repeat("The old harbor. ", 2000)), StringComparison.Ordinal)[..^1] + ""","stream":true}"""), path);
        var said = await response.Content.ReadAsStringAsync();
        Assert.True(response.StatusCode == HttpStatusCode.BadRequest, $"{response.StatusCode} {said}");
        Assert.Contains(part, said, StringComparison.Ordinal);
    }

    // As many tokens as there is room for, where no limit is given.
    [Fact]
    public async Task A_raw_text_goes_on_as_far_as_the_context_has_room()
    {
        await using var server = await RunningServer.StartAsync("--max-context", "700");
        var (_, body) = await server.AskAsync("""{"prompt":"The access code for the old harbor","raw":true,"stream":false,"options":{"temperature":0}}""", "/api/generate");
        Assert.Equal("length 700", $"{body.GetProperty("done_reason").GetString()} {body.GetProperty("prompt_eval_count").GetInt32() + body.GetProperty("eval_count").GetInt32()}");
    }

    [Theory]
    [InlineData("needs a last message", """{"messages":[{"role":"user","content":"x"}],"continue_final_message":true}""")]
    [InlineData("needs a last message", """{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":""}],"continue_final_message":true}""")]
    [InlineData("JSON output", """{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"{"}],"continue_final_message":true,"response_format":{"type":"json_object"}}""")]
    public async Task What_cannot_be_continued_is_said(string part, string body)
    {
        var (status, answer) = await _server.AskAsync(body);
        Assert.Equal(HttpStatusCode.BadRequest, status);
        var message = answer.GetProperty("error").GetProperty("message").GetString()!;
        Assert.StartsWith("continue_final_message", message, StringComparison.Ordinal);
        Assert.Contains(part, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("prompt", """{"prompt":["a","b"]}""")]
    [InlineData("prompt", """{"prompt":[1,2]}""")]
    [InlineData("prompt", "{}")]
    [InlineData("echo", """{"prompt":"a","echo":true}""")]
    [InlineData("suffix", """{"prompt":"a","suffix":"b"}""")]
    [InlineData("tools", """{"prompt":"a","tools":[{"type":"function"}]}""")]
    public async Task Of_a_text_what_cannot_be_done_is_refused_by_name(string part, string body)
    {
        var (status, answer) = await _server.AskAsync(body, "/v1/completions");
        Assert.Equal(HttpStatusCode.BadRequest, status);
        Assert.StartsWith(part, answer.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_a_chat_template_texts_are_continued_and_a_conversation_says_what_to_give()
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-");
        try
        {
            foreach (var file in Directory.GetFiles(RunningServer.Model, "*.*"))
            {
                File.Copy(file, Path.Combine(folder.FullName, Path.GetFileName(file)));
            }

            var template = Path.Combine(folder.FullName, "chat_template.jinja");
            await File.WriteAllTextAsync(template, "mistral-v7");
            await using (var server = await RunningServer.StartAsync(folder.FullName, []))
            {
                var (_, raw) = await server.AskAsync($$"""{"prompt":"{{Text}}","raw":true,"stream":false,"options":{"num_predict":6,"temperature":0} }""", "/api/generate");
                Assert.Equal(await ContinueAsync(), raw.GetProperty("response").GetString());
                var (status, body) = await server.AskAsync("""{"messages":[{"role":"user","content":"x"}]}""");
                Assert.Equal(HttpStatusCode.BadRequest, status);
                Assert.Contains("--chat-template", body.GetProperty("error").GetProperty("message").GetString(), StringComparison.Ordinal);
                Assert.Equal("", (await server.AskAsync("{}", "/api/show")).Body.GetProperty("template").GetString());
                Assert.Contains((await server.Http.GetStringAsync("/metrics")).Split('\n'), l => l.StartsWith("headinfer_memory_bytes", StringComparison.Ordinal) && l.Contains(folder.Name, StringComparison.Ordinal));
            }

            await File.WriteAllTextAsync(template, "{% for m in messages %}{{ m.content }}{% endfor %}");
            await using var given = await RunningServer.StartAsync("--chat-template", template);
            Assert.Contains("m.content", (await given.AskAsync("{}", "/api/show")).Body.GetProperty("template").GetString(), StringComparison.Ordinal);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    // By the tokens of the prompt, which the template makes longer.
    [Theory]
    [InlineData("{% if thinking is defined and not thinking %} no thoughts{% endif %}", "false", "none")]
    [InlineData("{% if enable_thinking is defined and not enable_thinking %} no thoughts{% endif %}", "false", "none")]
    [InlineData("{% if reasoning_effort is defined %} with {{ reasoning_effort }} effort{% endif %}", "\"low\"", "low")]
    [InlineData("{% if reasoning_effort is defined %} with {{ reasoning_effort }} effort{% endif %}", "\"high\"", "high")]
    public async Task Ollamas_words_for_thinking_are_those_of_reasoning_effort(string end, string think, string effort)
    {
        var template = Path.GetTempFileName();
        await File.WriteAllTextAsync(template, "{% for m in messages %}{{ m.content }}{% endfor %}" + end);
        await using var server = await RunningServer.StartAsync("--chat-template", template);
        async Task<int> Tokens(string more) => (await server.AskAsync($$"""{"messages":[{"role":"user","content":"Go"}],"stream":false,"options":{"num_predict":1}{{more}}}""", "/api/chat")).Body.GetProperty("prompt_eval_count").GetInt32();
        var (_, openai) = await server.AskAsync($$"""{"messages":[{"role":"user","content":"Go"}],"max_tokens":1,"reasoning_effort":"{{effort}}"}""");
        var expected = openai.GetProperty("usage").GetProperty("prompt_tokens").GetInt32();
        Assert.Equal(expected, await Tokens($$""","think":{{think}}"""));
        Assert.True(await Tokens("") < expected);
        File.Delete(template);
    }

    [Theory]
    [InlineData(8_030_261_248, "8.0B")]
    [InlineData(134_515_008, "134.52M")]
    [InlineData(12_345, "12K")]
    [InlineData(999, "999")]
    public void Parameters_are_counted_as_Ollama_writes_them(long count, string text) => Assert.Equal(text, Ollama.Count(count));

    [Fact]
    public async Task Its_figures_are_those_of_the_plan()
    {
        var before = DateTimeOffset.UtcNow;
        await _server.AskAsync($$"""{"prompt":"{{Text}}","max_tokens":6}""", "/v1/completions");
        var status = JsonElement.Parse(await _server.Http.GetByteArrayAsync("/api/headinfer/status"));
        await using var model = await HeadInferModel.LoadAsync(RunningServer.Model, new HeadInferOptions { MaxContextTokens = 4096 });
        var memory = status.GetProperty("memory").GetProperty("host");
        Assert.Equal(
            (model.Plan.Weights.Bytes, model.Plan.Workspace.Bytes, model.Plan.KvPerToken.Bytes, 4096),
            (memory.GetProperty("weights").GetInt64(), memory.GetProperty("workspace").GetInt64(), memory.GetProperty("kv").GetProperty("per_token").GetInt64(), status.GetProperty("context").GetProperty("longest").GetInt32()));
        Assert.Equal(model.Plan.KvFor(1).Bytes, memory.GetProperty("kv").GetProperty("in_use").GetInt64() + memory.GetProperty("kv").GetProperty("kept").GetInt64()); // one block
        var known = Assert.Single(status.GetProperty("cache").GetProperty("conversations").EnumerateArray());
        Assert.Equal(model.Tokenizer.Encode(Text, addSpecial: true).Count + 5, known.GetProperty("tokens").GetInt32()); // the last token of an answer is not read
        Assert.InRange(known.GetProperty("since").GetDateTimeOffset(), before, DateTimeOffset.UtcNow);
        Assert.Equal((model.Config.Layers, model.Config.KvHeads, "host"), (status.GetProperty("heads").GetProperty("placement").GetArrayLength(), status.GetProperty("heads").GetProperty("placement")[0].GetArrayLength(), status.GetProperty("heads").GetProperty("placement")[0][0].GetString()));
        var (planned, plan) = await _server.AskAsync("""{"gpu":"rtx-4090","host_memory":"8GiB"}""", "/api/headinfer/plan");
        Assert.Equal((HttpStatusCode.OK, 8L << 30, "rtx-4090"), (planned, plan.GetProperty("hostBudgetBytes").GetInt64(), plan.GetProperty("machine").GetProperty("name").GetString()));
        (planned, plan) = await _server.AskAsync("""{"gpu":"rtx-4090","host_memory":"8GiB","context":"3K"}""", "/api/headinfer/plan");
        Assert.Equal(HttpStatusCode.OK, planned);
        Assert.Contains(3072, plan.GetProperty("predicted").EnumerateArray().Select(p => p.GetProperty("context").GetInt32()));
        (planned, plan) = await _server.AskAsync("""{"gpu":"rtx-4090","host_memory":"8GiB","context":"64K"}""", "/api/headinfer/plan");
        Assert.Equal(HttpStatusCode.BadRequest, planned); // so many do not fit
        Assert.Contains("65,536 tokens", plan.GetProperty("error").GetString(), StringComparison.Ordinal);
        Assert.StartsWith("--gpu is 'gtx'", (await _server.AskAsync("""{"gpu":"gtx"}""", "/api/headinfer/plan")).Body.GetProperty("error").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Its_health_needs_no_key_and_its_metrics_do()
    {
        using var http = new HttpClient { BaseAddress = _server.Address };
        Assert.Equal("""{"status":"ok"}""", await http.GetStringAsync("/health"));
        Assert.Contains("/v1/chat/completions", await http.GetStringAsync("/"), StringComparison.Ordinal);
        foreach (var path in (string[])["/metrics", "/api/headinfer/status", "/api/tags"])
        {
            Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync(path)).StatusCode);
        }

        await _server.AskAsync($$"""{"prompt":"{{Text}}","max_tokens":6}""", "/v1/completions");
        var metrics = await _server.Http.GetStringAsync("/metrics");
        Assert.All(["headinfer_requests_total", "headinfer_prefill_tokens_total", "headinfer_memory_bytes"], name => Assert.Contains(name, metrics, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Pages_of_a_named_origin_may_ask()
    {
        async Task<string?> Allowed(string origin)
        {
            using var request = new HttpRequestMessage(HttpMethod.Options, "/v1/chat/completions") { Headers = { { "Origin", origin }, { "Access-Control-Request-Method", "POST" }, { "Access-Control-Request-Headers", "authorization" } } };
            using var http = new HttpClient { BaseAddress = _server.Address };
            using var response = await http.SendAsync(request);
            return response.Headers.TryGetValues("Access-Control-Allow-Origin", out var values) ? values.Single() : null;
        }

        Assert.Equal("http://pages.example", await Allowed("http://pages.example"));
        Assert.Null(await Allowed("http://other.example"));
    }

    [Fact]
    public async Task Ollamas_client_finds_the_model()
    {
        using var http = new HttpClient { BaseAddress = _server.Address };
        http.DefaultRequestHeaders.Add("Authorization", "Bearer " + RunningServer.Key);
        using var ollama = new OllamaApiClient(http, "headinfer-demo");
        var model = Assert.Single(await ollama.ListLocalModelsAsync());
        Assert.Equal(("headinfer-demo", "safetensors"), (model.Name, model.Details.Format));
        Assert.Equal("headinfer-demo", Assert.Single(await ollama.ListRunningModelsAsync()).Name);
        var shown = await ollama.ShowModelAsync("headinfer-demo");
        Assert.Contains("tools", shown.Capabilities!);
        Assert.Equal("Qwen3ForCausalLM", shown.Details.Family);
        Assert.Equal(("20.19M", "BF16"), (model.Details.ParameterSize, model.Details.QuantizationLevel));
        Assert.Equal(("20.19M", "BF16"), (shown.Details.ParameterSize, shown.Details.QuantizationLevel));
        Assert.True(await ollama.IsRunningAsync());
        Assert.NotEqual("", await ollama.GetVersionAsync());

        // What fits is told, and a client that sends more than that with each request is answered all the same.
        await using var small = await RunningServer.StartAsync("--max-context", "4K", "--host-memory", "320MiB");
        var longest = JsonElement.Parse(await small.Http.GetByteArrayAsync("/api/headinfer/status")).GetProperty("context").GetProperty("longest").GetInt32();
        Assert.InRange(longest, 256, 4095);
        Assert.Equal(longest, (await small.AskAsync("""{"model":"headinfer-demo"}""", "/api/show")).Body.GetProperty("model_info").GetProperty("Qwen3ForCausalLM.context_length").GetInt32());
        Assert.Equal(longest, JsonElement.Parse(await small.Http.GetByteArrayAsync("/api/ps")).GetProperty("models")[0].GetProperty("context_length").GetInt32());
        Assert.Equal(HttpStatusCode.OK, (await small.AskAsync("""{"messages":[{"role":"user","content":"x"}],"stream":false,"options":{"num_ctx":131072,"num_predict":4}}""", "/api/chat")).Status);
    }

    // The oracle: the runtime itself, without a server.
    private static async Task<string> ContinueAsync()
    {
        await using var model = await HeadInferModel.LoadAsync(RunningServer.Model);
        using var session = model.CreateSession();
        var text = "";
        await foreach (var step in session.GenerateAsync(model.Tokenizer.Encode(Text, addSpecial: true), model.Defaults with { MaxTokens = 6, Sampling = new SamplingOptions { Temperature = 0 } }))
        {
            text += step.Text;
        }

        return text;
    }
}

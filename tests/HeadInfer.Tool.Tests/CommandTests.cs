using System.Diagnostics;
using System.Text.Json;
using HeadInfer.Runtime;
using HeadInfer.Tool.Tests.Serving;

namespace HeadInfer.Tool.Tests;

/// <summary>The tool's commands, each as a process of its own with its output redirected.</summary>
public sealed class CommandTests
{
    private const string Fact = "The access code for the old harbor is amber-4821.";

    [Fact]
    public async Task Plan_gives_the_plan_of_a_model_that_is_found_by_its_name_in_the_hubs_cache()
    {
        var cache = Directory.CreateTempSubdirectory("headinfer-hub-");
        try
        {
            var folder = cache.CreateSubdirectory("models--some--model");
            var snapshot = folder.CreateSubdirectory("snapshots/abc");
            folder.CreateSubdirectory("refs");
            await File.WriteAllTextAsync(Path.Combine(folder.FullName, "refs", "main"), "abc");
            foreach (var file in Directory.GetFiles(RunningServer.Model, "*.*").Where(f => !f.EndsWith(".md", StringComparison.Ordinal)))
            {
                File.Copy(file, Path.Combine(snapshot.FullName, Path.GetFileName(file)));
            }

            var hub = new Dictionary<string, string> { ["HF_HUB_CACHE"] = cache.FullName };
            var (code, output, error) = await Tool.RunAsync("", hub, "plan", "some/model", "--json", "--host-memory", "2GiB", "--max-context", "4K", "--device", "cpu");
            Assert.True(code == 0, error);
            var plan = JsonElement.Parse(output);
            await using var model = await HeadInferModel.LoadAsync(RunningServer.Model, new HeadInferOptions { HostMemory = ByteSize.FromGiB(2), MaxContextTokens = 4096, Device = ComputeDevice.Cpu });
            Assert.Equal(
                ("some/model", model.Plan.Weights.Bytes, model.Plan.KvBudget.Bytes, model.Plan.LongestContext),
                (plan.GetProperty("shape").GetString(), plan.GetProperty("weightBytes").GetInt64(), plan.GetProperty("hostKvBytes").GetInt64(), plan.GetProperty("longestContext").GetInt32()));
            (code, _, error) = await Tool.RunAsync("", hub, "plan", "some/other");
            Assert.Equal(1, code);
            Assert.Contains("hf download some/other", error, StringComparison.Ordinal);
        }
        finally
        {
            cache.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Plan_takes_a_configuration_alone_and_a_machine_that_is_not_there()
    {
        var (code, output, error) = await Tool.RunAsync("plan", Path.Combine(RunningServer.Model, "config.json"), "--gpu", "rtx-4090", "--host-memory", "8GiB", "--context", "64K");
        Assert.Equal(1, code); // so many do not fit
        Assert.Contains("rtx-4090", output, StringComparison.Ordinal);
        Assert.Contains("65,536 tokens", error, StringComparison.Ordinal);
        Assert.Contains("--max-context", error, StringComparison.Ordinal);
    }

    // A name, and the published rates of the same GPU.
    [Fact]
    public async Task Plan_takes_the_rates_of_a_machine_without_a_name()
    {
        string[] model = ["plan", Path.Combine(RunningServer.Model, "config.json"), "--host-memory", "8GiB", "--gpu-memory", "10GiB", "--json"];
        async Task<JsonElement> PlanAsync(params string[] of)
        {
            var (code, output, error) = await Tool.RunAsync([.. model, .. of]);
            Assert.True(code == 0, error);
            return JsonElement.Parse(output);
        }

        var (named, given) = (await PlanAsync("--gpu", "rtx-4070"), await PlanAsync("--memory-rate", "504", "--link-rate", "31.5", "--tflops", "58.3"));
        Assert.Equal(named.GetProperty("predicted").GetRawText(), given.GetProperty("predicted").GetRawText());
        var slower = await PlanAsync("--gpu", "rtx-4070", "--host-rate", "20", "--tflops", "5");
        Assert.Equal((20e9, 5e12, 504e9), (slower.GetProperty("machine").GetProperty("hostBytesPerSecond").GetDouble(), slower.GetProperty("machine").GetProperty("productPerSecond").GetDouble(), slower.GetProperty("machine").GetProperty("memoryBytesPerSecond").GetDouble()));
    }

    [Fact]
    public async Task Ask_reads_documents_once_and_answers_each_question()
    {
        var (code, output, error) = await Tool.RunAsync(Fact, [], "ask", RunningServer.Model, "--document", "-", "--question", "What is the access code for the old harbor?", "--question", "What is the access code for the old harbor?", "--json");
        Assert.True(code == 0, error);
        var answers = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonElement.Parse(l)).ToList();
        Assert.Equal([Fact, Fact], answers.Select(a => a.GetProperty("answer").GetString()));
        Assert.All(answers, a => Assert.True(a.GetProperty("cachedTokens").GetInt32() > 10));
        Assert.DoesNotContain('\u001b', output + error); // no colours where nobody sees them
    }

    [Fact]
    public async Task Chat_keeps_the_conversation_and_begins_anew()
    {
        const string Question = "What is the access code for the old harbor?";
        var (code, output, error) = await Tool.RunAsync($"{Fact}\n{Question}\n/clear\n{Question}\n/exit\nnever asked\n", [], "chat", RunningServer.Model, "--json");
        Assert.True(code == 0, error);
        var answers = output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(l => JsonElement.Parse(l)).ToList();
        Assert.Equal(3, answers.Count);
        Assert.Equal((Fact, "I could not find that in the text."), (answers[1].GetProperty("answer").GetString(), answers[2].GetProperty("answer").GetString()));
        Assert.True(answers[1].GetProperty("promptTokens").GetInt32() > answers[0].GetProperty("promptTokens").GetInt32());
        Assert.True(answers[2].GetProperty("promptTokens").GetInt32() < answers[0].GetProperty("promptTokens").GetInt32());
    }

    [Theory]
    [InlineData("chat")]
    [InlineData("ask")]
    public async Task A_question_that_is_too_long_ends_a_script_and_not_a_conversation(string command)
    {
        const string Question = "What is the access code for the old harbor?";
        var document = Path.GetTempFileName();
        try
        {
            await File.WriteAllTextAsync(document, Fact);
            string[] arguments = [command, RunningServer.Model, "--json", "--max-context", "128", "--max-tokens", "32", .. command == "ask" ? ["--document", document] : Array.Empty<string>()];
            var input = $"{string.Concat(Enumerable.Repeat("harbor ", 150))}\n{(command == "ask" ? "" : Fact + "\n")}{Question}\n";
            var (code, output, error) = await Tool.RunAsync(input, [], arguments);
            Assert.Equal((1, ""), (code, output));
            Assert.Contains("128", error, StringComparison.Ordinal);

            Assert.SkipUnless(OperatingSystem.IsLinux() && File.Exists(Tool.Terminal), "There is no program that gives a terminal.");
            var answer = $"\"question\":\"{Question}\",\"answer\":\"{Fact}\"";
            Assert.Contains(answer, await Tool.TypeAsync(input, answer, arguments), StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(document);
        }
    }

    // A template that opens thoughts, which the demo model never closes.
    [Theory]
    [InlineData("ask")]
    [InlineData("chat")]
    public async Task Thoughts_are_no_part_of_an_answer(string command)
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-thinking-");
        try
        {
            foreach (var file in Directory.GetFiles(RunningServer.Model, "*.*").Where(f => !f.EndsWith(".md", StringComparison.Ordinal)))
            {
                File.Copy(file, Path.Combine(folder.FullName, Path.GetFileName(file)));
            }

            await File.WriteAllTextAsync(
                Path.Combine(folder.FullName, "chat_template.jinja"),
                "{#- </think> -#}{%- for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}");
            foreach (var shown in (bool[])[false, true])
            {
                var document = command == "ask" ? (string[])["--document", Path.Combine(Tool.Root, "LICENSE")] : [];
                var (code, output, error) = await Tool.RunAsync("What is it?\n", [], [command, folder.FullName, "--json", "--max-tokens", "3", .. document, .. shown ? ["--show-thoughts"] : Array.Empty<string>()]);
                Assert.True(code == 0, error);
                var answer = JsonElement.Parse(output);
                Assert.Equal(("", "length", 3), (answer.GetProperty("answer").GetString(), answer.GetProperty("finishReason").GetString(), answer.GetProperty("tokens").GetInt32()));
                Assert.Contains("(cut off after 3 tokens, within its thoughts;", error, StringComparison.Ordinal);
                var lines = error.Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(l => !l.StartsWith('(') && !l.StartsWith("read ", StringComparison.Ordinal) && !l.Contains("begins anew", StringComparison.Ordinal));
                Assert.Equal(shown, lines.Any());
            }
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task Bench_measures_what_it_was_asked_to()
    {
        var (code, output, error) = await Tool.RunAsync("bench", RunningServer.Model, "--context", "128", "--steps", "4", "--runs", "1", "--json");
        Assert.True(code == 0, error);
        var figures = JsonElement.Parse(output);
        Assert.Equal((128, 4, 1), (figures.GetProperty("context").GetInt32(), figures.GetProperty("steps").GetInt32(), figures.GetProperty("runs").GetInt32()));
        var (seconds, rate) = (figures.GetProperty("prefillSeconds").GetProperty("median").GetDouble(), figures.GetProperty("prefillTokensPerSecond").GetDouble());
        Assert.Equal(128, seconds * rate, 1e-6);
    }

    [Fact]
    public async Task Shells_complete_commands_and_flags()
    {
        var (code, output, _) = await Tool.RunAsync("[suggest:12]", "serve --max-");
        Assert.Equal((0, "--max-context --max-queued-requests --max-request-bytes"), (code, output.Trim().Replace('\n', ' ')));
    }

    // On Windows the tool ends its lines with both.
    [Fact]
    public async Task Bash_completes_without_carriage_returns()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "bash is not everywhere there.");
        var script = (await Tool.RunAsync("completion", "bash")).Output;
        Assert.Contains("complete -o filenames -F _headinfer headinfer", script, StringComparison.Ordinal);
        var asked = script + """
            headinfer() { printf -- '--json\r\n--gpu\r\n'; }
            _headinfer
            printf '<%s>' "${COMPREPLY[@]}"
            """;
        using var bash = Process.Start(new ProcessStartInfo("bash", ["-c", asked]) { RedirectStandardOutput = true })!;
        Assert.Equal("<--json><--gpu>", await bash.StandardOutput.ReadToEndAsync());
    }

    [Theory]
    [InlineData("Kestrel__Certificates__Default__Path", "README.md")] // which is no certificate
    [InlineData("Kestrel__Certificates__Default__Path", "no-such-file.pfx")]
    [InlineData("Kestrel__Certificates__Default__Subject", "no-such-subject")]
    public async Task A_certificate_that_cannot_be_used_is_named(string variable, string value)
    {
        var environment = new Dictionary<string, string> { [variable] = value.Contains('.', StringComparison.Ordinal) ? Path.Combine(Tool.Root, value) : value };
        var (code, _, error) = await Tool.RunAsync("", environment, "serve", RunningServer.Model, "--urls", "https://127.0.0.1:0");
        Assert.Equal(1, code);
        Assert.Contains(value == "no-such-file.pfx" ? value : "Kestrel__Certificates__Default__", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal); // no stack
    }

    [Theory]
    [InlineData(2, "pln", "pln")]
    [InlineData(2, "MODEL", "serve")]
    [InlineData(2, "--no-such-flag", "serve", "m", "--no-such-flag", "1")]
    [InlineData(2, "--max-context is '0'", "serve", "m", "--max-context", "0")]
    [InlineData(1, "no-such-model", "serve", "no-such-model")]
    [InlineData(2, "--document", "ask", "no-such-model")]
    [InlineData(2, "--memory-rate, --link-rate and --tflops", "plan", "no-such-model", "--gpu", "rtx-3080")]
    [InlineData(2, "needs --tflops too", "plan", "no-such-model", "--memory-rate", "760", "--link-rate", "31.5", "--gpu-memory", "10GiB")]
    [InlineData(2, "--link-rate is of a GPU", "plan", "no-such-model", "--gpu", "none", "--link-rate", "31.5")]
    [InlineData(2, "--tflops is 'fast'", "plan", "no-such-model", "--gpu", "none", "--tflops", "fast")]
    [InlineData(2, "--question", "ask", "no-such-model", "--document", "-")]
    [InlineData(1, "--api-key", "serve", "m", "--urls", "http://0.0.0.0:8080")]
    [InlineData(1, "--urls", "serve", "models/headinfer-demo", "--urls", "http://192.0.2.1:8080", "--api-key", "k")]
    [InlineData(1, "Kestrel__Certificates__Default__Path", "serve", "m", "--urls", "https://127.0.0.1:8443")]
    public async Task A_mistake_is_named(int expected, string part, params string[] arguments)
    {
        var (code, _, error) = await Tool.RunAsync(arguments);
        Assert.Equal(expected, code);
        Assert.Contains(part, error, StringComparison.Ordinal);
        Assert.DoesNotContain("(Parameter", error, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", error, StringComparison.Ordinal); // no stack
    }
}

using System.Diagnostics;
using System.Reflection;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using HeadInfer.Runtime;
using Microsoft.Extensions.AI;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace HeadInfer.Samples.Tests;

/// <summary>The programs and commands of README.md and of the pages in docs, each as it stands there.</summary>
public sealed class ReadmeTests
{
    // What a command prints: parts in their order, the last one at the end.
    private static readonly Dictionary<string, string[]> Answers = new()
    {
        ["dotnet run -c Release --project samples/AskDocument"] =
            ["And Mordecai went out from the presence of the king in royal apparel of blue and white, and with a great crown of gold, and with a garment of fine linen and purple: and the city of Shushan rejoiced and was glad.\n"],
        ["dotnet run -c Release --project samples/AskDocument --     --document samples/CodebaseAgent --question 'Quote the line that begins with \"internal sealed class Folder\".'"] = ["internal sealed class Folder(string path)\n"],
        ["dotnet run -c Release --project samples/KernelTools"] = ["> What is the weather in Oslo?\n", "  (get_weather Oslo)\n", "The result is 17 degrees and sunny in Oslo.\n"],
        ["dotnet run -c Release --project samples/CodebaseAgent"] = ["(list_files )\n", "(read_file Folder.cs)\n", "internal sealed class Folder(string path)\n"],
        ["dotnet run -c Release --project samples/Agents"] =
        [
            "clerk: handoff_to_1\n", "tokens, of which 0 were known)\n",
            "reader: And Mordecai went out from the presence of the king in royal apparel", "rejoiced and was glad.\n", " tokens, of which 89",
            "reader: The access code for the old harbor is amber-4821.\n", " tokens, of which 90", " were known)\n",
        ],
        ["dotnet run -c Release --project samples/StructuredOutput"] =
        [
            "old harbor: The access code for the old harbor is amber-4821.\n",
            "silver tower: The access code for the silver tower is 7305926.\n",
            "north gate: The access code for the north gate is velvet-77.\n",
        ],
        ["dotnet run -c Release --project benchmarks/HeadInfer.Benchmarks -- plan --shape llama-3-8b --gpu h200 --gpu-memory 24GiB --host-memory 640GiB --context 4M"] = ["longest context", "1,024 ", " 4.6 ms\n", "131,072 ", " 91 ms\n", "4,194,304 tokens fit.\n"],
        ["dotnet run -c Release --project benchmarks/HeadInfer.Benchmarks -- plan --shape llama-3-70b --weights q4_k --gpu rtx-4090 --host-memory 58GiB"] = ["the last 45 layers come by turns\n", "22.4 GiB of 45 layers\n", "longest context", "KV in host memory", "1,024 ", " 920 ms\n", "32,768 ", " 1,100 ms\n", " 1,600 ms\n"],
        ["dotnet run -c Release --project src/HeadInfer.Tool -- plan models/headinfer-demo"] = ["host memory", "longest context   32,768 tokens", "times             are predicted for a GPU that --gpu names, or for rates\n"],
        ["dotnet run -c Release --project src/HeadInfer.Tool -- plan models/headinfer-demo --gpu rtx-4060 --host-memory 58GiB"] = ["GPU memory", "resident copies", "longest context   32,768 tokens", "rtx-4060", "32,768 ", " ms\n"],
        ["dotnet run -c Release --project benchmarks/HeadInfer.Benchmarks -- plans"] = [.. Pages.Tables("| | RTX")],
    };

    // The server, and the command that asks it.
    private const string Server = "dotnet run -c Release --project src/HeadInfer.Tool -- serve models/headinfer-demo", Curl = "curl http://127.0.0.1:8080/";

    // What is not run here: it needs a GPU, measures for minutes, or is a test itself that continuous integration runs.
    private static readonly string[] LeftOut =
    [
        "dotnet test -c Release", "dotnet run -c Release --project tests/HeadInfer.SemanticKernel.Tests", "eng/reference.sh", "eng/hostile.sh",
        "dotnet run -c Release --project benchmarks/HeadInfer.Benchmarks -- demo", "dotnet run -c Release --project benchmarks/HeadInfer.Benchmarks -- needle",
        "export HEADINFER_LIBTORCH=", "export LD_LIBRARY_PATH=", "dotnet run -c Release -p:HeadInferBackend=none", "dotnet run -c Release -p:HeadInferBackend=cuda", "eng/gpu-bundle.sh", "./run ",
        .. Installing,
    ];

    // What installs, and what runs then. eng/packages.sh does the same beside the repository; the tool's tests start the server with keys.
    private static string[] Installing =>
    [
        "eng/packages.sh", "eng/tool.sh", "dotnet tool install", "dotnet nuget add source", "dotnet new console", "dotnet add ../reader package", "dotnet new install", "dotnet new headinfer-agent", "dotnet run -c Release --project ../asker",
        "dotnet run -c Release --urls", "curl -N -G", "HEADINFER_API_KEY=secret headinfer serve MODEL",
    ];

    public static IEnumerable<TheoryDataRow<int>> Programs => Enumerable.Range(0, Pages.Programs.Count).Where(i => !IsHost(Pages.Programs[i])).Select(i => new TheoryDataRow<int>(i));

    public static IEnumerable<TheoryDataRow<int>> Hosts => Enumerable.Range(0, Pages.Programs.Count).Where(i => IsHost(Pages.Programs[i])).Select(i => new TheoryDataRow<int>(i));

    public static IEnumerable<TheoryDataRow<string>> Commands => Pages.Commands().Where(c => !LeftOut.Any(c.StartsWith) && c != Server && !c.StartsWith(Curl, StringComparison.Ordinal)).Select(c => new TheoryDataRow<string>(c));

    [Fact]
    public void There_is_something_to_run()
    {
        Assert.True(Pages.Programs.Count(p => p.Page == "README.md") >= 2);
        Assert.True(Pages.Programs.Count >= 8);
        Assert.All(Answers.Keys.Append(Server).Concat(LeftOut), known => Assert.Contains(Pages.Commands(), c => c.StartsWith(known, StringComparison.Ordinal)));
        Assert.Equal(Pages.All.Sum(p => Regex.Count(p.Text, @"^```\w", RegexOptions.Multiline)), Pages.Blocks.Count(b => b.Language is "csharp" or "bash" or "json" or "mermaid"));
    }

    // A newcomer reads it in five minutes.
    [Fact]
    public void The_README_is_short() => Assert.InRange(Pages.All[0].Text.Split('\n').Length, 100, 220);

    [Fact]
    public void Every_option_is_described()
    {
        var named = Regex.Matches(Assert.Single(Pages.Tables("| option | what it sets")), @"^\| (?<names>[^|]+) \|", RegexOptions.Multiline).SelectMany(m => Regex.Matches(m.Groups["names"].Value, @"`(\w+)`").Select(n => n.Groups[1].Value));
        Assert.Equal(typeof(HeadInferOptions).GetProperties().Where(p => p.CanWrite).Select(p => p.Name).Order(), named.Order());
    }

    // eng/recording.sh draws it from what the command printed.
    [Fact]
    public void The_recording_is_of_the_first_command()
    {
        var command = Pages.Commands("README.md")[0];
        var lines = XDocument.Load(Path.Combine(Pages.Root, "docs/results/ask.svg")).Descendants().Where(e => e.Name.LocalName == "text").Select(e => e.Value).ToList();
        Assert.Equal($"$ {command}", lines[0]);
        Assert.Contains(Answers[command].Single().TrimEnd(), string.Concat(lines.Skip(1)), StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_linked_is_there()
    {
        var pages = Directory.GetFiles(Pages.Root, "*.md").Concat(Directory.GetFiles(Path.Combine(Pages.Root, "docs"), "*.md")).ToList();
        var links = pages.SelectMany(p => Regex.Matches(File.ReadAllText(p), @"\]\((?!https?:|#)(?<to>[^)#]+)(#(?<at>[^)]+))?\)").Select(m => (Page: p, To: Path.Combine(Path.GetDirectoryName(p)!, m.Groups["to"].Value), At: m.Groups["at"].Value))).ToList();
        Assert.True(links.Count > 45, $"{links.Count} links");
        Assert.All(links, link => Assert.True(File.Exists(link.To) || Directory.Exists(link.To), $"{link.Page} links to {link.To}"));

        // Headings as GitHub names them.
        static string Anchor(string heading) => Regex.Replace(heading.Trim().ToLowerInvariant(), @"[^\w\- ]", "").Replace(' ', '-');
        Assert.All(links.Where(l => l.At.Length > 0), link => Assert.Contains(link.At, Regex.Matches(File.ReadAllText(link.To), "^#+ (.*)$", RegexOptions.Multiline).Select(m => Anchor(m.Groups[1].Value))));
    }

    [Theory]
    [MemberData(nameof(Programs))]
    public void A_program_prints_what_its_last_comments_say(int index)
    {
        var (page, source) = (Pages.Programs[index].Page, Pages.Programs[index].Text);
        string[] expected = [.. source.TrimEnd().Split('\n').Reverse().TakeWhile(l => l.StartsWith("// ", StringComparison.Ordinal)).Reverse().Select(l => l[3..])];
        Assert.NotEmpty(expected);
        var assembly = Snippet.Compile($"{page}, program {index}", source);

        var (folder, console, output) = (Environment.CurrentDirectory, Console.Out, new StringWriter());
        try
        {
            Environment.CurrentDirectory = Pages.Root;
            Console.SetOut(output);
            Assembly.Load(assembly).EntryPoint!.Invoke(null, [Array.Empty<string>()]);
        }
        finally
        {
            Console.SetOut(console);
            Environment.CurrentDirectory = folder;
        }

        Assert.Equal(expected, output.ToString().ReplaceLineEndings("\n").TrimEnd().Split('\n').TakeLast(expected.Length));
    }

    [Fact]
    public void Programs_of_the_packages_page_compile()
    {
        var programs = Pages.BlocksOf("eng/package-readme.md").Where(b => b.Language == "csharp").ToList();
        Assert.True(programs.Count >= 2);
        Assert.All(programs, p => Snippet.Compile(p.Page, p.Text));
    }

    // What does not fit TorchSharp is not named anywhere.
    [Theory]
    [InlineData("docs/getting-started.md")]
    [InlineData("eng/package-readme.md")]
    [InlineData("eng/package-test/PackageTest.csproj")]
    [InlineData("src/HeadInfer.Runtime/buildTransitive/HeadInfer.Runtime.targets")]
    [InlineData("src/HeadInfer.Runtime/Compute/LibTorch.cs")]
    [InlineData("templates/agent/HeadInferAgent.csproj")]
    public void Libtorch_is_named_with_its_version(string path)
    {
        var version = XDocument.Load(Path.Combine(Pages.Root, "Directory.Packages.props")).Descendants("LibTorchVersion").Single().Value;
        var named = Regex.Matches(File.ReadAllText(Path.Combine(Pages.Root, path)), @"libtorch-cpu-[^\n]*?\D(?<version>\d+\.\d+\.\d+)").Select(m => m.Groups["version"].Value).ToList();
        Assert.NotEmpty(named);
        Assert.All(named, v => Assert.Equal(version, v));
    }

    // It runs until it is stopped. eng/packages.sh runs the one of docs/agents.md, and asks it.
    [Theory]
    [MemberData(nameof(Hosts))]
    public void A_host_compiles(int index) => Snippet.Compile(Pages.Programs[index].Page, Pages.Programs[index].Text, web: true);

    [Fact]
    public void The_configuration_is_read()
    {
        var json = Assert.Single(Pages.Blocks, b => b.Language == "json").Text;
        var configuration = new ConfigurationBuilder().AddJsonStream(new MemoryStream(Encoding.UTF8.GetBytes(json))).Build();
        var services = new ServiceCollection().AddHeadInferChatClient(configuration.GetSection("HeadInfer")); // throws at what it does not know
        Assert.Contains(services, s => s.ServiceType == typeof(IChatClient));
    }

    [Theory]
    [InlineData("", "h200")]
    [InlineData("--decode ", "decode")]
    [InlineData("--needle ", "needle")]
    public async Task A_plot_is_of_its_results(string kind, string name)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "The commands are for bash.");
        var drawn = Path.Combine(Path.GetTempPath(), $"{name}-{Guid.NewGuid():N}.svg");
        using var process = Start($"dotnet run -c Release --project benchmarks/HeadInfer.Benchmarks -- plot {kind}docs/results/{name}.jsonl {drawn}");
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(9));
        var (output, error) = (process.StandardOutput.ReadToEndAsync(limit.Token), process.StandardError.ReadToEndAsync(limit.Token));
        await process.WaitForExitAsync(limit.Token);
        Assert.True(process.ExitCode == 0, await output + await error);
        Assert.Equal(await File.ReadAllTextAsync(Path.Combine(Pages.Root, $"docs/results/{name}.svg"), limit.Token), await File.ReadAllTextAsync(drawn, limit.Token));
        File.Delete(drawn);
    }

    // What the pages say of the needles is what was measured.
    [Theory]
    [InlineData("README.md")]
    [InlineData("docs/long-documents.md")]
    public void Needles_are_counted(string page)
    {
        var cells = File.ReadLines(Path.Combine(Pages.Root, "docs/results/needle.jsonl")).Select(l => JsonDocument.Parse(l).RootElement).ToList();
        var (asked, right) = (cells.Sum(c => c.GetProperty("asked").GetInt32()), cells.Sum(c => c.GetProperty("right").GetInt32()));
        Assert.Contains($"found {right} of {asked}", Pages.Text(page), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Commands))]
    public async Task A_command_answers(string command)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "The commands are for bash.");
        using var process = Start(command);
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(9));
        await process.WaitForExitAsync(limit.Token);
        Assert.True(process.ExitCode == 0, await error);
        var rest = (await output).ReplaceLineEndings("\n");
        foreach (var part in Answers[command])
        {
            Assert.Contains(part, rest, StringComparison.Ordinal);
            rest = rest[(rest.IndexOf(part, StringComparison.Ordinal) + part.Length)..];
        }

        Assert.Empty(rest);
    }

    [Fact]
    public async Task The_server_answers_curl()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "The commands are for bash.");
        const string Listens = "Now listening on: ";
        using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(9));
        using var server = Start(Server, "http://127.0.0.1:0"); // another port, for 8080 may be somebody's
        try
        {
            var error = server.StandardError.ReadToEndAsync(limit.Token);
            string? line;
            do
            {
                line = await server.StandardOutput.ReadLineAsync(limit.Token);
            }
            while (line is not null && !line.Contains(Listens, StringComparison.Ordinal));
            if (line is null)
            {
                Assert.Fail(await error);
            }

            _ = server.StandardOutput.ReadToEndAsync(limit.Token); // so that it never waits for a reader
            var port = new Uri(line[(line.IndexOf(Listens, StringComparison.Ordinal) + Listens.Length)..]).Port;
            using var curl = Start(Pages.Commands().Single(c => c.StartsWith(Curl, StringComparison.Ordinal)).Replace(":8080", $":{port}", StringComparison.Ordinal));
            using var answer = JsonDocument.Parse(await curl.StandardOutput.ReadToEndAsync(limit.Token));
            var content = answer.RootElement.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString()!;
            JsonDocument.Parse(content).Dispose(); // it asked for JSON
        }
        finally
        {
            server.Kill(entireProcessTree: true);
        }
    }

    private static bool IsHost(Block program) => program.Text.TrimEnd().EndsWith("app.Run();", StringComparison.Ordinal);

    private static Process Start(string command, string? urls = null)
    {
        var start = new ProcessStartInfo("bash", ["-c", command]) { WorkingDirectory = Pages.Root, RedirectStandardOutput = true, RedirectStandardError = true, RedirectStandardInput = true };

        // A command at a prompt has nothing of the test's own build; and a build server that it left would hold its output open.
        foreach (var name in start.Environment.Keys.Where(k => k.StartsWith("MSBUILD", StringComparison.OrdinalIgnoreCase)).ToList())
        {
            start.Environment.Remove(name);
        }

        (start.Environment["MSBUILDDISABLENODEREUSE"], start.Environment["UseSharedCompilation"]) = ("1", "false");
        start.Environment["HeadInferBackend"] = typeof(ReadmeTests).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>().Single(a => a.Key == "Backend").Value;
        if (urls is not null)
        {
            start.Environment["ASPNETCORE_URLS"] = urls;
        }

        var process = Process.Start(start)!;
        process.StandardInput.Close();
        return process;
    }
}

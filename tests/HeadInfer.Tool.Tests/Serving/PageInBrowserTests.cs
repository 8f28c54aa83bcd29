using System.Text.Json;
using HeadInfer.Tool.Serving;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>The page in a browser, before a scripted model with a status of our own.</summary>
public sealed class PageInBrowserTests : IAsyncLifetime
{
    private const long GiB = 1L << 30;

    private readonly List<IReadOnlyList<ChatMessage>> _asked = [];
    private readonly TaskCompletionSource _stopped = new();
    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("headinfer-files-");
    private readonly string?[][] _placement = [["resident", "streamed"], ["host", "host"], null!, ["streamed", "streamed"]];
    private long _inUse = 2 * GiB;
    private RunningServer _server = null!;
    private Chromium _page = null!;

    public async ValueTask InitializeAsync()
    {
        Chromium.Need();
        _server = await ScriptedClient.ServeAsync(AnswerAsync, map: app =>
        {
            Page.Map(app);
            app.MapGet("/api/headinfer/status", () => Results.Json(Status(), Wire.Json));
        });
        _page = await Chromium.OpenAsync(_server.Address);
    }

    public async ValueTask DisposeAsync()
    {
        if (_page is not null)
        {
            await _page.DisposeAsync();
        }

        if (_server is not null)
        {
            await _server.DisposeAsync();
        }

        _folder.Delete(recursive: true);
    }

    [Fact]
    public async Task A_question_about_files_is_answered()
    {
        await _page.ChooseAsync("#files", Write("b.txt", "Second.\n"), Write("a.txt", "First, <b>& more."), Write("c.bin", "PK\0"));
        await _page.UntilAsync("document.querySelectorAll('#documents li').length === 2");
        Assert.Contains("c.bin: a binary file", await _page.TextAsync("#left"), StringComparison.Ordinal);
        await AskAsync("What is first?");
        await AnsweredAsync(1);
        Assert.Equal("=== a.txt ===\nFirst, <b>& more.\n\n=== b.txt ===\nSecond.\n\nWhat is first?", Assert.Single(Assert.Single(_asked)).Text);
        Assert.Equal("Hello <i>you</i>", await _page.TextAsync("article.assistant .body")); // as text
        Assert.Contains("3 tokens, of which 1 were known; 2 written.", await _page.TextAsync("article.assistant"), StringComparison.Ordinal);
        Assert.Contains("1 of the last prompt were known", await _page.TextAsync("#conversations"), StringComparison.Ordinal);

        await AskAsync("And then?"); // what was sent is not sent again
        await AnsweredAsync(2);
        Assert.Equal([("user", _asked[0][0].Text), ("assistant", "Hello <i>you</i>"), ("user", "And then?")], _asked[1].Select(m => (m.Role.Value, m.Text)));

        await _page.ClickAsync("same"); // begins alike, so the server knows it
        await AskAsync("What is second?");
        await AnsweredAsync(1);
        Assert.Equal(_asked[0][0].Text.Replace("first?", "second?", StringComparison.Ordinal), Assert.Single(_asked[2]).Text);
        Assert.Empty(_page.Complaints);
    }

    [Fact]
    public async Task A_text_in_utf_16_is_read()
    {
        var (old, binary) = (Write("old.txt", ""), Write("c.bin", ""));
        await File.WriteAllTextAsync(old, "Old \u00E9", System.Text.Encoding.Unicode);
        await File.WriteAllBytesAsync(binary, [0xFF, 0xFE, 0x41, 0, 0, 0]);
        await _page.ChooseAsync("#files", old, binary);
        await _page.UntilAsync("document.querySelectorAll('#documents li').length === 1");
        Assert.Contains("c.bin: a binary file", await _page.TextAsync("#left"), StringComparison.Ordinal);
        await AskAsync("Hi");
        await AnsweredAsync(1);
        Assert.Equal("=== old.txt ===\nOld \u00E9\n\nHi", Assert.Single(Assert.Single(_asked)).Text);
    }

    [Fact]
    public async Task A_question_waits_for_the_files_that_are_being_read()
    {
        async Task HoldAsync() => await _page.ValueAsync("{ const read = Blob.prototype.arrayBuffer, held = new Promise(go => (globalThis.go = go)); Blob.prototype.arrayBuffer = async function () { await held; return read.call(this); }; }");
        async Task AskWhileReadingAsync(string file)
        {
            await HoldAsync();
            await _page.ChooseAsync("#files", Write(file, file));
            await _page.UntilAsync("!document.getElementById('reading-files').hidden");
            await AskAsync("What is it?");
            await _page.UntilAsync("document.getElementById('said').textContent === 'Reading files…' && !document.getElementById('stop').disabled");
        }

        await AskWhileReadingAsync("a.txt");
        await _page.ClickAsync("stop");
        await _page.UntilAsync("document.getElementById('question').value === 'What is it?' && !document.getElementById('ask').disabled");
        Assert.Empty(_asked);
        await _page.ValueAsync("go()");
        await _page.UntilAsync("document.querySelectorAll('#documents li').length === 1 && document.getElementById('reading-files').hidden");
        await _page.ValueAsync("document.getElementById('question').value = ''");

        await AskWhileReadingAsync("b.txt");
        Assert.Empty(_asked);
        await _page.ValueAsync("go()");
        await AnsweredAsync(1);
        Assert.Equal("=== a.txt ===\na.txt\n\n=== b.txt ===\nb.txt\n\nWhat is it?", Assert.Single(Assert.Single(_asked)).Text);
        Assert.Empty(_page.Complaints);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_answer_is_stopped_and_what_was_said_stays(bool byKey)
    {
        await AskAsync("wait");
        await _page.UntilAsync("document.querySelector('article.assistant .body')?.textContent === 'One'");
        Assert.True((await _page.ValueAsync("document.getElementById('ask').disabled")).GetBoolean());
        await (byKey ? _page.CallAsync("Input.dispatchKeyEvent", new { type = "keyDown", key = "Escape", code = "Escape", windowsVirtualKeyCode = 27 }) : _page.ClickAsync("stop"));
        await _stopped.Task.WaitAsync(TimeSpan.FromMinutes(1)); // the server has let go of it
        await _page.UntilAsync("document.querySelector('article.assistant .hint')?.textContent === 'Stopped. '");
        await AskAsync("Go on.");
        await AnsweredAsync(2);
        Assert.Equal(["wait", "One", "Go on."], _asked[1].Select(m => m.Text));
        Assert.Empty(_page.Complaints);
    }

    [Fact]
    public async Task What_is_refused_is_said_and_the_question_stays()
    {
        await AskAsync("refuse");
        await _page.UntilAsync("document.getElementById('error').textContent.includes('Give me less.')");
        await _page.UntilAsync("document.getElementById('question').value === 'refuse'");
        Assert.Equal(0, (await _page.ValueAsync("document.querySelectorAll('article').length")).GetInt32());
    }

    [Theory]
    [InlineData("document.body.setAttribute('style', 'color: red')", "style-src-attr")]
    [InlineData("document.body.setAttribute('onclick', 'alert(1)')", "script-src-attr")]
    [InlineData("fetch('http://127.0.0.2:9/').catch(() => {})", "connect-src")]
    [InlineData("document.body.append(Object.assign(new Image(), { src: 'data:image/gif;base64,R0lGODlhAQABAAAAACw=' }))", "img-src")]
    public async Task What_is_inline_or_of_another_host_is_refused_and_told(string breach, string directive)
    {
        var refused = await _page.ValueAsync($"new Promise(told => {{ document.addEventListener('securitypolicyviolation', e => told(e.effectiveDirective)); {breach}; }})");
        Assert.Equal(directive, refused.GetString());
        for (var tries = 0; _page.Complaints.IsEmpty && tries < 600; tries++)
        {
            await Task.Delay(100); // the console is told beside
        }

        Assert.Contains("Content Security Policy", string.Concat(_page.Complaints), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_answer_is_copied()
    {
        await _page.CallAsync("Browser.grantPermissions", new { permissions = (string[])["clipboardReadWrite", "clipboardSanitizedWrite"] });
        await AskAsync("Hi");
        await AnsweredAsync(1);
        await _page.ValueAsync("document.querySelector('article.assistant button').click()");
        await _page.UntilAsync("document.getElementById('said').textContent === 'The answer is copied.'");
        Assert.Equal("Hello <i>you</i>", (await _page.ValueAsync("navigator.clipboard.readText()")).GetString());
    }

    [Fact]
    public async Task Memory_plan_and_heads_are_shown_as_the_status_has_them()
    {
        await _page.UntilAsync("!document.getElementById('heads').hidden");
        Assert.Equal("4 layers of 2 KV heads: 1 resident, 3 streamed, 2 host, 2 state", (await _page.ValueAsync("document.getElementById('grid').ariaLabel")).GetString());
        var cells = await _page.ValueAsync("[...document.querySelectorAll('#grid span')].map(c => c.className).join()");
        Assert.Equal("resident,host,state,streamed,streamed,host,state,streamed", cells.GetString()); // a row a KV head
        Assert.Equal("1 resident, 1 streamed", (await _page.ValueAsync("document.querySelector('#layers td').textContent")).GetString());
        Assert.StartsWith("Host: 5.0 GiB of 16.0 GiB", await _page.TextAsync("#tier-Host"), StringComparison.Ordinal);
        Assert.StartsWith("GPU: 3.0 GiB of 8.0 GiB", await _page.TextAsync("#tier-GPU"), StringComparison.Ordinal);
        Assert.Equal("12.5%", (await _page.ValueAsync("document.querySelector('#tier-Host .part-3').style.width")).GetString());
        _inUse = 4 * GiB;
        await _page.UntilAsync("document.querySelector('#tier-Host .part-3').style.width === '25%'");
        Assert.Contains("1,234 tokens, read 3 min ago, in use; 50 tokens, read 2 h ago", await _page.TextAsync("#cached"), StringComparison.Ordinal);

        await _page.ChooseAsync("#files", Write("a.txt", new string('x', 8000)));
        await _page.UntilAsync("document.getElementById('plan-meter').value === 2000");
        var plan = await _page.TextAsync("#plan-text");
        Assert.Contains("About 2,000 tokens, of 4,096 at most.", plan, StringComparison.Ordinal);
        Assert.Contains("take 2.0 MiB of 9.0 GiB.", plan, StringComparison.Ordinal);
        Assert.DoesNotContain("more than fits", plan, StringComparison.Ordinal);
        await _page.ChooseAsync("#files", Write("b.txt", new string('x', 9000)));
        await _page.UntilAsync("document.getElementById('plan-text').textContent.includes('more than fits')");
        Assert.Empty(_page.Complaints);
    }

    [Fact]
    public async Task How_far_the_reading_is_is_told()
    {
        async Task<string> ReadingAsync(ProgressBody body) => (await _page.ValueAsync($$"""import('/page/views.js').then(v => { v.reading({{JsonSerializer.Serialize(body, Wire.Json)}}); return document.getElementById('reading-text').textContent; })""")).GetString()!;
        Assert.Equal("Waiting: 2 before it in the queue.", await ReadingAsync(new ProgressBody("waiting", 2, null, 0, 0, null)));
        Assert.Equal("Reading 12,000 new tokens: 25%, 1 min 30 s left.", await ReadingAsync(new ProgressBody("reading", null, 12000, 0.25, 30, 90)));
        Assert.Equal(0.25, (await _page.ValueAsync("document.getElementById('reading-bar').value")).GetDouble());
        Assert.Equal("Writing.", await ReadingAsync(new ProgressBody("writing", null, 12000, 1, 120, 0)));
    }

    [Fact]
    public async Task A_dropped_folder_is_read()
    {
        _folder.CreateSubdirectory("book/part");
        _folder.CreateSubdirectory("book/.git");
        Write("book/part/b.txt", "B");
        Write("book/a.txt", "A");
        Write("book/.git/c.txt", "C");
        foreach (var type in (string[])["dragEnter", "dragOver", "drop"])
        {
            await _page.CallAsync("Input.dispatchDragEvent", new { type, x = 200, y = 200, data = new { items = Array.Empty<object>(), files = (string[])[Path.Combine(_folder.FullName, "book")], dragOperationsMask = 1 } });
        }

        await _page.UntilAsync("document.querySelectorAll('#documents li').length === 2");
        Assert.Contains("book/.git", await _page.TextAsync("#left"), StringComparison.Ordinal);
        await AskAsync("Hi");
        await AnsweredAsync(1);
        Assert.Equal("=== book/a.txt ===\nA\n\n=== book/part/b.txt ===\nB\n\nHi", Assert.Single(Assert.Single(_asked)).Text);
    }

    [Fact]
    public async Task Everything_has_a_name_and_fits_a_narrow_screen_in_both_schemes()
    {
        await _page.ChooseAsync("#files", Write(new string('n', 120) + ".txt", "x"));
        await _page.UntilAsync("document.querySelectorAll('#documents li').length === 1");
        await AskAsync(new string('q', 300));
        await AnsweredAsync(1);
        foreach (var text in (string[])["x", "newer"])
        {
            await _page.ChooseAsync("#files", Write("another.txt", text)); // the same name: it is there once
            await _page.UntilAsync($"document.querySelectorAll('#documents button').length === 1 && document.getElementById('documents').textContent.includes('another.txt, {text.Length} bytes')");
        }

        await _page.ValueAsync("for (const hidden of ['key-form', 'reading']) document.getElementById(hidden).hidden = false");
        HashSet<string> controls = ["button", "textbox", "spinbutton", "meter", "progressbar", "image", "log", "region", "form"];
        var nodes = (await _page.CallAsync("Accessibility.getFullAXTree")).GetProperty("nodes").EnumerateArray().Where(n => !n.GetProperty("ignored").GetBoolean())
            .Select(n => (Role: n.GetProperty("role").GetProperty("value").GetString()!, Name: n.TryGetProperty("name", out var name) ? name.GetProperty("value").GetString() : "", Node: n)).ToList();
        Assert.All(nodes.Where(n => controls.Contains(n.Role)), n => Assert.False(string.IsNullOrWhiteSpace(n.Name), n.Node.ToString()));
        Assert.Superset(new HashSet<string> { "Files", "Folder", "Question", "API key", "Ask", "Stop", "Remove another.txt", "Copy answer", "Most tokens of an answer", "How far the reading is" }, nodes.Select(n => n.Name!).ToHashSet());

        await _page.CallAsync("Emulation.setDeviceMetricsOverride", new { width = 320, height = 640, deviceScaleFactor = 1, mobile = false });
        Assert.Equal(320, (await _page.ValueAsync("innerWidth")).GetInt32());
        Assert.Equal(320, (await _page.ValueAsync("Math.max(320, document.documentElement.scrollWidth)")).GetInt32());
        async Task<string> ColourAsync(string value)
        {
            await _page.CallAsync("Emulation.setEmulatedMedia", new { features = new[] { new { name = "prefers-color-scheme", value } } });
            return (await _page.ValueAsync("getComputedStyle(document.body).backgroundColor")).GetString()!;
        }

        Assert.Equal(("rgb(246, 247, 249)", "rgb(20, 23, 28)"), (await ColourAsync("light"), await ColourAsync("dark")));
        Assert.Empty(_page.Complaints);
    }

    private async Task AskAsync(string question)
    {
        await _page.TypeAsync("#question", question);
        await _page.CallAsync("Input.dispatchKeyEvent", new { type = "keyDown", modifiers = 2, key = "Enter", code = "Enter", windowsVirtualKeyCode = 13 });
    }

    // The n-th answer of the conversation is there, and what it cost.
    private Task AnsweredAsync(int n) => _page.UntilAsync($"document.querySelectorAll('article.assistant button').length === {n} && !document.getElementById('ask').disabled");

    private string Write(string name, string text)
    {
        var path = Path.Combine(_folder.FullName, name);
        File.WriteAllText(path, text);
        return path;
    }

    private async IAsyncEnumerable<ChatResponseUpdate> AnswerAsync(IReadOnlyList<ChatMessage> messages, ChatOptions options, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
    {
        if (messages[^1].Text == "refuse")
        {
            throw new ArgumentException("Give me less.");
        }

        _asked.Add(messages);
        if (messages[^1].Text == "wait")
        {
            yield return new ChatResponseUpdate(ChatRole.Assistant, "One");
            try
            {
                await Task.Delay(Timeout.Infinite, cancellationToken);
            }
            finally
            {
                _stopped.SetResult();
            }
        }

        foreach (var update in ScriptedClient.Answer(new TextContent("Hello "), new TextContent("<i>you</i>")))
        {
            yield return update;
        }
    }

    // As Status writes it; the page before the real one is in PageWithModelTests.
    private object Status() => new
    {
        Model = new { Id = "scripted", Layers = 4, Heads = 4, KvHeads = 2, HeadDim = 8 },
        Device = "a GPU",
        Context = new { Model = 8192, Longest = 4096 },
        Memory = new
        {
            Host = new { Budget = 16 * GiB, Process = GiB, Weights = GiB, Workspace = 0, Kv = new { Budget = 9 * GiB, InUse = _inUse, Kept = GiB, PerToken = 1024 }, Copies = 0 },
            Gpu = new { Budget = 8 * GiB, Libraries = GiB, Weights = GiB / 2, Activations = GiB / 4, KvBuffers = GiB / 4, Copies = new { Budget = 5 * GiB, InUse = GiB, Tokens = 1000 } },
        },
        Heads = new { Placement = _placement },
        Cache = new { Conversations = new[] { new { Tokens = 1234, InUse = true, Since = DateTimeOffset.UtcNow.AddMinutes(-3.5) }, new { Tokens = 50, InUse = false, Since = DateTimeOffset.UtcNow.AddHours(-2.5) } }, Count = 2 },
    };
}

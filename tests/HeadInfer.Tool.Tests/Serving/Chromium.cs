using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net.WebSockets;
using System.Text.Json;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>A page in a Chromium of the system without a window, driven over DevTools' protocol.</summary>
internal sealed class Chromium : IAsyncDisposable
{
    private static readonly TimeSpan Most = TimeSpan.FromMinutes(2); // a machine may be busy

    private readonly Process _process;
    private readonly DirectoryInfo _profile;
    private readonly ClientWebSocket _socket = new();
    private readonly ConcurrentDictionary<int, TaskCompletionSource<JsonElement>> _asked = new();
    private Task _listening = Task.CompletedTask;
    private int _last;

    private Chromium(Process process, DirectoryInfo profile) => (_process, _profile) = (process, profile);

    /// <summary>Where there is one; null if there is none.</summary>
    public static string? Path { get; } = Places().FirstOrDefault(File.Exists);

    /// <summary>Errors, warnings and breaches of the content security policy, as the console has them.</summary>
    public ConcurrentQueue<string> Complaints { get; } = new();

    /// <summary>Skips a test where there is no browser. It comes first, so that nothing is left behind.</summary>
    public static void Need() => Assert.SkipWhen(Path is null, "There is no chromium here.");

    public static async Task<Chromium> OpenAsync(Uri address)
    {
        var profile = Directory.CreateTempSubdirectory("headinfer-page-");
        var start = new ProcessStartInfo(Path!, ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--remote-debugging-port=0", $"--user-data-dir={profile.FullName}", "about:blank"])
        {
            RedirectStandardError = true,
            RedirectStandardOutput = true,
        };
        var browser = new Chromium(Process.Start(start)!, profile);
        try
        {
            await browser.ConnectAsync();
            foreach (var domain in (string[])["Runtime", "Log", "Page", "DOM", "Accessibility"])
            {
                await browser.CallAsync(domain + ".enable");
            }

            await browser.CallAsync("Page.navigate", new { url = address.ToString() });
            await browser.UntilAsync("document.readyState === 'complete' && location.protocol === 'http:'");
            return browser;
        }
        catch
        {
            await browser.DisposeAsync();
            throw;
        }
    }

    /// <summary>Calls a method of the protocol.</summary>
    public async Task<JsonElement> CallAsync(string method, object? parameters = null)
    {
        var (id, answer) = (Interlocked.Increment(ref _last), new TaskCompletionSource<JsonElement>(TaskCreationOptions.RunContinuationsAsynchronously));
        _asked[id] = answer;
        await _socket.SendAsync(JsonSerializer.SerializeToUtf8Bytes(new { id, method, @params = parameters ?? new { } }), WebSocketMessageType.Text, true, CancellationToken.None);
        var body = await answer.Task.WaitAsync(Most);
        return body.TryGetProperty("result", out var result) ? result : throw new InvalidOperationException($"{method}: {body}");
    }

    /// <summary>The value of an expression of JavaScript.</summary>
    public async Task<JsonElement> ValueAsync(string expression)
    {
        var answer = await CallAsync("Runtime.evaluate", new { expression, returnByValue = true, awaitPromise = true, userGesture = true });
        return answer.TryGetProperty("exceptionDetails", out var details) ? throw new InvalidOperationException($"{expression}: {details}")
            : answer.GetProperty("result").TryGetProperty("value", out var value) ? value : default;
    }

    /// <summary>The text of an element.</summary>
    public async Task<string> TextAsync(string selector) => (await ValueAsync($"document.querySelector({JsonSerializer.Serialize(selector)}).innerText")).GetString()!;

    /// <summary>Waits until an expression is true; if it never is, the page's text is told.</summary>
    public async Task UntilAsync(string expression)
    {
        for (var clock = Stopwatch.StartNew(); !(await ValueAsync($"Boolean({expression})")).GetBoolean(); await Task.Delay(50))
        {
            Assert.True(clock.Elapsed < Most, $"Never: {expression}\n{await ValueAsync("document.body.innerText")}\n{string.Join('\n', Complaints)}");
        }
    }

    /// <summary>Chooses files in an input.</summary>
    public async Task ChooseAsync(string selector, params string[] files)
    {
        var document = await CallAsync("DOM.getDocument");
        var node = await CallAsync("DOM.querySelector", new { nodeId = document.GetProperty("root").GetProperty("nodeId").GetInt32(), selector });
        await CallAsync("DOM.setFileInputFiles", new { nodeId = node.GetProperty("nodeId").GetInt32(), files });
    }

    /// <summary>Writes into an element, as from a keyboard.</summary>
    public async Task TypeAsync(string selector, string text)
    {
        await ValueAsync($"document.querySelector({JsonSerializer.Serialize(selector)}).focus()");
        await CallAsync("Input.insertText", new { text });
    }

    /// <summary>Presses a button, by its id.</summary>
    public Task ClickAsync(string id) => ValueAsync($"document.getElementById('{id}').click()");

    public async ValueTask DisposeAsync()
    {
        _socket.Abort();
        await _listening;
        _socket.Dispose();
        _process.Kill(entireProcessTree: true);
        await _process.WaitForExitAsync();
        _process.Dispose();
        for (var tries = 0; ; tries++)
        {
            try
            {
                _profile.Delete(recursive: true);
                return;
            }
            catch (IOException) when (tries < 600)
            {
                await Task.Delay(100); // children of the browser may still end
            }
        }
    }

    // On Windows and macOS a browser is not in PATH; on Windows Edge, which is one of its kind, always is there.
    private static IEnumerable<string> Places()
    {
        if (OperatingSystem.IsWindows())
        {
            return new[] { Environment.SpecialFolder.ProgramFiles, Environment.SpecialFolder.ProgramFilesX86, Environment.SpecialFolder.LocalApplicationData }.Select(Environment.GetFolderPath)
                .SelectMany(folder => new[] { "Google/Chrome/Application/chrome.exe", "Microsoft/Edge/Application/msedge.exe" }.Select(name => System.IO.Path.Combine(folder, name)));
        }

        var named = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(System.IO.Path.PathSeparator)
            .SelectMany(folder => new[] { "chromium", "chromium-browser", "google-chrome" }.Select(name => System.IO.Path.Combine(folder, name)));
        return OperatingSystem.IsMacOS() ? named.Concat(new[] { "Google Chrome", "Chromium", "Microsoft Edge" }.Select(name => $"/Applications/{name}.app/Contents/MacOS/{name}")) : named;
    }

    // The browser writes where it listens, and then goes on writing; both of its outputs are read, so that it never waits.
    private async Task ConnectAsync()
    {
        const string Listens = "DevTools listening on ";
        var found = new TaskCompletionSource<Uri>(TaskCreationOptions.RunContinuationsAsynchronously);
        _process.ErrorDataReceived += (_, line) =>
        {
            if (line.Data?.StartsWith(Listens, StringComparison.Ordinal) == true)
            {
                found.TrySetResult(new Uri(line.Data[Listens.Length..]));
            }
        };
        _process.BeginErrorReadLine();
        _process.BeginOutputReadLine();
        var address = await found.Task.WaitAsync(Most);
        using var http = new HttpClient();
        JsonElement page;
        do
        {
            page = JsonElement.Parse(await http.GetStringAsync(new Uri($"http://127.0.0.1:{address.Port}/json/list"))).EnumerateArray().FirstOrDefault(t => t.GetProperty("type").GetString() == "page");
        }
        while (page.ValueKind == JsonValueKind.Undefined);

        await _socket.ConnectAsync(new Uri(page.GetProperty("webSocketDebuggerUrl").GetString()!), CancellationToken.None);
        _listening = ListenAsync();
    }

    private async Task ListenAsync()
    {
        using var message = new MemoryStream();
        var buffer = new byte[1 << 16];
        try
        {
            while (true)
            {
                var part = await _socket.ReceiveAsync(buffer, CancellationToken.None);
                message.Write(buffer, 0, part.Count);
                if (part.EndOfMessage)
                {
                    Take(JsonElement.Parse(message.ToArray()));
                    message.SetLength(0);
                }
            }
        }
        catch (Exception e) when (e is WebSocketException or OperationCanceledException or ObjectDisposedException or InvalidOperationException or JsonException)
        {
            foreach (var answer in _asked.Values)
            {
                answer.TrySetException(e);
            }
        }
    }

    private void Take(JsonElement message)
    {
        if (message.TryGetProperty("id", out var id))
        {
            _asked.TryRemove(id.GetInt32(), out var answer);
            answer?.TrySetResult(message);
            return;
        }

        var (method, said) = (message.GetProperty("method").GetString(), message.GetProperty("params"));
        if (method == "Runtime.exceptionThrown"
            || (method == "Runtime.consoleAPICalled" && said.GetProperty("type").GetString() is "error" or "warning" or "assert")
            || (method == "Log.entryAdded" && said.GetProperty("entry").GetProperty("level").GetString() is "error" or "warning"))
        {
            Complaints.Enqueue(said.ToString());
        }
    }
}

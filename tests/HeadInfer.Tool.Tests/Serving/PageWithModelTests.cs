namespace HeadInfer.Tool.Tests.Serving;

/// <summary>The page before the server itself, with a model and a key.</summary>
public sealed class PageWithModelTests
{
    /// <summary>Names a file that gets a picture of the page, for the README.</summary>
    private const string Picture = "HEADINFER_PAGE_PICTURE";

    [Fact]
    public async Task A_key_is_asked_for_and_a_document_is_read()
    {
        Chromium.Need();
        await using var server = await RunningServer.StartAsync();
        await using var page = await Chromium.OpenAsync(server.Address);
        await page.UntilAsync("!document.getElementById('key-form').hidden");
        await page.TypeAsync("#key", "wrong");
        await page.ValueAsync("document.getElementById('key-form').requestSubmit()");
        await page.UntilAsync("document.getElementById('key').value === '' && document.getElementById('error').textContent.includes('API key')");
        await page.TypeAsync("#key", RunningServer.Key);
        await page.ValueAsync("document.getElementById('key-form').requestSubmit()");
        await page.UntilAsync("document.getElementById('key-form').hidden && document.getElementById('error').textContent === ''");
        Assert.Equal("8 layers of 2 KV heads: 16 host", (await page.ValueAsync("document.getElementById('grid').ariaLabel")).GetString());

        await page.CallAsync("Emulation.setDeviceMetricsOverride", new { width = 1300, height = 900, deviceScaleFactor = 1, mobile = false });
        await page.ChooseAsync("#files", Path.Combine(Tool.Root, "tests", "fixtures", "books", "jonah.txt"));
        await page.UntilAsync("document.querySelectorAll('#documents li').length === 1");
        foreach (var (n, question, answer) in ((int, string, string)[])[(1, "So they cast lots", "the lot fell upon Jonah"), (2, "And the LORD spake", "vomited out Jonah")])
        {
            await page.ClickAsync(n == 1 ? "question" : "same");
            await page.TypeAsync("#question", $"Quote the passage that begins with \"{question}\".");
            await page.ClickAsync("ask");
            await page.UntilAsync("document.querySelector('article.assistant button') && !document.getElementById('ask').disabled");
            Assert.Contains(answer, await page.TextAsync("article.assistant"), StringComparison.Ordinal);
        }

        Assert.DoesNotContain("of which 0 were known", await page.TextAsync("article.assistant"), StringComparison.Ordinal); // the document was read once
        await page.UntilAsync("document.getElementById('cached').textContent.startsWith('The server knows')");
        if (Environment.GetEnvironmentVariable(Picture) is { Length: > 0 } path)
        {
            await page.ValueAsync("document.activeElement.blur(), scrollTo(0, 0)");
            var picture = await page.CallAsync("Page.captureScreenshot", new { format = "png" });
            await File.WriteAllBytesAsync(path, picture.GetProperty("data").GetBytesFromBase64());
        }

        Assert.All(page.Complaints, c => Assert.Contains("401", c, StringComparison.Ordinal)); // a browser tells of each answer that is an error
    }
}

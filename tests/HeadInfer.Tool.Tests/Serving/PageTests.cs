using System.Net;
using HeadInfer.Tool.Serving;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>The page's files, as any client gets them.</summary>
public sealed class PageTests : IAsyncLifetime
{
    private RunningServer _server = null!;

    public static TheoryData<string> Paths => [.. Page.Paths];

    public async ValueTask InitializeAsync() => _server = await ScriptedClient.ServeAsync((_, _, _) => ScriptedClient.Answer().ToAsyncEnumerable(), map: Page.Map);

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Theory]
    [MemberData(nameof(Paths))]
    public async Task A_file_comes_with_its_type_and_policy_and_names_no_other_host(string path)
    {
        using var response = await _server.Http.GetAsync(path);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        string Header(string name) => Assert.Single(response.Headers.GetValues(name));
        Assert.StartsWith("default-src 'self';", Header("Content-Security-Policy"), StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", Header("Content-Security-Policy"), StringComparison.Ordinal);
        Assert.Equal(("nosniff", "no-referrer", "no-cache"), (Header("X-Content-Type-Options"), Header("Referrer-Policy"), Header("Cache-Control")));
        var type = Path.GetExtension(path) switch { "" => "text/html; charset=utf-8", ".css" => "text/css; charset=utf-8", ".js" => "text/javascript; charset=utf-8", var image => "image/" + image[1..] };
        Assert.Equal(type, response.Content.Headers.ContentType!.ToString());
        var text = await response.Content.ReadAsStringAsync();
        Assert.NotEmpty(text);
        Assert.DoesNotContain("://", text, StringComparison.Ordinal);
        Assert.DoesNotMatch("""(src|href|from|url\()\s*=?\s*["'(]?//""", text);
        using var again = new HttpRequestMessage(HttpMethod.Get, path);
        again.Headers.IfNoneMatch.Add(response.Headers.ETag!);
        using var unchanged = await _server.Http.SendAsync(again);
        Assert.Equal(HttpStatusCode.NotModified, unchanged.StatusCode);
    }

    [Fact]
    public async Task What_the_page_asks_for_is_there()
    {
        foreach (var path in Page.Paths.Where(p => p == "/" || p.EndsWith(".js", StringComparison.Ordinal)))
        {
            var text = await _server.Http.GetStringAsync(path);
            foreach (var name in System.Text.RegularExpressions.Regex.Matches(text, """(?:src|href)="(/[^"]*)"|from '\.(/[^']*)'""").Select(m => m.Groups[1].Success ? m.Groups[1].Value : "/page" + m.Groups[2].Value))
            {
                Assert.Contains(name, Page.Paths);
            }

            Assert.DoesNotMatch("""\sstyle="|\son[a-z]+="|<style|<script(?![^>]*\ssrc=)""", text);
        }
    }

    [Theory]
    [InlineData("/page")]
    [InlineData("/page/")]
    [InlineData("/PAGE/page.js")]
    [InlineData("/page/page.js/")]
    [InlineData("/page/../api/headinfer/status")]
    [InlineData("//")]
    public void Only_its_own_files_need_no_key(string path) => Assert.False(Page.IsPage(path));
}

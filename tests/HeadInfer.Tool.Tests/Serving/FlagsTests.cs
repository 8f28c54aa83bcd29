using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using HeadInfer.Tool.Commands;
using HeadInfer.Tool.Serving;
using HeadInfer.Runtime;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>The server's command line, and who may come in.</summary>
public sealed class FlagsTests
{
    [Theory]
    [InlineData("http://127.0.0.1:8080")]
    [InlineData("http://127.200.3.4:0")]
    [InlineData("http://[::1]:8080")]
    [InlineData("http://localhost:8080")]
    [InlineData("http://LOCALHOST")]
    [InlineData("http://127.0.0.1:1; http://[::1]:1")]
    public void The_loopbacks_addresses_need_no_key(string urls) => Assert.All(Addresses.Of(urls), a => Assert.True(Addresses.IsLoopback(a)));

    [Theory]
    [InlineData("http://loopback:8080")]
    [InlineData("http://loopback")]
    [InlineData("http://*:8080")]
    [InlineData("http://+:8080")]
    [InlineData("http://0.0.0.0:8080")]
    [InlineData("http://[::]:8080")]
    [InlineData("http://localhost.evil.example:8080")]
    [InlineData("http://127.0.0.1.evil.example:8080")]
    [InlineData("http://127.0.0.1:80:8080")]
    [InlineData("http://a@127.0.0.1:8080")]
    [InlineData("http://127.0.0.1@evil.example:8080")]
    [InlineData("http://ip6-localhost:8080")]
    [InlineData("http://localhost.:8080")]
    [InlineData("http://10.0.0.1:8080")]
    [InlineData("http://my-machine")]
    [InlineData("http://127.0.0.1:1;http://loopback:1")]
    public void Whatever_else_listens_needs_a_key(string urls)
    {
        Assert.False(Addresses.Of(urls).All(Addresses.IsLoopback));
        Assert.Contains("--api-key", Assert.Throws<ArgumentException>(() => Server.Build(ServeCommand.Read(RunningServer.Model, "--urls", urls))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("ASPNETCORE_URLS", "http://+:8080")]
    [InlineData("Kestrel__Endpoints__Open__Url", "http://0.0.0.0:8080")]
    public void The_environment_lets_nobody_in_either(string variable, string url)
    {
        Environment.SetEnvironmentVariable(variable, url);
        try
        {
            Assert.Contains("--urls", Assert.Throws<ArgumentException>(() => Server.Build(ServeCommand.Read(RunningServer.Model))).Message, StringComparison.Ordinal);
        }
        finally
        {
            Environment.SetEnvironmentVariable(variable, null);
        }
    }

    [Theory]
    [InlineData("127.0.0.1:8080")]
    [InlineData("http://127.0.0.1:8080/v2")]
    [InlineData("http://127.0.0.1:65536")]
    [InlineData("http://127.0.0.1:-1")]
    [InlineData("http://localhost:0")]
    [InlineData("http://unix:/run/headinfer.sock")]
    [InlineData("http://")]
    [InlineData("; ;")]
    public void What_cannot_be_listened_on_is_named(string urls) =>
        Assert.StartsWith("--urls", Assert.Throws<ArgumentException>(() => Addresses.Of(urls)).Message, StringComparison.Ordinal);

    [Fact]
    public async Task Https_takes_its_certificate_from_kestrels_configuration()
    {
        using var key = RSA.Create(2048);
        using var certificate = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1).CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        var file = Path.GetTempFileName();
        Environment.SetEnvironmentVariable("Kestrel__Certificates__Default__Path", file);
        Environment.SetEnvironmentVariable("Kestrel__Certificates__Default__Password", "p");
        try
        {
            await File.WriteAllBytesAsync(file, certificate.Export(X509ContentType.Pfx, "p"));
            await using var app = Server.Build(ServeCommand.Read(RunningServer.Model, "--urls", "https://127.0.0.1:0"));
            await app.StartAsync();
            using var handler = new HttpClientHandler { ServerCertificateCustomValidationCallback = (_, shown, _, _) => shown!.Thumbprint == certificate.Thumbprint };
            using var http = new HttpClient(handler);
            Assert.Equal("""{"status":"ok"}""", await http.GetStringAsync(new Uri(new Uri(app.Urls.First()), "/health")));
        }
        finally
        {
            Environment.SetEnvironmentVariable("Kestrel__Certificates__Default__Path", null);
            Environment.SetEnvironmentVariable("Kestrel__Certificates__Default__Password", null);
            File.Delete(file);
        }
    }

    [Fact]
    public async Task Without_keys_the_host_must_be_this_machines()
    {
        await using var server = await RunningServer.StartAsync(Server.Build(ServeCommand.Read(RunningServer.Model, "--urls", "http://127.0.0.1:0")));
        foreach (var (host, status) in ((string, HttpStatusCode)[])[("host.docker.internal", HttpStatusCode.BadRequest), ("localhost", HttpStatusCode.OK)])
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models") { Headers = { Host = host } };
            using var response = await server.Http.SendAsync(request);
            Assert.Equal(status, response.StatusCode);
            Assert.All(status == HttpStatusCode.OK ? [] : (string[])["'host.docker.internal'", "127.0.0.1", "--api-key"], part => Assert.Contains(part, response.Content.ReadAsStringAsync().Result, StringComparison.Ordinal));
        }
    }

    [Fact]
    public void Flags_set_the_models_options()
    {
        var flags = ServeCommand.Read("m", "--gpu-memory", "24GiB", "--host-memory=1.5GiB", "--resident-memory", "0", "--max-context", "4K", "--device", "cpu", "--gpu-index", "1", "--threads=2", "--max-request-bytes", "5", "--keep-alive", "0.5", "--write-timeout", "7", "--deadline", "9", "--max-queued-requests", "3", "--api-key", "a=b");
        var options = new HeadInferOptions();
        flags.Configure(options);
        Assert.Equal(
            (ByteSize.FromGiB(24), ByteSize.FromGiB(1.5), ByteSize.Zero, 4096, ComputeDevice.Cpu, 1, 2),
            (options.GpuMemory!.Value, options.HostMemory!.Value, options.ResidentMemory!.Value, options.MaxContextTokens!.Value, options.Device, options.GpuIndex!.Value, options.Threads!.Value));
        Assert.Equal((7, 9, 3), (flags.WriteTimeout.TotalSeconds, flags.Deadline!.Value.TotalSeconds, options.MaxQueuedRequests));
        Assert.Equal(("m", 5, 0.5, "a=b"), (flags.Model, flags.MaxRequestBytes, flags.KeepAlive.TotalSeconds, Assert.Single(flags.Keys)));
    }

    [Fact]
    public void Keys_may_be_several_on_the_command_line_or_in_the_environment()
    {
        Assert.Equal(["a, b", "c"], ServeCommand.Read("m", "--api-key", "a, b", "--api-key=c").Keys);
        Environment.SetEnvironmentVariable("HEADINFER_API_KEY", "one,two three, four\r\nfive\t\n");
        try
        {
            Assert.Equal(["one", "two", "three", "four", "five"], ServeCommand.Read("m").Keys);
            Assert.Equal(["c"], ServeCommand.Read("m", "--api-key", "c").Keys);
        }
        finally
        {
            Environment.SetEnvironmentVariable("HEADINFER_API_KEY", null);
        }
    }

    [Theory]
    [InlineData("--no-such-flag", "--no-such-flag", "1")]
    [InlineData("--Kestrel:Endpoints:Open:Url", "--Kestrel:Endpoints:Open:Url", "http://0.0.0.0:1")]
    [InlineData("'other'", "other")]
    [InlineData("--urls", "--urls")]
    [InlineData("twice", "--urls", "a", "--urls", "b")]
    [InlineData("--cors", "--cors", "http://a.example/path")]
    [InlineData("--api-key", "--api-key", "")]
    [InlineData("--gpu-memory", "--gpu-memory", "much")]
    [InlineData("--host-memory", "--host-memory", "-1GiB")]
    [InlineData("--max-context", "--max-context", "-5")]
    [InlineData("--device", "--device", "1")]
    [InlineData("--chat-template", "--chat-template", "no-such-file")]
    [InlineData("auto, cpu, cuda", "--device", "tpu")]
    [InlineData("--keep-alive", "--keep-alive", "0")]
    [InlineData("--write-timeout", "--write-timeout", "0")]
    [InlineData("--max-queued-requests", "--max-queued-requests", "few")]
    [InlineData("--max-request-bytes", "--max-request-bytes", "0")]
    public void A_flag_that_is_wrong_is_named(string part, params string[] args) =>
        Assert.Contains(part, Assert.Throws<ArgumentException>(() => ServeCommand.Read(["m", .. args])).Message, StringComparison.Ordinal);

    [Fact]
    public void Messages_have_the_readers_words() => Assert.Equal(
        "temperature and tool_choice of reasoning_effort, min_p, --max-context. HeadInferOptions.Placement",
        Words.Of(new ArgumentOutOfRangeException("x", 5, "SamplingOptions.Temperature and ChatOptions.ToolMode of ChatOptions.Reasoning.Effort, ChatOptions.AdditionalProperties[\"min_p\"], HeadInferOptions.MaxContextTokens. HeadInferOptions.Placement")));
}

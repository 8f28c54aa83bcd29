using System.Net;

namespace HeadInfer.Tool.Serving;

/// <summary>Where the server listens, read as Kestrel reads it: a host that is neither an address nor <c>localhost</c> is every address of the machine.</summary>
internal static class Addresses
{
    /// <param name="urls">separated by semicolons</param>
    /// <exception cref="ArgumentException">One is no address to listen on; the message names it.</exception>
    public static IReadOnlyList<BindingAddress> Of(string urls)
    {
        var addresses = urls.Split(';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries).Select(Parse).ToList();
        return addresses.Count > 0 ? addresses : throw new ArgumentException("--urls names no address.");
    }

    /// <summary>Whether only this machine can reach it. A name such as "loopback" is none of the loopback's, whatever a resolver makes of it.</summary>
    public static bool IsLoopback(BindingAddress address) =>
        address.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase) || (IPAddress.TryParse(address.Host, out var ip) && IPAddress.IsLoopback(ip));

    private static BindingAddress Parse(string url)
    {
        BindingAddress address;
        try
        {
            address = BindingAddress.Parse(url);
        }
        catch (FormatException)
        {
            throw new ArgumentException($"--urls has '{url}', which is no address. Write it like http://127.0.0.1:8080.");
        }

        var wrong = address.IsUnixPipe || address.IsNamedPipe || address.Scheme is not ("http" or "https") ? "the server speaks HTTP and HTTPS; what else is wanted belongs to a proxy before it"
            : address.PathBase.Length > 0 ? "the paths are /v1/... and /api/..., and there can be none before them"
            : address.Port is < 0 or > 65535 ? "ports are from 0 to 65535"
            : address.Port == 0 && address.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase) ? "localhost stands for two addresses, so it needs a port; write 127.0.0.1 to have one chosen"
            : null;
        return wrong is null ? address : throw new ArgumentException($"--urls has '{url}': {wrong}.");
    }
}

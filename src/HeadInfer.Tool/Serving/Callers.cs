using System.Security.Cryptography;
using System.Text;

namespace HeadInfer.Tool.Serving;

/// <summary>Who may come in. Each key is a caller of its own, who shares nothing with the others.</summary>
/// <param name="keys">their API keys; none lets anybody in</param>
internal sealed class Callers(IReadOnlyList<string> keys)
{
    private const string Scheme = "Bearer ";

    private readonly byte[][] _hashes = [.. keys.Select(k => SHA256.HashData(Encoding.UTF8.GetBytes(k)))];

    /// <summary>Whether a request may come in; if so, <see cref="CacheKey"/> has its caller.</summary>
    public bool Admit(HttpContext context)
    {
        if (_hashes.Length == 0)
        {
            return true;
        }

        // Hashes have one length, and all of them are compared, each in one time: that tells nothing of the keys.
        var header = context.Request.Headers.Authorization.ToString();
        var given = SHA256.HashData(Encoding.UTF8.GetBytes(header.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? header[Scheme.Length..] : ""));
        var known = false;
        foreach (var hash in _hashes)
        {
            known |= CryptographicOperations.FixedTimeEquals(given, hash);
        }

        context.Items[typeof(Callers)] = known ? Convert.ToHexStringLower(given) : null;
        return known;
    }

    /// <summary>What names the caller of a request to the model's cache, and is not the API key; null where anybody may come in.</summary>
    public static string? CacheKey(HttpContext context) => context.Items[typeof(Callers)] as string;
}

using System.Text.Json;
using System.Text.Json.Serialization;

namespace HeadInfer.Runtime.Compute;

/// <summary>Rates that were measured, in a file with their dates, so that a model is loaded without measuring them again.</summary>
/// <remarks>A file that is missing or damaged is no fault: the rates are measured then, and written anew.</remarks>
/// <param name="path">the file; empty keeps nothing</param>
internal sealed partial class KeptRates(string path)
{
    private const int MostBytes = 1 << 20; // beyond that it is no file of ours

    /// <summary>Where it lies if nobody says otherwise; empty where the user has no folder for it.</summary>
    public static string DefaultPath => Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData) is { Length: > 0 } folder
        ? Path.Combine(folder, "HeadInfer", "rates.json")
        : "";

    /// <summary>What rates depend on, in words.</summary>
    /// <param name="gpu">its name</param>
    /// <param name="threads">that attend</param>
    public static string Machine(string gpu, RowTraits traits, int threads) =>
        $"{gpu}; {Processor()}, {threads} of {Environment.ProcessorCount} threads; {traits.KvType}, {traits.Heads} heads of {traits.HeadDim} over {traits.KvHeads}";

    /// <summary>What was measured, and when; null if nothing was.</summary>
    public (HostRates Rates, DateOnly Date)? Find(string machine) =>
        Read().TryGetValue(machine, out var kept) && kept is { Link: > 0, Host: > 0, Rows: > 0 }
            ? (new HostRates(kept.Link, kept.Host, kept.Rows), kept.Date)
            : null;

    /// <summary>Keeps them beside what is kept of other machines.</summary>
    /// <returns>whether they could be kept, or nothing is to be</returns>
    public bool TryKeep(string machine, HostRates rates, DateOnly date)
    {
        if (path.Length == 0)
        {
            return true;
        }

        var written = $"{path}.{Guid.NewGuid():N}"; // whole when it takes the place of the other
        try
        {
            var all = Read();
            all[machine] = new Entry(rates.Link, rates.Host, rates.Rows, date);
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            File.WriteAllBytes(written, JsonSerializer.SerializeToUtf8Bytes(all, Context.Default.DictionaryStringEntry));
            File.Move(written, path, overwrite: true);
            return true;
        }
        catch (Exception e) when (IsOfFiles(e))
        {
            Remove(written);
            return false;
        }
    }

    private static void Remove(string file)
    {
        try
        {
            File.Delete(file);
        }
        catch (Exception e) when (IsOfFiles(e))
        {
            // It was never made, or stays.
        }
    }

    private static bool IsOfFiles(Exception e) => e is IOException or UnauthorizedAccessException or ArgumentException or NotSupportedException;

    private Dictionary<string, Entry> Read()
    {
        try
        {
            return path.Length > 0 && new FileInfo(path) is { Exists: true, Length: <= MostBytes }
                ? JsonSerializer.Deserialize(File.ReadAllBytes(path), Context.Default.DictionaryStringEntry) ?? []
                : [];
        }
        catch (Exception e) when (IsOfFiles(e) || e is JsonException)
        {
            return [];
        }
    }

    // As Linux names it; elsewhere the architecture must do.
    private static string Processor()
    {
        try
        {
            return File.ReadLines("/proc/cpuinfo").FirstOrDefault(l => l.StartsWith("model name", StringComparison.Ordinal))?.Split(':', 2)[1].Trim()
                ?? System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture.ToString();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture.ToString();
        }
    }

    internal sealed record Entry(double Link, double Host, double Rows, DateOnly Date);

    [JsonSourceGenerationOptions(WriteIndented = true, PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase)]
    [JsonSerializable(typeof(Dictionary<string, Entry>))]
    private sealed partial class Context : JsonSerializerContext;
}

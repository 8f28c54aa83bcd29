using System.Globalization;
using System.Text;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Planning;

/// <summary>Where a model goes and how fast it would be, as text and as figures.</summary>
/// <param name="Plan">where it goes</param>
/// <param name="Machine">whose rates times are predicted by; null predicts none</param>
/// <param name="HostShare">of the heads that the CPU attends; null for as many as the rates say</param>
internal sealed record PlanReport(string Name, ModelConfig Config, MemoryPlan Plan, Machine? Machine = null, double? HostShare = null)
{
    private SpeedForecast? Speed { get; } = Machine is null ? null : new SpeedForecast(Config, Plan, Machine, HostShare);

    /// <summary>The plan, and what is predicted.</summary>
    /// <param name="context">a context that is wanted too; null for those of every plan</param>
    public string ToText(int? context)
    {
        var text = new StringBuilder(Plan.ToString());
        void Line(FormattableString line) => text.AppendLine().Append(line.ToString(CultureInfo.InvariantCulture));
        if (Machine is null || Speed is null)
        {
            return text.AppendLine().Append("times             are predicted for a GPU that --gpu names, or for rates").ToString();
        }

        var host = string.Create(CultureInfo.InvariantCulture, $"{Machine.Product / 1e12:0.###} Tflop/s, host memory {Machine.Host / 1e9:0.#} GB/s");
        Line($"{"machine",-18}{Machine.Name}: {(Machine.GpuMemory is null ? "" : string.Create(CultureInfo.InvariantCulture, $"memory {Machine.Memory / 1e9:0.#} GB/s, link {Machine.Link / 1e9:0.#} GB/s, "))}{host}");
        Line($"{"predicted for",-18}{"KV in host memory",-20}{"copies on the GPU",-20}{"first token",-14}a token");
        foreach (var tokens in Contexts(context))
        {
            var copied = new ByteSize((long)DecodeForecast.Cache(Config, Plan, tokens).Copied);
            Line($"{tokens,-18:N0}{Plan.KvFor(tokens),-20}{copied,-20}{Seconds(Speed.FirstToken(tokens)),-14}{Milliseconds(Speed.Token(tokens))}");
        }

        return text.ToString();
    }

    /// <summary>The same as names and numbers, for JSON. Sizes are bytes, rates bytes or operations a second, times seconds.</summary>
    /// <param name="context">a context that is wanted too; null for those of every plan</param>
    public Dictionary<string, object> Figures(int? context = null)
    {
        var figures = new Dictionary<string, object>
        {
            ["verb"] = "plan", ["shape"] = Name, ["elementType"] = Plan.ElementType, ["weightBytes"] = Plan.Weights.Bytes, ["layers"] = Config.Layers, ["streamedLayers"] = Plan.StreamedLayers,
            ["hostBudgetBytes"] = Plan.HostBudget.Bytes, ["hostWeightBytes"] = (Plan.Gpu is null ? Plan.Weights : Plan.HostWeights + Plan.HostTables).Bytes, ["hostKvBytes"] = Plan.KvBudget.Bytes,
            ["kvBytesPerToken"] = Plan.KvPerToken.Bytes, ["residentTokens"] = Plan.ResidentTokens, ["longestContext"] = Plan.LongestContext,
        };
        if (Plan.Gpu is { } gpu)
        {
            (figures["gpuBudgetBytes"], figures["gpuWeightBytes"], figures["gpuLibrariesBytes"]) = (gpu.Budget.Bytes, gpu.Weights.Bytes, gpu.Libraries.Bytes);
            (figures["gpuActivationBytes"], figures["gpuKvBufferBytes"], figures["gpuResidentBytes"]) = (gpu.Activations.Bytes, gpu.KvBuffers.Bytes, gpu.Resident.Bytes);
        }

        if (Machine is null || Speed is null)
        {
            return figures;
        }

        figures["machine"] = new Dictionary<string, object?>
        {
            ["name"] = Machine.Name, ["gpuMemoryBytes"] = Machine.GpuMemory?.Bytes, ["memoryBytesPerSecond"] = Machine.Memory, ["linkBytesPerSecond"] = Machine.Link,
            ["productPerSecond"] = Machine.Product, ["hostBytesPerSecond"] = Machine.Host, ["hostShare"] = Speed.Decode.HostShare,
        };
        figures["predicted"] = Contexts(context).Select(tokens => new Dictionary<string, object>
        {
            ["context"] = tokens, ["hostKvBytes"] = Plan.KvFor(tokens).Bytes, ["gpuKvBytes"] = (long)DecodeForecast.Cache(Config, Plan, tokens).Copied,
            ["firstTokenSeconds"] = Speed.FirstToken(tokens), ["tokenSeconds"] = Speed.Token(tokens),
        }).ToArray();
        return figures;
    }

    /// <summary>Seconds with two digits.</summary>
    public static string Seconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{Round(seconds):#,0.####} s");

    /// <summary>Milliseconds with two digits.</summary>
    public static string Milliseconds(double seconds) => string.Create(CultureInfo.InvariantCulture, $"{Round(1000 * seconds):#,0.####} ms");

    // Those of every plan, and the one that was asked for.
    private IEnumerable<int> Contexts(int? context) =>
        Plan.ForecastContexts.Append(Math.Min(context ?? Plan.LongestContext, Plan.LongestContext)).Distinct().Order();

    private static double Round(double value)
    {
        var unit = Math.Pow(10, Math.Floor(Math.Log10(value)) - 1);
        return Math.Round(value / unit) * unit;
    }
}

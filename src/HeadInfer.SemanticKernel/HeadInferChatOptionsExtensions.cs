using HeadInfer.Runtime;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel;

/// <summary>What a request may ask of this client beyond what every chat client knows.</summary>
public static class HeadInferChatOptionsExtensions
{
    internal const string ProgressKey = "headinfer.progress";

    /// <summary>Has somebody told how far the reading of this request's prompt is, some times a second.</summary>
    /// <param name="options">the request's options, which are changed</param>
    /// <param name="progress">who is told</param>
    public static ChatOptions WithPrefillProgress(this ChatOptions options, IProgress<PrefillProgress> progress)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(progress);
        (options.AdditionalProperties ??= [])[ProgressKey] = progress;
        return options;
    }
}

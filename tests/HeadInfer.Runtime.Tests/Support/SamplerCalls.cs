using HeadInfer.Runtime.Generation;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>A whole choice of a sampler, as a generation makes it.</summary>
internal static class SamplerCalls
{
    public static int Next(this Sampler sampler, Span<float> logits, IReadOnlyList<int> context)
    {
        sampler.Penalize(logits, context);
        return sampler.Choose(logits);
    }
}

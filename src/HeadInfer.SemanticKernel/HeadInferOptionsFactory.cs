using Microsoft.Extensions.Options;

namespace HeadInfer.SemanticKernel;

/// <summary>Makes options: those of a key are what was configured without a key, and then what was configured for the key.</summary>
internal sealed class HeadInferOptionsFactory<T>(IEnumerable<IConfigureOptions<T>> setups, IEnumerable<IPostConfigureOptions<T>> after, IEnumerable<IValidateOptions<T>> validations)
    : OptionsFactory<T>(setups, after, validations)
    where T : class, new()
{
    /// <inheritdoc/>
    protected override T CreateInstance(string name) => name == Options.DefaultName ? new T() : Create(Options.DefaultName);
}

using Microsoft.Extensions.Options;

namespace HeadInfer.SemanticKernel;

/// <summary>
/// Makes options: those of a key are what was configured without a key, then what was configured for the key, and of a model then what
/// its registration sets. <c>PostConfigure</c> and validation come after, in the same order of keys.
/// </summary>
internal sealed class HeadInferOptionsFactory<T>(IEnumerable<IConfigureOptions<T>> setups, IEnumerable<IPostConfigureOptions<T>> after, IEnumerable<IValidateOptions<T>> validations, IEnumerable<ModelFolderOf> folders)
    : IOptionsFactory<T>
    where T : class, new()
{
    /// <inheritdoc/>
    public T Create(string name)
    {
        string[] names = name == Options.DefaultName ? [name] : [Options.DefaultName, name];
        var options = new T();
        foreach (var (key, setup) in names.SelectMany(_ => setups, (key, setup) => (key, setup)))
        {
            if (setup is IConfigureNamedOptions<T> named)
            {
                named.Configure(key, options);
            }
            else if (key == Options.DefaultName)
            {
                setup.Configure(options);
            }
        }

        if (options is HeadInferOptions model)
        {
            ModelFolderOf.Last(folders, name).ForEach(f => f.Configure?.Invoke(model));
        }

        foreach (var (key, setup) in names.SelectMany(_ => after, (key, setup) => (key, setup)))
        {
            setup.PostConfigure(key, options);
        }

        var faults = names.SelectMany(_ => validations, (key, validation) => validation.Validate(key, options)).Where(r => r is { Failed: true }).SelectMany(r => r.Failures!).Distinct().ToList();
        return faults.Count == 0 ? options : throw new OptionsValidationException(name, typeof(T), faults);
    }
}

/// <summary>A folder that was registered under a key, and what its options are told.</summary>
/// <param name="ServiceId">the key; null for none</param>
/// <param name="Path">the folder</param>
/// <param name="Configure">sets the options</param>
internal sealed record ModelFolderOf(string? ServiceId, string Path, Action<HeadInferOptions>? Configure)
{
    /// <summary>The registrations of the folder that a key has; those of a folder that was replaced are not among them.</summary>
    public static List<ModelFolderOf> Last(IEnumerable<ModelFolderOf> all, string name)
    {
        var own = all.Where(f => (f.ServiceId ?? Options.DefaultName) == name).ToList();
        return own.FindAll(f => f.Path == own[^1].Path);
    }
}

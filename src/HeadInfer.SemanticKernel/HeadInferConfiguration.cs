using System.ComponentModel;
using System.Globalization;
using System.Reflection;
using Microsoft.Extensions.Configuration;

namespace HeadInfer.SemanticKernel;

/// <summary>Reads a configuration section such as <c>HeadInfer</c>: <c>ModelPath</c>, and properties of <see cref="HeadInferOptions"/> by their names.</summary>
/// <remarks>Configuration binding ignores a key that it does not know, and takes numbers for names. Here either is a mistake.</remarks>
internal static class HeadInferConfiguration
{
    private const string ModelPath = nameof(ModelPath);

    /// <exception cref="InvalidOperationException">The section has no model path, a key that is not known, or a value that cannot be read; the message names it.</exception>
    public static (string ModelPath, Action<HeadInferOptions> Configure) Read(IConfiguration section)
    {
        ArgumentNullException.ThrowIfNull(section);
        var where = section is IConfigurationSection { Path: { Length: > 0 } name } ? name : "The configuration";
        var path = section[ModelPath] is { Length: > 0 } value
            ? value
            : throw new InvalidOperationException($"{where} has no {ModelPath}: name the model folder.");
        var settings = section.GetChildren().Where(c => !c.Key.Equals(ModelPath, StringComparison.OrdinalIgnoreCase)).ToList();
        void Configure(HeadInferOptions options) => settings.ForEach(s => Set(options, s));
        Configure(new HeadInferOptions()); // so that a mistake is known when it is made
        return (path, Configure);
    }

    /// <summary>Sets the property that a setting names; a setting with parts sets the properties of an object.</summary>
    internal static void Set(object options, IConfigurationSection setting)
    {
        var properties = options.GetType().GetProperties(BindingFlags.Instance | BindingFlags.Public).Where(p => p.CanWrite && (IsText(p.PropertyType) || p.PropertyType.GetConstructor([]) is not null)).ToList();
        var property = properties.Find(p => p.Name.Equals(setting.Key, StringComparison.OrdinalIgnoreCase))
            ?? throw new InvalidOperationException($"{setting.Path} is no setting. There are {string.Join(", ", properties.Select(p => p.Name).Order(StringComparer.Ordinal))}.");
        try
        {
            property.SetValue(options, Value(Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType, setting));
        }
        catch (Exception e) when (e is FormatException or OverflowException or ArgumentException or NotSupportedException)
        {
            throw new InvalidOperationException($"{setting.Path} is '{setting.Value}': {e.Message}", e);
        }
    }

    private static object? Value(Type type, IConfigurationSection setting)
    {
        if (!IsText(type))
        {
            var parts = string.IsNullOrEmpty(setting.Value) ? Activator.CreateInstance(type)! : throw new FormatException($"it has parts: {string.Join(", ", type.GetProperties().Where(p => p.CanWrite).Select(p => p.Name))}.");
            setting.GetChildren().ToList().ForEach(c => Set(parts, c));
            return parts;
        }

        var text = setting.Value ?? throw new FormatException("it must be one value.");
        return type == typeof(string) ? text
            : type == typeof(int) ? int.Parse(text, NumberStyles.Integer, CultureInfo.InvariantCulture) // hexadecimal to the converter
            : !type.IsEnum ? TypeDescriptor.GetConverter(type).ConvertFromInvariantString(text)
            : Enum.GetNames(type).Contains(text, StringComparer.OrdinalIgnoreCase) ? Enum.Parse(type, text, ignoreCase: true)
            : throw new FormatException($"it must be one of {string.Join(", ", Enum.GetNames(type))}.");
    }
    private static bool IsText(Type type) => TypeDescriptor.GetConverter(type).CanConvertFrom(typeof(string));
}

using System.ComponentModel;
using System.Globalization;

namespace HeadInfer.Runtime;

/// <summary>An amount of memory in bytes, written in binary units ("1.5 GiB").</summary>
/// <param name="Bytes">The number of bytes.</param>
[TypeConverter(typeof(ByteSizeConverter))]
public readonly record struct ByteSize(long Bytes) : IComparable<ByteSize>
{
    private static readonly string[] Units = ["B", "KiB", "MiB", "GiB", "TiB"];

    /// <summary>No memory.</summary>
    public static ByteSize Zero => default;

    /// <summary>An amount given in mebibytes.</summary>
    public static ByteSize FromMiB(double mebibytes) => new((long)(mebibytes * (1L << 20)));

    /// <summary>An amount given in gibibytes.</summary>
    public static ByteSize FromGiB(double gibibytes) => new((long)(gibibytes * (1L << 30)));

    /// <summary>Reads an amount such as <c>24GiB</c>, <c>1.5 GB</c>, <c>512m</c> or <c>1024</c>; every unit is binary.</summary>
    /// <exception cref="FormatException"><paramref name="text"/> is not an amount of memory.</exception>
    public static ByteSize Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        var number = text.AsSpan().Trim();
        var unit = 0;
        var letters = number.TrimStart("0123456789.");
        if (letters.Length > 0)
        {
            number = number[..^letters.Length];
            unit = letters.Trim().ToString().ToUpperInvariant() switch
            {
                "B" => 0,
                "K" or "KB" or "KIB" => 1,
                "M" or "MB" or "MIB" => 2,
                "G" or "GB" or "GIB" => 3,
                "T" or "TB" or "TIB" => 4,
                _ => -1,
            };
        }

        return unit >= 0 && double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            ? new ByteSize((long)(value * (1L << (10 * unit))))
            : throw new FormatException($"'{text}' is not an amount of memory; write it like 24GiB or 512MiB.");
    }

    /// <inheritdoc/>
    public int CompareTo(ByteSize other) => Bytes.CompareTo(other.Bytes);

    /// <inheritdoc/>
    public override string ToString()
    {
        var (value, unit) = ((double)Bytes, 0);
        while (Math.Abs(value) >= 1024 && unit < Units.Length - 1)
        {
            value /= 1024;
            unit++;
        }

        return string.Create(CultureInfo.InvariantCulture, $"{value:0.#} {Units[unit]}");
    }

    /// <summary>The sum of two amounts.</summary>
    public static ByteSize operator +(ByteSize left, ByteSize right) => new(left.Bytes + right.Bytes);

    /// <summary>The difference of two amounts.</summary>
    public static ByteSize operator -(ByteSize left, ByteSize right) => new(left.Bytes - right.Bytes);

    /// <summary>An amount so many times.</summary>
    public static ByteSize operator *(ByteSize size, long times) => new(size.Bytes * times);

    /// <summary>Whether the left amount is the smaller one.</summary>
    public static bool operator <(ByteSize left, ByteSize right) => left.Bytes < right.Bytes;

    /// <summary>Whether the left amount is the larger one.</summary>
    public static bool operator >(ByteSize left, ByteSize right) => left.Bytes > right.Bytes;

    /// <summary>Whether the left amount is not the larger one.</summary>
    public static bool operator <=(ByteSize left, ByteSize right) => left.Bytes <= right.Bytes;

    /// <summary>Whether the left amount is not the smaller one.</summary>
    public static bool operator >=(ByteSize left, ByteSize right) => left.Bytes >= right.Bytes;
}

/// <summary>Lets configuration binding read "24GiB", which it would else take for nothing at all.</summary>
internal sealed class ByteSizeConverter : TypeConverter
{
    public override bool CanConvertFrom(ITypeDescriptorContext? context, Type sourceType) => sourceType == typeof(string);

    public override object? ConvertFrom(ITypeDescriptorContext? context, CultureInfo? culture, object value) => value is string text ? ByteSize.Parse(text) : throw GetConvertFromException(value);
}

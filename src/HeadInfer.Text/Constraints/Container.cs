namespace HeadInfer.Text.Constraints;

/// <summary>Where in an object or array.</summary>
internal enum Place
{
    Open,
    AfterValue,
    AfterComma,
}

/// <summary>What objects and arrays share.</summary>
internal static class Container
{
    /// <summary>Fewest bytes to the end.</summary>
    /// <param name="needed">bytes of the parts that must still come, with a comma before each</param>
    /// <param name="place">where; the comma is there already, or not needed, unless a value was before</param>
    public static long Rest(long needed, Place place) => place != Place.AfterValue && needed > 0 ? needed : 1 + needed;
}

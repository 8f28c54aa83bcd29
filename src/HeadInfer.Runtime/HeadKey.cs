namespace HeadInfer.Runtime;

/// <summary>One key/value head of one layer: the unit of placement.</summary>
/// <param name="Layer">Layer, from 0.</param>
/// <param name="Head">Key/value head within the layer, from 0.</param>
public readonly record struct HeadKey(int Layer, int Head);

/// <summary>Where a head's keys and values are attended.</summary>
public enum HeadPlacement
{
    /// <summary>In device memory, as a full copy. On the CPU that is host memory too, a second time.</summary>
    Resident,

    /// <summary>On the device, streamed through the tile ring.</summary>
    Streamed,

    /// <summary>By the CPU, where they lie in host memory.</summary>
    Host,
}

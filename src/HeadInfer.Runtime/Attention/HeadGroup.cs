namespace HeadInfer.Runtime.Attention;

/// <summary>Neighbouring KV heads of a layer that move and attend together.</summary>
/// <param name="First">First KV head.</param>
/// <param name="Placement">Where they are attended.</param>
internal readonly record struct HeadGroup(int First, int Count, HeadPlacement Placement);

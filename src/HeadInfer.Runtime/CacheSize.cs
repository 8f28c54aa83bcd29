namespace HeadInfer.Runtime;

/// <summary>The memory of a session's KV cache, by place.</summary>
/// <param name="Host">Blocks in host memory that nobody else has.</param>
/// <param name="Shared">Blocks in host memory that other sessions have too.</param>
/// <param name="Resident">Resident copies on the device, also those that other sessions share.</param>
public readonly record struct CacheSize(ByteSize Host, ByteSize Shared, ByteSize Resident);

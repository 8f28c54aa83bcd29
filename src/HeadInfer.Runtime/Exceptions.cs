namespace HeadInfer;

/// <summary>A prompt and its answer are longer than the model was made for.</summary>
public sealed class ContextLengthException(string message) : HeadInferException(message);

/// <summary>A context does not fit the memory that the plan may use.</summary>
public sealed class MemoryBudgetException(string message, Exception? innerException = null) : HeadInferException(message, innerException);

/// <summary>As many requests wait for a model as may. Nothing was done; the same request may be made again later.</summary>
public sealed class QueueFullException(string message) : HeadInferException(message);

/// <summary>libtorch cannot be found or loaded on this machine.</summary>
public sealed class NativeLibraryException(string message, Exception? innerException = null) : HeadInferException(message, innerException);

/// <summary>The GPU is missing, cannot be used, or failed.</summary>
public sealed class DeviceException(string message, Exception? innerException = null) : HeadInferException(message, innerException);

namespace HeadInfer.Runtime;

/// <summary>A failure that the caller can act on: the message names the thing that is wrong and the knob to turn.</summary>
public class HeadInferException(string message, Exception? innerException = null) : Exception(message, innerException);

/// <summary>A model folder, or a file in it, is missing, damaged or contradicts itself.</summary>
public sealed class CheckpointException(string message, Exception? innerException = null) : HeadInferException(message, innerException);

/// <summary>A model, tokenizer or chat template uses something that this library does not implement.</summary>
public sealed class UnsupportedModelException(string message) : HeadInferException(message);

/// <summary>A tokenizer.json, or text given to it, cannot be used.</summary>
public sealed class TokenizerException(string message, Exception? innerException = null) : HeadInferException(message, innerException);

/// <summary>A chat template cannot be parsed or rendered.</summary>
public sealed class ChatTemplateException(string message, Exception? innerException = null) : HeadInferException(message, innerException)
{
    /// <summary>Whether the template was ended for its work or its memory, which it would need for other conversations too.</summary>
    internal bool IsTooMuch { get; init; }
}

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

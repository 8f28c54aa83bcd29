namespace HeadInfer;

/// <summary>A failure that the caller can act on: the message names the thing that is wrong and the knob to turn.</summary>
public class HeadInferException(string message, Exception? innerException = null) : Exception(message, innerException);

/// <summary>A model folder, or a file in it, is missing, damaged or contradicts itself.</summary>
public sealed class CheckpointException(string message, Exception? innerException = null) : HeadInferException(message, innerException);

/// <summary>A model, tokenizer or chat template uses something that this library does not implement.</summary>
public sealed class UnsupportedModelException(string message) : HeadInferException(message);

/// <summary>A tokenizer's file, or text given to it, cannot be used.</summary>
public sealed class TokenizerException(string message, Exception? innerException = null) : HeadInferException(message, innerException);

/// <summary>A chat template cannot be parsed or rendered.</summary>
public sealed class ChatTemplateException(string message, Exception? innerException = null) : HeadInferException(message, innerException)
{
    /// <summary>Whether the template was ended for its work or its memory, which it would need for other conversations too.</summary>
    internal bool IsTooMuch { get; init; }
}

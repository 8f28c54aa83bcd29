namespace HeadInfer.Soak;

/// <summary>How a request is to end.</summary>
internal enum Fate
{
    Finish,
    Cancel,
    Abandon,
    Dispose,
    DisposeAsync,
    BreakOff,
    ThrowFromProgress,
    Deadline,
    Intrude,
}

/// <summary>What a progress callback throws here.</summary>
internal sealed class CallbackException() : Exception("thrown by a callback");

namespace HeadInfer.SemanticKernel;

/// <summary>How far a model is that is loaded when the host starts.</summary>
/// <param name="serviceId">the model's key; null has none</param>
internal sealed class ModelWarmup(string? serviceId)
{
    private volatile WarmupState _state = WarmupState.Loading;

    public string? ServiceId => serviceId;

    /// <summary>The last that happened: a request may load what could not be loaded before.</summary>
    public WarmupState State
    {
        get => _state;
        set => _state = value;
    }

    /// <summary>What the model is called where a host speaks of it.</summary>
    public string Name => serviceId ?? "headinfer";

    public override string ToString() => $"The model{(serviceId is null ? "" : $" with the key '{serviceId}'")} {_state}.";
}

/// <summary>A state of loading.</summary>
/// <param name="IsReady">whether the model can answer</param>
/// <param name="Failure">why it cannot, if loading ended so</param>
internal sealed record WarmupState(bool IsReady, Exception? Failure = null)
{
    public static WarmupState Loading { get; } = new(false);

    public static WarmupState Ready { get; } = new(true);

    public override string ToString() => IsReady ? "is loaded" : Failure is null ? "is being loaded" : $"could not be loaded: {Failure.Message.TrimEnd('.')}";
}

namespace HeadInfer.Runtime.Compute;

/// <summary>How fast the host attends beside the device, as a part of what was measured when the model was loaded: less than one while other processes have the CPU.</summary>
/// <remarks>
/// What one answer takes corrects the next one's share. Small differences do not, so that on a quiet machine a question is answered
/// with the same bits every time. It is never so little that nothing would be measured any more.
/// </remarks>
/// <param name="least">seconds of work from which on a measurement counts</param>
/// <param name="warmUp">seconds of work that are left out at first: code is compiled better after a while</param>
internal sealed class HostPace(double least = 0.05, double warmUp = 0.5)
{
    private const double Slowest = 0.1, Fastest = 1.5, Ignored = 0.15;

    private readonly Lock _lock = new();
    private double _expected, _taken, _left = warmUp; // seconds

    /// <summary>The part that is reckoned with.</summary>
    public double Value { get; private set; } = 1;

    /// <summary>Takes note of work. From any thread.</summary>
    /// <param name="expected">seconds that it should take</param>
    /// <param name="taken">seconds that it took</param>
    public void Add(double expected, double taken)
    {
        lock (_lock)
        {
            if (_left > 0)
            {
                _left -= taken;
                return;
            }

            (_expected, _taken) = (_expected + expected, _taken + taken);
        }
    }

    /// <summary>Reckons with what has been noted since the last time, if that is enough.</summary>
    public double Follow()
    {
        lock (_lock)
        {
            if (_taken > 0 && _taken >= least)
            {
                var measured = Math.Clamp(_expected / _taken, Slowest, Fastest);
                Value = Math.Abs(measured - Value) > Ignored * Value ? measured : Value;
                (_expected, _taken) = (0, 0);
            }

            return Value;
        }
    }
}

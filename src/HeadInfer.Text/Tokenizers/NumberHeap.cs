namespace HeadInfer.Text.Tokenizers;

/// <summary>Numbers, the least first. The library's queue takes twice the memory, which long words would feel.</summary>
internal sealed class NumberHeap(int capacity)
{
    private const int Children = 4;

    private long[] _numbers = new long[Math.Max(Children, capacity)];
    private int _count;

    public void Add(long number)
    {
        if (_count == _numbers.Length)
        {
            Array.Resize(ref _numbers, _count + (_count / 2));
        }

        var at = _count++;
        for (var parent = (at - 1) / Children; at > 0 && _numbers[parent] > number; parent = (at - 1) / Children)
        {
            (_numbers[at], at) = (_numbers[parent], parent);
        }

        _numbers[at] = number;
    }

    public bool TryTake(out long least)
    {
        least = _numbers[0];
        if (_count == 0)
        {
            return false;
        }

        var number = _numbers[--_count]; // looks for its place from the top
        var at = 0;
        for (var child = 1; child < _count; child = (at * Children) + 1)
        {
            for (var other = child + 1; other < Math.Min((at * Children) + 1 + Children, _count); other++)
            {
                child = _numbers[other] < _numbers[child] ? other : child;
            }

            if (_numbers[child] >= number)
            {
                break;
            }

            (_numbers[at], at) = (_numbers[child], child);
        }

        _numbers[at] = number;
        return true;
    }
}

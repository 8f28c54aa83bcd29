using System.Collections;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Several values in order.</summary>
internal abstract class JinjaSequence : IReadOnlyList<object?>
{
    public abstract int Count { get; }

    public abstract object? this[int index] { get; }

    /// <summary>Whether there is an item of a number; costs less than counting all.</summary>
    public virtual bool Has(int index) => index < Count;

    /// <summary>A part of it, of its own kind.</summary>
    public abstract JinjaSequence Part(int start, int count);

    public IEnumerator<object?> GetEnumerator()
    {
        for (var i = 0; i < Count; i++)
        {
            yield return this[i];
        }
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>A list of a template.</summary>
/// <remarks>
/// Parts and sums of lists share storage: nothing in it is ever replaced, and only a list that ends where the storage is
/// filled adds to it. So <c>messages[1:]</c> and <c>ns.seen + [message]</c> cost the same however long the lists are.
/// </remarks>
internal sealed class JinjaList : JinjaSequence
{
    private Storage _storage;
    private int _start;
    private int _count;

    public JinjaList(params IEnumerable<object?> items)
    {
        object?[] all = [.. items.Select(i => i is List<object?> list ? new JinjaList(list) : i)];
        (_storage, _count) = (new Storage(all, all.Length), all.Length);
    }

    private JinjaList(Storage storage, int start, int count) => (_storage, _start, _count) = (storage, start, count);

    public override int Count => _count;

    public override object? this[int index] => _storage.Items[_start + index];

    public override JinjaList Part(int start, int count) => new(_storage, _start + start, count);

    /// <summary>A new list of this one's items and others.</summary>
    public JinjaList Plus(JinjaSequence others, WorkBudget budget)
    {
        var sum = Part(0, _count);
        sum.AddRange(others, budget);
        return sum;
    }

    public void AddRange(JinjaSequence others, WorkBudget budget)
    {
        var more = others.Count; // before this list grows: they may be this list
        budget.Spend(more);
        if (_start + _count != _storage.Used || _storage.Used + (long)more > _storage.Items.Length)
        {
            var room = _count + (_count / 2) + more + 4L;
            budget.HoldItems(room);
            var items = new object?[room];
            Array.Copy(_storage.Items, _start, items, 0, _count);
            (_storage, _start) = (new Storage(items, _count), 0);
        }

        for (var i = 0; i < more; i++)
        {
            _storage.Items[_storage.Used++] = others[i];
        }

        _count += more;
    }

    public void Insert(int place, object? item, WorkBudget budget)
    {
        JinjaList before = Part(0, place), after = Part(place, _count - place);
        var all = new JinjaList().Plus(before, budget);
        all.AddRange(new JinjaTuple(item), budget);
        all.AddRange(after, budget);
        (_storage, _start, _count) = (all._storage, all._start, all._count);
    }

    public void RemoveAt(int place, WorkBudget budget)
    {
        if (place > 0 && place < _count - 1)
        {
            var all = new JinjaList().Plus(Part(0, place), budget);
            all.AddRange(Part(place + 1, _count - place - 1), budget);
            (_storage, _start, _count) = (all._storage, all._start, all._count);
            return;
        }

        (_start, _count) = (place == 0 ? _start + 1 : _start, _count - 1);
    }

    private sealed class Storage(object?[] items, int used)
    {
        public object?[] Items => items;

        public int Used { get; set; } = used;
    }
}

/// <summary>A sequence that does not change: <c>(1, 2)</c>.</summary>
internal sealed class JinjaTuple(params object?[] items) : JinjaSequence
{
    /// <summary>Names that its items have besides their places.</summary>
    public IReadOnlyList<string> Names { get; init; } = [];

    public override int Count => items.Length;

    public override object? this[int index] => items[index];

    public override JinjaTuple Part(int start, int count) => new(items[start..(start + count)]);
}

/// <summary>Whole numbers at equal distances, none of them stored.</summary>
internal sealed class JinjaRange(long start, long step, int count) : JinjaSequence
{
    public override int Count => count;

    public override object? this[int index] => start + (index * step);

    public long Start => start;

    public long Stop => start + (count * step);

    public long Step => step;

    public override JinjaRange Part(int first, int length) => new(start + (first * step), step, length);
}

/// <summary>The characters of a text, each a text; a pair of surrogates is one.</summary>
internal sealed class JinjaCharacters : JinjaSequence
{
    private readonly TemplateText _text;
    private readonly int[]? _places;

    public JinjaCharacters(TemplateText text, WorkBudget budget)
    {
        _text = text;
        if (text.HasSurrogates)
        {
            budget.Hold(4L * text.Length);
            _places = [.. Enumerable.Range(0, text.Length).Where(i => !CodePoints.IsInside(text.Text, i)), text.Length];
        }
    }

    public override int Count => _places is null ? _text.Length : _places.Length - 1;

    public override object? this[int index] => _places is null ? _text.Substring(index, 1) : _text.Substring(_places[index], _places[index + 1] - _places[index]);

    public override JinjaSequence Part(int start, int count) => throw new NotSupportedException();
}

/// <summary>Those of other items that a loop's condition keeps, found when they are asked for: what the body does may change it.</summary>
internal sealed class JinjaKept(JinjaSequence all, Func<object?, bool> keeps, WorkBudget budget) : JinjaSequence
{
    private readonly JinjaList _kept = new();
    private int _next;

    public override int Count => Has(int.MaxValue) ? int.MaxValue : _kept.Count;

    public override object? this[int index] => Has(index) ? _kept[index] : throw new ArgumentOutOfRangeException(nameof(index));

    public override bool Has(int index)
    {
        while (_kept.Count <= index && _next < all.Count)
        {
            var item = all[_next++];
            if (keeps(item))
            {
                _kept.AddRange(new JinjaTuple(item), budget);
            }
        }

        return _kept.Count > index;
    }

    public override JinjaSequence Part(int start, int count) => throw new NotSupportedException();
}

/// <summary>What <c>items()</c>, <c>keys()</c> and <c>values()</c> of a dictionary give.</summary>
/// <param name="name">how Python calls it</param>
/// <param name="items">the items when it was asked for</param>
internal sealed class JinjaView(string name, JinjaList items) : JinjaSequence
{
    public string Name => name;

    public override int Count => items.Count;

    public override object? this[int index] => items[index];

    public override JinjaSequence Part(int start, int count) => items.Part(start, count);
}

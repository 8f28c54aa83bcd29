using System.Numerics;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>A dictionary of a template; keeps the order of its keys.</summary>
/// <remarks>Keys are text, numbers, booleans and none; 1, 1.0 and true are the same one, as in Python.</remarks>
internal sealed class JinjaDict
{
    private const int MostScanned = 8;

    private readonly List<KeyValuePair<object?, object?>> _items = [];
    private readonly List<object> _identities = [];
    private Dictionary<object, int>? _index; // only of a dictionary that is not small

    public IReadOnlyList<KeyValuePair<object?, object?>> Items => _items;

    /// <summary>What tells a key from others; null for what cannot be a key.</summary>
    public static object? Identity(object? key) => key switch
    {
        TemplateText text => text.Text,
        string text => text,
        null => DBNull.Value,
        bool flag => flag ? 1L : 0L,
        long or BigInteger => key,
        double number => double.IsInteger(number) ? Numbers.Whole(new BigInteger(number)) : number,
        _ => null,
    };

    public bool TryGet(object? key, out object? value)
    {
        var place = Identity(key) is { } identity ? Find(identity) : -1;
        value = place >= 0 ? _items[place].Value : null;
        return place >= 0;
    }

    public void Set(string key, object? value) => Set((object)TemplateText.Data(key), value);

    public void Set(object? key, object? value)
    {
        var identity = Identity(key) ?? throw new ArgumentException($"{Values.Kind(key)} cannot be a key.");
        value = value is List<object?> list ? new JinjaList(list) : value;
        if (Find(identity) is >= 0 and var place)
        {
            _items[place] = new(_items[place].Key, value);
            return;
        }

        _index?.Add(identity, _items.Count);
        _identities.Add(identity);
        _items.Add(new(key, value));
        if (_index is null && _items.Count > MostScanned)
        {
            _index = new Dictionary<object, int>();
            for (var i = 0; i < _identities.Count; i++)
            {
                _index.Add(_identities[i], i);
            }
        }
    }

    private int Find(object identity)
    {
        if (_index is not null)
        {
            return _index.GetValueOrDefault(identity, -1);
        }

        for (var i = 0; i < _identities.Count; i++)
        {
            if (_identities[i].Equals(identity))
            {
                return i;
            }
        }

        return -1;
    }
}

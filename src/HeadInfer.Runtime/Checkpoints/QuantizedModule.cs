using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>The tensors of one quantized weight. Each is checked when it is taken, and nothing else may have a place for it.</summary>
/// <param name="stem">what their names begin with</param>
/// <param name="tensors">of the checkpoint, by their names</param>
/// <param name="taken">names of tensors that weights have been made of; grows</param>
/// <param name="config">what the configuration says</param>
internal sealed class QuantizedModule(string stem, IReadOnlyDictionary<string, FileTensor> tensors, ISet<string> taken, QuantizationConfig config)
{
    private static readonly ScalarType[] Scales = [ScalarType.Float32, ScalarType.Float16, ScalarType.BFloat16];

    public QuantizationConfig Config => config;

    /// <summary>The name of the weight that they are.</summary>
    public string Weight => stem + ".weight";

    public bool Has(string part) => tensors.ContainsKey(stem + part);

    /// <exception cref="CheckpointException">It is not there, or of another type.</exception>
    public FileTensor Take(string part, params ScalarType[] types)
    {
        if (!tensors.TryGetValue(stem + part, out var tensor))
        {
            throw new CheckpointException($"'{config.Path}' says {config.Method}, and the checkpoint lacks the tensor '{stem}{part}' beside others of '{stem}'. Download it again, or take another checkpoint of the model.");
        }

        taken.Add(tensor.Name);
        return types.Contains(tensor.Type) ? tensor : throw tensor.Fault($"has the type {DataTypes.Name(tensor.Type)}; it must be {string.Join(" or ", types.Select(DataTypes.Name))}");
    }

    public FileTensor TakeScales(string part) => Take(part, Scales);

    /// <exception cref="CheckpointException">It is another.</exception>
    public void Expect(FileTensor tensor, params ReadOnlySpan<long> shape)
    {
        if (!shape.SequenceEqual(tensor.Shape))
        {
            throw tensor.Fault($"has shape [{string.Join(", ", tensor.Shape)}]; beside the other tensors of '{stem}' it must be [{string.Join(", ", shape.ToArray())}]");
        }
    }

    /// <summary>Columns of a group, where a row of so many columns has so many groups.</summary>
    public int Group(FileTensor scales, long columns, long groups)
    {
        var sizes = config.Groups.Select(g => g < 1 ? columns : g).Where(g => ((columns - 1) / g) + 1 == groups).Distinct().ToList();
        return groups == 1 && (sizes.Count > 0 || config.Groups.Count == 0) ? GroupedPacking.WholeRow
            : sizes is [var size] ? (int)size
            : throw scales.Fault($"has {groups} groups for {columns} columns, and '{config.Path}' says groups of {(config.Groups.Count == 0 ? "no size" : string.Join(", ", config.Groups))}");
    }

    /// <summary>The order in which columns of a group are neighbours, or null if they are already.</summary>
    /// <param name="index">the group of each column</param>
    /// <param name="columns">of the matrix</param>
    /// <param name="groups">of a row</param>
    /// <param name="group">columns of each</param>
    public int[]? Order(FileTensor index, long columns, long groups, int group)
    {
        Expect(index, columns);
        var numbers = index.Values<int>();
        if (Array.TrueForAll(numbers, n => n == -1))
        {
            return null; // compressed-tensors: never set
        }

        var order = Enumerable.Range(0, numbers.Length).OrderBy(c => numbers[c]).ToArray();
        for (var i = 0; i < order.Length; i++)
        {
            if (numbers[order[i]] != i / group || i / group >= groups)
            {
                throw index.Fault($"puts another number of columns into groups than {group} into each of {groups}");
            }
        }

        return order.AsSpan().SequenceEqual([.. Enumerable.Range(0, order.Length)]) ? null : order;
    }
}

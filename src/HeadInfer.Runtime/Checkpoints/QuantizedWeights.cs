using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>Makes matrices of the tensors in which published folders have quantized weights. By their names and types it is told which of the layouts a weight has.</summary>
internal static class QuantizedWeights
{
    private const string Words = ".qweight", Packed = ".weight_packed", Weight = ".weight", Blocks = "_blocks", Scale = ".weight_scale";

    private static readonly string[] Methods = [QuantizationConfig.Awq, QuantizationConfig.Gptq];

    /// <summary>Puts matrices in the place of the tensors that they are stored in.</summary>
    /// <param name="files">all tensors of the checkpoint, by their names</param>
    /// <param name="config">what the configuration says</param>
    /// <param name="taken">names of tensors that are not weights by themselves; grows</param>
    /// <exception cref="CheckpointException">Tensors contradict each other or the configuration.</exception>
    public static IEnumerable<PackedMatrix> Find(IReadOnlyDictionary<string, FileTensor> files, QuantizationConfig config, ISet<string> taken)
    {
        foreach (var (name, tensor) in files)
        {
            bool Is(string part, params ReadOnlySpan<ScalarType> types) => name.EndsWith(part, StringComparison.Ordinal) && (types.Length == 0 || types.Contains(tensor.Type));
            QuantizedModule Module(string part) => new(name[..^part.Length], files, taken, config);

            var matrix = Is(Words) && Methods.Contains(config.Method) ? TransposedMatrix.Of(Module(Words))
                : Is(Packed, ScalarType.Int32) ? PackedIntegers(Module(Packed))
                : Is(Packed, ScalarType.Byte) ? Float4(Module(Packed), Packed)
                : Is(Weight, ScalarType.Int8) ? Integers(Module(Weight))
                : Is(Weight, DataTypes.Float8) ? Float8(Module(Weight))
                : Is(Weight, ScalarType.Byte) ? Float4(Module(Weight), Weight)
                : Is(Blocks, ScalarType.Byte) ? Experts(Module(Blocks))
                : (PackedMatrix?)null;
            if (matrix is not null)
            {
                yield return matrix;
            }
        }
    }

    // compressed-tensors, int-quantized or naive-quantized: a signed byte a code.
    private static ComposedMatrix Integers(QuantizedModule module)
    {
        var codes = module.Take(Weight, ScalarType.Int8);
        var (rows, columns) = codes.Matrix;
        var scales = new Scales(module, Scale, rows, columns);
        var zeros = module.Has(".weight_zero_point") ? module.Take(".weight_zero_point", ScalarType.Int8) : null;
        return Integers(module, 8, codes, new StoredPart(codes, (int)columns, (int)columns) { Add = 128 }, scales, zeros, rows, columns);
    }

    // compressed-tensors, pack-quantized: words of codes that lie in their order.
    private static ComposedMatrix PackedIntegers(QuantizedModule module)
    {
        var (codes, shape) = (module.Take(Packed, ScalarType.Int32), module.Take(".weight_shape", ScalarType.Int64, ScalarType.Int32));
        module.Expect(shape, 2);
        var (rows, words) = codes.Matrix;
        var columns = shape.Type == ScalarType.Int64 ? shape.Values<long>()[1] : shape.Values<int>()[1];
        var known = shape.Type == ScalarType.Int64 ? shape.Values<long>()[0] : shape.Values<int>()[0];
        var bits = ((int[])[4, 8]).FirstOrDefault(b => known == rows && columns is > 0 and <= FileTensor.MostColumns && ((columns * b) + 31) / 32 == words);
        if (bits == 0 || (module.Config.Bits.Count > 0 && !module.Config.Bits.Contains(bits)))
        {
            throw codes.Fault($"has {rows} rows of {words} words, the shape beside it is [{known}, {columns}], and '{module.Config.Path}' says {string.Join(", ", module.Config.Bits)} bits");
        }

        var scales = new Scales(module, Scale, rows, columns);
        var order = module.Has(".weight_g_idx") ? module.Order(module.Take(".weight_g_idx", ScalarType.Int32), columns, scales.Count, scales.Group) : null;
        var part = new StoredPart(codes, (int)((columns * bits) + 7) / 8, (int)words * sizeof(int)) { Order = order is null ? null : (bits, order) };
        var zeros = module.Has(".weight_zero_point") ? module.Take(".weight_zero_point", ScalarType.Int32, ScalarType.Int8) : null;
        return Integers(module, bits, codes, part, scales, zeros, rows, columns, order);
    }

    private static ComposedMatrix Integers(QuantizedModule module, int bits, FileTensor codes, RowPart part, Scales scales, FileTensor? zeros, long rows, long columns, int[]? order = null)
    {
        var packing = new IntegerPacking(bits, scales.Group, scales.Tensor.Type, zeros is not null) { Order = order };
        var tensor = new StoredTensor(module.Weight, packing, [rows, columns]);
        if (zeros is null)
        {
            return new ComposedMatrix(tensor, codes, part, scales.Part);
        }

        if (zeros.Type == ScalarType.Int32)
        {
            module.Expect(zeros, ((rows * bits) + 31) / 32, scales.Count);
            return new ComposedMatrix(tensor, codes, part, scales.Part, new PackedZerosPart(zeros, bits));
        }

        module.Expect(zeros, scales.Tensor.Shape);
        return new ComposedMatrix(tensor, codes, part, scales.Part, new StoredPart(zeros, scales.Count, scales.Count) { Add = (byte)(1 << (bits - 1)), Every = scales.Every });
    }

    private static ComposedMatrix Float8(QuantizedModule module)
    {
        var codes = module.Take(Weight, DataTypes.Float8);
        var (rows, columns) = codes.Matrix;
        var scales = new Scales(module, module.Has(".weight_scale_inv") ? ".weight_scale_inv" : Scale, rows, columns);
        var tensor = new StoredTensor(module.Weight, new Float8Packing(scales.Group, scales.Tensor.Type), [rows, columns]);
        return new ComposedMatrix(tensor, codes, new StoredPart(codes, (int)columns, (int)columns), scales.Part);
    }

    // NVFP4 of modelopt, whose second scale is a factor, and of compressed-tensors, whose global scale is a divisor; MXFP4 of compressed-tensors.
    private static ComposedMatrix Float4(QuantizedModule module, string part)
    {
        var (codes, scales) = (module.Take(part, ScalarType.Byte), module.Take(Scale, DataTypes.Float8, ScalarType.Byte));
        var (rows, bytes) = codes.Matrix;
        var packing = scales.Type == ScalarType.Byte ? Float4Packing.Mx : Float4Packing.Nv;
        var groups = (int)(bytes * 2 / packing.Group);
        module.Expect(scales, rows, groups);
        module.Expect(codes, rows, (long)groups * packing.Group / 2);
        List<RowPart> parts = [new StoredPart(codes, (int)bytes, (int)bytes), new StoredPart(scales, groups, groups)];
        if (!packing.HasPowers)
        {
            var second = module.Take(part == Packed ? ".weight_global_scale" : ".weight_scale_2", ScalarType.Float32);
            if (second.Shape is not ([] or [1]))
            {
                module.Expect(second, 1);
            }

            parts.Add(new ConstantPart(part == Packed ? 1 / second.Values<float>()[0] : second.Values<float>()[0]));
        }

        return new ComposedMatrix(new StoredTensor(module.Weight, packing, [rows, bytes * 2]), codes, parts);
    }

    // gpt-oss: [experts, outputs, blocks, 16] bytes of 32 codes.
    private static ComposedMatrix Experts(QuantizedModule module)
    {
        var (codes, scales) = (module.Take(Blocks, ScalarType.Byte), module.Take("_scales", ScalarType.Byte));
        if (codes.Shape is not [> 0 and var experts, > 0 and var rows, > 0 and <= FileTensor.MostColumns / 32 and var blocks, 16])
        {
            throw codes.Fault($"has shape [{string.Join(", ", codes.Shape)}]; it must be [experts, outputs, blocks, 16]");
        }

        module.Expect(scales, experts, rows, blocks);
        var tensor = new StoredTensor(module.Weight, Float4Packing.Mx, [experts, rows, blocks * 32]);
        return new ComposedMatrix(tensor, codes, new StoredPart(codes, (int)blocks * 16, (int)blocks * 16), new StoredPart(scales, (int)blocks, (int)blocks));
    }

    // Scales of a matrix: one for all, for each row, for groups of a row's columns, or for blocks.
    private sealed class Scales
    {
        public Scales(QuantizedModule module, string part, long rows, long columns)
        {
            Tensor = module.TakeScales(part);
            (Group, Every, Count) = (GroupedPacking.WholeRow, 1, 1);
            if (module.Config.Block is { } block && Tensor.Shape is [var high, var wide] && high == ((rows - 1) / block.Rows) + 1 && wide == ((columns - 1) / block.Columns) + 1)
            {
                (Group, Every, Count) = (block.Columns, block.Rows, (int)wide);
            }
            else if (Tensor.Shape is [] or [1] or [1, 1])
            {
                Every = long.MaxValue;
            }
            else if (Tensor.Shape is not [var each] || each != rows)
            {
                Count = Tensor.Shape is [_, > 0 and <= FileTensor.MostColumns and var groups] ? (int)groups : 1;
                module.Expect(Tensor, rows, Count);
                Group = module.Group(Tensor, columns, Count);
            }
        }

        public FileTensor Tensor { get; }

        /// <summary>Columns that share one.</summary>
        public int Group { get; }

        /// <summary>Rows that share them.</summary>
        public long Every { get; }

        /// <summary>How many a row has.</summary>
        public int Count { get; }

        public StoredPart Part => new(Tensor, Count * DataTypes.Size(Tensor.Type), Count * DataTypes.Size(Tensor.Type)) { Every = Every };
    }
}

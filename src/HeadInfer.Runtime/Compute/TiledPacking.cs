namespace HeadInfer.Runtime.Compute;

/// <summary>Codes and scales as the kernels of <c>PackedKernels.cu</c> take them: tiles of 16 rows, in units of 64 columns.</summary>
/// <remarks>All codes of a part come first, then all scales. A code of 8 bits is kept 128 higher, without a sign.</remarks>
internal sealed unsafe class TiledPacking : Packing
{
    /// <summary>Rows of a tile and columns of a unit.</summary>
    public const int TileRows = 16, UnitColumns = 64;

    private const int Sixteen = 16; // codes that share a scale at least
    private const int Bias = 128;   // of bytes that have a sign, in which they lie without

    private readonly int _more; // than what a packing has for a code

    public TiledPacking(CodeForm form)
    {
        Kind = form;
        Groups = form.Group == Sixteen ? 4 : 2;
        ScaleBytes = form.Scales switch
        {
            CodeScales.Single => 4 * Groups,
            CodeScales.Pair => 8 * Groups,
            CodeScales.NestedPair => 4 + (2 * Groups),
            _ => 2 * Groups,
        };
        _more = form.Table is not null || form.IsFloat ? 0 : form.Bits == 8 ? Bias - form.Zero : form.HasOffsets ? 0 : 8 - form.Zero;
    }

    public override string Name => $"tiles of {Kind.Bits} bits";

    public override int BlockColumns => UnitColumns;

    /// <summary>Of its codes and scales.</summary>
    public CodeForm Kind { get; }

    /// <summary>Groups of a unit, each with a scale.</summary>
    public int Groups { get; }

    /// <summary>Bytes of the scales of a row's unit.</summary>
    public int ScaleBytes { get; }

    /// <summary>Whether a matrix can lie so.</summary>
    public static bool Takes(Packing stored, long rows, long columns) =>
        stored.Form is not null && rows % TileRows == 0 && columns % UnitColumns == 0;

    public override long RowBytes(long columns) => CodeBytes(columns) + (columns / UnitColumns * ScaleBytes);

    /// <summary>Bytes of a row's codes.</summary>
    public long CodeBytes(long columns) => columns * Kind.Bits / 8;

    public override void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to) => throw new NotSupportedException(); // a kernel does

    /// <summary>Brings whole tiles into this packing.</summary>
    /// <param name="stored">how the rows lie</param>
    /// <param name="rows">the rows' bytes</param>
    /// <param name="count">how many, a multiple of 16</param>
    /// <param name="columns">of a row</param>
    /// <param name="codes">[count * CodeBytes], written</param>
    /// <param name="scales">[count * columns / 64 * ScaleBytes], written</param>
    public void Tile(Packing stored, byte* rows, int count, int columns, byte* codes, byte* scales)
    {
        var (bytes, from, toCodes, toScales) = (stored.RowBytes(columns), (nint)rows, (nint)codes, (nint)scales);
        Parallel.For(0, count / TileRows, tile =>
        {
            var (own, all, offsets, factors) = (new byte[columns], new float[columns / Sixteen], new float[columns / Sixteen], new ushort[columns / UnitColumns * 2]);
            for (var row = 0; row < TileRows; row++)
            {
                fixed (byte* c = own)
                fixed (float* s = all, o = offsets)
                fixed (ushort* f = factors)
                {
                    var its = (byte*)from + (((tile * TileRows) + row) * bytes);
                    stored.UnpackCodes(its, columns, c, s, o);
                    PutCodes(c, columns, row, (byte*)toCodes + (tile * TileRows * CodeBytes(columns)));
                    if (Kind.IsNested)
                    {
                        stored.UnpackFactors(its, columns, f);
                    }

                    PutScales(s, o, f, columns, row, (byte*)toScales + (tile * (long)TileRows * (columns / UnitColumns) * ScaleBytes));
                }
            }
        });
    }

    // A lane has four neighbours of each sixteen columns. Two neighbours are sixteen bits apart.
    private void PutCodes(byte* codes, int columns, int row, byte* tile)
    {
        for (var unit = 0; unit < columns / UnitColumns; unit++)
        {
            var to = tile + (unit * TileRows * UnitColumns * Kind.Bits / 8);
            for (var quad = 0; quad < 4; quad++, codes += 4)
            {
                var lane = (row % 8 * 4) + quad;
                for (var step = 0; step < 4; step++)
                {
                    var four = codes + (step * Sixteen);
                    if (Kind.Bits == 4)
                    {
                        var word = (uint*)(to + (lane * 16) + (row / 8 * 8)) + (step / 2);
                        var pairs = ((uint)(four[0] | (four[1] << 16) | (four[2] << 4) | (four[3] << 20)) + ((uint)_more * 0x0011_0011)) << (step % 2 * 8);
                        *word = step % 2 == 0 ? pairs : *word | pairs;
                    }
                    else
                    {
                        for (var i = 0; i < 4; i++)
                        {
                            to[(row / 8 * 512) + (lane * 16) + (step * 4) + i] = (byte)(four[i] + _more);
                        }
                    }
                }
            }

            codes += UnitColumns - Sixteen;
        }
    }

    private void PutScales(float* scales, float* offsets, ushort* factors, int columns, int row, byte* tile)
    {
        var perGroup = UnitColumns / Groups / Sixteen;
        for (var unit = 0; unit < columns / UnitColumns; unit++, factors += 2)
        {
            var to = tile + (((unit * TileRows) + row) * ScaleBytes);
            if (Kind.IsNested)
            {
                *(uint*)to = factors[0] | (Kind.HasOffsets ? (uint)factors[1] << 16 : 0);
            }

            for (var group = 0; group < Groups; group++)
            {
                var at = (unit * UnitColumns / Sixteen) + (group * perGroup);
                switch (Kind.Scales)
                {
                    case CodeScales.Half:
                        ((Half*)to)[group] = (Half)scales[at];
                        break;
                    case CodeScales.Brain:
                        ((ushort*)to)[group] = (ushort)(BitConverter.SingleToUInt32Bits(scales[at]) >> 16);
                        break;
                    case CodeScales.Single:
                        ((float*)to)[group] = scales[at];
                        break;
                    case CodeScales.Pair:
                        (((float*)to)[2 * group], ((float*)to)[(2 * group) + 1]) = (scales[at], offsets[at]);
                        break;
                    case CodeScales.Nested: // of two groups, behind their factor
                        to[(Groups == 2 ? 2 : 4) + group] = Times(scales[at], factors[0]);
                        break;
                    default:
                        (to[4 + group], to[4 + Groups + group]) = (Times(scales[at], factors[0]), Times(offsets[at], factors[1]));
                        break;
                }
            }
        }
    }

    // How often a float16 is in what was made of it by an integer.
    private static byte Times(float product, ushort factor)
    {
        var one = (float)BitConverter.UInt16BitsToHalf(factor);
        return (byte)(Bias + (one == 0 ? 0 : (int)MathF.Round(product / one)));
    }
}

using System.Buffers.Binary;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>Each type of block against its definition, a number at a time and in float64.</summary>
public sealed class GgmlPackingTests
{
    private static readonly int[] NonLinear = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
    private static readonly double[] E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

    // [name] number of the type, numbers and bytes of a block, where its float16 are, and what its k-th number is.
    private static readonly Dictionary<string, (uint Type, int Columns, int Bytes, int[] Halves, Func<byte[], int, double> Number)> Types = new()
    {
        ["Q4_0"] = (2, 32, 18, [0], (b, k) => (Nibble(b, 2, k) - 8) * H(b, 0)),
        ["Q4_1"] = (3, 32, 20, [0, 2], (b, k) => (Nibble(b, 4, k) * H(b, 0)) + H(b, 2)),
        ["Q5_0"] = (6, 32, 22, [0], (b, k) => (Nibble(b, 6, k) + (16 * Bit(b, 2, k)) - 16) * H(b, 0)),
        ["Q5_1"] = (7, 32, 24, [0, 2], (b, k) => ((Nibble(b, 8, k) + (16 * Bit(b, 4, k))) * H(b, 0)) + H(b, 2)),
        ["Q8_0"] = (8, 32, 34, [0], (b, k) => (sbyte)b[2 + k] * H(b, 0)),
        ["Q2_K"] = (10, 256, 84, [80, 82], (b, k) => (H(b, 80) * (b[k / 16] & 15) * Two(b, 16, k)) - (H(b, 82) * (b[k / 16] >> 4))),
        ["Q3_K"] = (11, 256, 110, [108], (b, k) => H(b, 108) * Q3Scale(b, k / 16) * (Two(b, 32, k) + (4 * ((b[k % 32] >> (k / 32)) & 1)) - 4)),
        ["Q4_K"] = (12, 256, 144, [0, 2], (b, k) => (H(b, 0) * Q4Scale(b, k / 32) * Nibbles64(b, 16, k)) - (H(b, 2) * Q4Least(b, k / 32))),
        ["Q5_K"] = (13, 256, 176, [0, 2], (b, k) => (H(b, 0) * Q4Scale(b, k / 32) * (Nibbles64(b, 48, k) + (16 * ((b[16 + (k % 32)] >> (k / 32)) & 1)))) - (H(b, 2) * Q4Least(b, k / 32))),
        ["Q6_K"] = (14, 256, 210, [208], (b, k) => H(b, 208) * (sbyte)b[192 + (k / 16)] * (Q6Low(b, k) + (16 * ((b[128 + (k / 128 * 32) + (k % 32)] >> (k % 128 / 32 * 2)) & 3)) - 32)),
        ["IQ4_NL"] = (20, 32, 18, [0], (b, k) => NonLinear[Nibble(b, 2, k)] * H(b, 0)),
        ["IQ4_XS"] = (23, 256, 136, [0], (b, k) => H(b, 0) * (((b[4 + (k / 64)] >> (k / 32 % 2 * 4)) & 15) + (16 * ((BitConverter.ToUInt16(b, 2) >> (k / 32 * 2)) & 3)) - 32) * NonLinear[Nibble(b, 8 + (k / 32 * 16), k % 32)]),
        ["MXFP4"] = (39, 32, 17, [], (b, k) => E2M1[Nibble(b, 1, k) & 7] * ((Nibble(b, 1, k) & 8) == 0 ? 1 : -1) * Math.Pow(2, b[0] - 127)),
    };

    public static TheoryData<string> Names() => [.. Types.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public void Blocks_are_what_they_are_defined_to_be(string name)
    {
        var (type, columns, size, halves, number) = Types[name];
        var packing = GgmlPackings.Of(type)!;
        Assert.Equal((name, columns, size), (packing.Name, packing.BlockColumns, packing.RowBytes(columns)));
        var (random, numbers) = (new Random(7), new float[columns]);
        for (var run = 0; run < 300; run++)
        {
            var block = new byte[size];
            random.NextBytes(block);
            if (run < 2)
            {
                Array.Fill(block, (byte)(run * 255));
            }

            foreach (var half in halves)
            {
                BinaryPrimitives.WriteHalfLittleEndian(block.AsSpan(half), (Half)(run % 5 == 0 ? 6e-8 * random.Next(40) : (random.NextDouble() * 4) - 2)); // some below the normal numbers
            }

            block[0] = halves.Length == 0 ? (byte)Math.Min(block[0], (byte)250) : block[0]; // beyond is beyond float32
            packing.Unpack(block, columns, numbers);
            Assert.Equal(Enumerable.Range(0, columns).Select(k => (float)number(block, k)), numbers);
        }
    }

    [Fact]
    public void Many_rows_are_unpacked_as_each_alone()
    {
        var (packing, random) = (GgmlPackings.Of(12)!, new Random(8));
        var rows = new byte[packing.RowBytes(512) * 1000];
        random.NextBytes(rows);
        for (var at = 0; at < rows.Length; at += 144)
        {
            BinaryPrimitives.WriteHalfLittleEndian(rows.AsSpan(at), (Half)random.NextDouble());
            BinaryPrimitives.WriteHalfLittleEndian(rows.AsSpan(at + 2), (Half)random.NextDouble());
        }

        var (all, one) = (new float[512 * 1000], new float[512]);
        packing.Unpack(rows, 512, all);
        for (var row = 0; row < 1000; row++)
        {
            packing.Unpack(rows.AsSpan(row * 288, 288), 512, one);
            Assert.True(all.AsSpan(row * 512, 512).SequenceEqual(one));
        }

        Assert.Throws<ArgumentOutOfRangeException>(() => packing.Unpack(rows, 512, one));
    }

    [Fact]
    public void Types_that_are_not_read_have_names()
    {
        Assert.Null(GgmlPackings.Of(16));
        Assert.Equal(("IQ2_XXS", "number 99"), (GgmlPackings.NameOfOther(16), GgmlPackings.NameOfOther(99)));
        Assert.Equal(16, GgmlPackings.Names.Distinct().Count());
    }

    private static double H(byte[] block, int at) => (double)BinaryPrimitives.ReadHalfLittleEndian(block.AsSpan(at));

    // Of 32 numbers in 16 bytes.
    private static int Nibble(byte[] block, int at, int k) => k < 16 ? block[at + k] & 15 : block[at + k - 16] >> 4;

    private static int Bit(byte[] block, int at, int k) => (int)((BinaryPrimitives.ReadUInt32LittleEndian(block.AsSpan(at)) >> k) & 1);

    // Of 64 numbers in 32 bytes.
    private static int Nibbles64(byte[] block, int at, int k) => (block[at + (k / 64 * 32) + (k % 32)] >> (k % 64 / 32 * 4)) & 15;

    // Of 128 numbers in 32 bytes.
    private static int Two(byte[] block, int at, int k) => (block[at + (k / 128 * 32) + (k % 32)] >> (k % 128 / 32 * 2)) & 3;

    // Of 128 numbers in 64 bytes: the first 64 are the lower halves.
    private static int Q6Low(byte[] block, int k) => (block[(k / 128 * 64) + (k % 64)] >> (k % 128 / 64 * 4)) & 15;

    private static int Q3Scale(byte[] block, int j)
    {
        var low = j < 8 ? block[96 + j] % 16 : block[96 + j - 8] / 16;
        return low + (16 * (block[104 + (j % 4)] / (int)Math.Pow(4, j / 4) % 4)) - 32;
    }

    private static int Q4Scale(byte[] block, int j) => j < 4 ? block[4 + j] % 64 : (block[8 + j] % 16) + (16 * (block[j] / 64));

    private static int Q4Least(byte[] block, int j) => j < 4 ? block[8 + j] % 64 : (block[8 + j] / 16) + (16 * (block[4 + j] / 64));
}

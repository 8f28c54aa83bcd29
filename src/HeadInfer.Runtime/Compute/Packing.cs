using System.Runtime.Intrinsics;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>How the numbers of a row lie in bytes. What a kernel reads is a packing, and what a file has is brought into one.</summary>
internal abstract unsafe class Packing
{
    /// <summary>Whether rows of another packing lie as those of this one.</summary>
    public virtual bool LiesAs(Packing other) => ReferenceEquals(this, other);

    /// <summary>What it is called where models are published.</summary>
    public abstract string Name { get; }

    /// <summary>Neighbours in a row that lie together; a row has a whole number of such blocks.</summary>
    public abstract int BlockColumns { get; }

    /// <summary>Bytes of a row, whose blocks are whole.</summary>
    public abstract long RowBytes(long columns);

    /// <summary>Gives the numbers of whole rows.</summary>
    /// <param name="rows">their bytes, one row after another</param>
    /// <param name="columns">numbers of a row</param>
    /// <param name="to">[rows, columns], written</param>
    public abstract void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to);

    /// <summary>Gives some numbers of a row. Where a row is nothing but its blocks, those are a shorter row.</summary>
    /// <param name="row">its bytes</param>
    /// <param name="columns">numbers of the row</param>
    /// <param name="first">the first that is wanted, at the beginning of a block</param>
    /// <param name="count">how many, in whole blocks</param>
    /// <param name="to">[count], written</param>
    public virtual void UnpackPart(byte* row, int columns, int first, int count, float* to) =>
        Unpack(new ReadOnlySpan<byte>(row + RowBytes(first), (int)RowBytes(count)), count, new Span<float>(to, count));

    /// <summary>Whether it multiplies rows of so many numbers as they lie, which saves to write their numbers down.</summary>
    public virtual bool Multiplies(int columns) => false;

    /// <summary>The products of four rows and a vector, to the bit as <see cref="InnerProducts.Dot4"/> gives them of the rows' numbers in the widest lanes there are.</summary>
    /// <param name="rows">bytes of the first</param>
    /// <param name="stride">bytes from one to the next</param>
    /// <param name="columns">numbers of a row</param>
    /// <param name="x">[columns]</param>
    /// <param name="result">[4], written</param>
    public virtual void Multiply4(byte* rows, long stride, int columns, float* x, float* result) => throw new NotSupportedException();

    /// <summary>Whether its rows of so many numbers can multiply activations in <see cref="PlaneRows"/>, with vectors of 256 bits.</summary>
    public virtual bool TakesPlanes(int columns) => false;

    /// <summary>Whether each 16 numbers have a scale then, and not each 32.</summary>
    public virtual bool HasSmallGroups => false;

    /// <summary>Gives the codes of some numbers of a row, as <see cref="PlaneProducts.Add4"/> takes them.</summary>
    /// <param name="row">its bytes</param>
    /// <param name="columns">numbers of the row</param>
    /// <param name="first">the first that is wanted, at the beginning of a block</param>
    /// <param name="count">how many, in whole blocks</param>
    /// <param name="to">written</param>
    public virtual void UnpackForPlanes(byte* row, int columns, int first, int count, byte* to) => throw new NotSupportedException();

    /// <summary>The products of four rows and a vector in <see cref="PlaneRows"/>.</summary>
    /// <param name="rows">bytes of the first</param>
    /// <param name="stride">bytes from one to the next</param>
    /// <param name="columns">numbers of a row</param>
    /// <param name="planes">the vector</param>
    /// <param name="result">[4], written</param>
    public virtual void MultiplyPlanes4(byte* rows, long stride, int columns, byte* planes, float* result) => throw new NotSupportedException();

    /// <summary>What its codes are; null where it has none that kernels could take.</summary>
    public virtual CodeForm? Form => null;

    /// <summary>Gives the codes of a row, and what makes numbers of them.</summary>
    /// <param name="row">its bytes</param>
    /// <param name="columns">numbers of the row</param>
    /// <param name="to">[columns], written</param>
    /// <param name="scales">[columns / 16], written</param>
    /// <param name="offsets">[columns / 16], written; what is there where there are none does not matter</param>
    public virtual void UnpackCodes(byte* row, int columns, byte* to, float* scales, float* offsets) => throw new NotSupportedException();

    /// <summary>Gives what scales and offsets are multiples of, where they are nested.</summary>
    /// <param name="row">its bytes</param>
    /// <param name="columns">numbers of the row</param>
    /// <param name="to">[columns / 64, 2: of scales, of offsets], float16, written</param>
    public virtual void UnpackFactors(byte* row, int columns, ushort* to) => throw new NotSupportedException();
}

/// <summary>Numbers of a type, one after another.</summary>
internal sealed unsafe class DensePacking(ScalarType type) : Packing
{
    public override bool LiesAs(Packing other) => other is DensePacking { Type: var its } && its == Type;

    public ScalarType Type => type;

    public override string Name => type.ToString();

    public override int BlockColumns => 1;

    public override long RowBytes(long columns) => columns * DataTypes.Size(type);

    public override void Unpack(ReadOnlySpan<byte> rows, int columns, Span<float> to)
    {
        fixed (byte* from = rows)
        fixed (float* target = to)
        {
            switch (type)
            {
                case ScalarType.Float32:
                    rows.CopyTo(new Span<byte>(target, rows.Length));
                    break;
                case ScalarType.BFloat16:
                    Widen((BFloat16*)from, target, to.Length);
                    break;
                case ScalarType.Float16:
                    Widen((Float16*)from, target, to.Length);
                    break;
                default:
                    throw new NotSupportedException();
            }
        }
    }

    private static void Widen<TElement>(TElement* from, float* to, int count)
        where TElement : unmanaged, IElement<TElement>
    {
        if (Vector512.IsHardwareAccelerated)
        {
            Widen<WideLane, TElement>(from, to, count);
        }
        else
        {
            Widen<PlainLane, TElement>(from, to, count);
        }
    }

    private static void Widen<TLane, TElement>(TElement* from, float* to, int count)
        where TLane : struct, ILane<TLane>
        where TElement : unmanaged, IElement<TElement>
    {
        var i = 0;
        for (; i <= count - TLane.Count; i += TLane.Count)
        {
            TElement.Load<TLane>(from + i).Store(to + i);
        }

        for (; i < count; i++)
        {
            to[i] = TElement.Widen(from[i]);
        }
    }
}

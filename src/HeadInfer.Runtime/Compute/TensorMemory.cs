using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>Raw memory of contiguous CPU tensors.</summary>
internal static unsafe class TensorMemory
{
    /// <summary>The address of a contiguous CPU tensor's first element; valid as long as the tensor is.</summary>
    public static byte* Address(Tensor tensor)
    {
        // A span over more than 2 GiB would not be: one over the first element serves. (storage<byte>() converts, not casts.)
        if (tensor.NumberOfElements * tensor.ElementSize > int.MaxValue)
        {
            using var first = tensor.view(-1).narrow(0, 0, 1);
            return (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(first.bytes));
        }

        return (byte*)Unsafe.AsPointer(ref MemoryMarshal.GetReference(tensor.bytes));
    }

    /// <summary>The address of a tensor's first element, on whatever device and whatever its strides; valid as long as the tensor is.</summary>
    public static nint Pointer(Tensor tensor) => LibTorch.DataPointer(tensor.Handle);

    /// <summary>A one-dimensional int64 tensor of token ids or row numbers, on the CPU.</summary>
    public static Tensor Indices(ReadOnlySpan<int> values)
    {
        var wide = new long[values.Length];
        for (var i = 0; i < wide.Length; i++)
        {
            wide[i] = values[i];
        }

        return tensor(wide, dtype: ScalarType.Int64);
    }

    /// <summary>The values of a contiguous float32 CPU tensor; valid as long as the tensor is.</summary>
    public static Span<float> Span(Tensor tensor) => new(Address(tensor), checked((int)tensor.NumberOfElements));

    /// <summary>Copies a contiguous float32 CPU tensor out.</summary>
    public static void Read(Tensor source, Span<float> destination) => Span(source).CopyTo(destination);
}

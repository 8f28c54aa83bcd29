using System.Text;

namespace HeadInfer.Runtime.Text;

/// <summary>The small files of a model folder.</summary>
internal static class JsonFiles
{
    /// <summary>A file's bytes, without the mark that some editors put before them.</summary>
    public static ReadOnlyMemory<byte> Read(string path)
    {
        var bytes = File.ReadAllBytes(path);
        return bytes.AsSpan().StartsWith(Encoding.UTF8.Preamble) ? bytes.AsMemory(Encoding.UTF8.Preamble.Length) : bytes;
    }
}

using System.Buffers.Binary;
using System.Text;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Runtime.Tests.Checkpoints;

public sealed class SafetensorsFileTests
{
    [Fact]
    public void A_whole_file_gives_its_tensors()
    {
        using var folder = new ScratchFolder();
        var path = Write(folder, """{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}""", [1, 2, 3, 4, 0, 0, 128, 63]);
        using var file = SafetensorsFile.Open(path);
        Assert.Equal([2L, 2L], file.Entries["a"].Shape);
        var (part, whole) = (new byte[2], new byte[4]);
        file.Read(file.Entries["a"], 2, part);
        file.Read(file.Entries["b"], 0, whole);
        Assert.Equal([3, 4], part);
        Assert.Equal(1f, BinaryPrimitives.ReadSingleLittleEndian(whole));
    }

    [Theory]
    [InlineData("""{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}""", "needs 8 bytes")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}""", "truncated")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}""", "impossible")]
    [InlineData("""{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}""", "impossible")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}""", "impossible")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807]}}""", "truncated")]
    [InlineData("""{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]}}""", "needs")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}""", "overlap")]
    [InlineData("""{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}""", "F99")]
    [InlineData("""{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""", "twice")]
    [InlineData("""{"a":{"dtype":"F32","shape":"no","data_offsets":[0,4]}}""", "cannot be read")]
    [InlineData("""{"a":{"dtype":"F32"}}""", "cannot be read")]
    [InlineData("""[1,2]""", "cannot be read")]
    [InlineData("""{"a":""", "cannot be read")]
    public void A_header_that_lies_is_refused(string header, string says)
    {
        using var folder = new ScratchFolder();
        var path = Write(folder, header, new byte[8]);
        var error = Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(path));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
        Assert.Contains(path, error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(5)]
    [InlineData(20)]
    public void A_file_cut_short_is_refused(int length)
    {
        using var folder = new ScratchFolder();
        var path = Write(folder, """{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}""", new byte[4]);
        File.WriteAllBytes(path, File.ReadAllBytes(path)[..length]);
        Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(path));
    }

    [Fact]
    public void A_header_length_beyond_the_file_is_refused()
    {
        using var folder = new ScratchFolder();
        var path = folder.File("model.safetensors");
        File.WriteAllBytes(path, [255, 255, 255, 255, 255, 255, 255, 127, 1, 2]);
        Assert.Contains("header claims", Assert.Throws<CheckpointException>(() => SafetensorsFile.Open(path)).Message, StringComparison.Ordinal);
    }

    private static string Write(ScratchFolder folder, string header, byte[] data)
    {
        var json = Encoding.UTF8.GetBytes(header);
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        var path = folder.File("model.safetensors");
        File.WriteAllBytes(path, [.. length, .. json, .. data]);
        return path;
    }
}

using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Writes safetensors files of tensors that tests make.</summary>
internal sealed class SafetensorsWriter
{
    private readonly JsonObject _header = [];
    private readonly List<byte> _data = [];

    public void Add<T>(string name, string type, int[] shape, T[] values)
        where T : unmanaged
    {
        var start = _data.Count;
        _data.AddRange(MemoryMarshal.AsBytes(values.AsSpan()));
        _header[name] = new JsonObject
        {
            ["dtype"] = type,
            ["shape"] = new JsonArray([.. shape.Select(d => (JsonNode)d)]),
            ["data_offsets"] = new JsonArray(start, _data.Count),
        };
    }

    public byte[] ToArray()
    {
        var json = System.Text.Encoding.UTF8.GetBytes(_header.ToJsonString());
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        return [.. length, .. json, .. _data];
    }
}

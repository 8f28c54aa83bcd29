using System.Buffers.Binary;
using System.Text.Json.Nodes;

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Changes to safetensors files.</summary>
internal static class SafetensorsEdit
{
    /// <summary>Changes a file's header.</summary>
    public static void Header(string path, Action<JsonObject> edit)
    {
        var (header, data) = Read(path);
        edit(header);
        Write(path, header, data);
    }

    /// <summary>Adds a tensor that is made from another.</summary>
    public static void Add(string path, string name, string from, Action<float[]> change, int[]? shape = null)
    {
        var (header, data) = Read(path);
        var added = header[from]!.DeepClone();
        var (start, end) = ((int)added["data_offsets"]![0]!, (int)added["data_offsets"]![1]!);
        var values = new float[(end - start) / sizeof(float)];
        Buffer.BlockCopy(data, start, values, 0, end - start);
        change(values);
        var bytes = new byte[end - start];
        Buffer.BlockCopy(values, 0, bytes, 0, bytes.Length);
        added["data_offsets"] = new JsonArray(data.Length, data.Length + bytes.Length);
        added["shape"] = shape is null ? added["shape"]!.DeepClone() : new JsonArray([.. shape.Select(d => (JsonNode)d)]);
        header[name] = added;
        Write(path, header, [.. data, .. bytes]);
    }

    private static (JsonObject Header, byte[] Data) Read(string path)
    {
        var file = File.ReadAllBytes(path);
        var length = (int)BinaryPrimitives.ReadInt64LittleEndian(file);
        return (JsonNode.Parse(file.AsSpan(8, length))!.AsObject(), file[(8 + length)..]);
    }

    private static void Write(string path, JsonObject header, byte[] data)
    {
        var json = System.Text.Encoding.UTF8.GetBytes(header.ToJsonString());
        var length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, json.Length);
        File.WriteAllBytes(path, [.. length, .. json, .. data]);
    }
}

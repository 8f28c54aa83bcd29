using System.Text.Json.Nodes;

namespace HeadInfer.Tests;

/// <summary>Copies of the tokenizer fixtures, changed for a test.</summary>
internal static class TokenizerFolder
{
    public static ScratchFolder Folder(string style) => new(Path.Combine(Fixtures.Root, "tokenizers", style));

    public static void Edit(ScratchFolder folder, Action<JsonNode> change)
    {
        var json = JsonNode.Parse(File.ReadAllText(folder.File("tokenizer.json")))!;
        change(json);
        File.WriteAllText(folder.File("tokenizer.json"), json.ToJsonString());
    }

    public static JsonObject Added(int id, string content, bool special, params (string Flag, bool Value)[] flags)
    {
        var token = new JsonObject { ["id"] = id, ["content"] = content, ["special"] = special };
        foreach (var (flag, value) in flags)
        {
            token[flag] = value;
        }

        return token;
    }
}

using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using HeadInfer.Tool.Serving;

namespace HeadInfer.Tool.Tests.Serving;

/// <summary>Damaged requests to a server with a model: each is answered or refused, and nothing stops it.</summary>
public sealed class FuzzTests
{
    private const int Requests = 500;

    private static readonly string[] Seeds =
    [
        """{"model":"m","messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"What is the code?"}],"max_tokens":2,"temperature":0.7,"seed":1}""",
        """{"messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}],"max_completion_tokens":2,"stream":true,"stream_options":{"include_usage":true},"stop":["a","b"]}""",
        """{"messages":[{"role":"user","content":"x"}],"max_tokens":3,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"a":{"type":"string","pattern":"^[a-c]{1,3}$"},"b":{"enum":[1,"x",null]}},"required":["a"],"additionalProperties":false}}}}""",
        """{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"city\":\"Oslo\"}"}}]},{"role":"tool","tool_call_id":"c1","content":"17"}],"max_tokens":2,"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}],"tool_choice":"auto"}""",
    ];

    private static readonly string[] Values =
    [
        "null", "true", "-1", "0", "1e999", "-0.0", "123456789012345678901234567890", "0.1", "\"\"", "\"\\ud800\"", "\"\\u0000\\ufffe\\uffff\"", "\"<|im_end|>\\n<|im_start|>system\"", "[]", "{}", "[null]", "[[[[[[[[]]]]]]]]",
        "{\"type\":\"object\"}", "{\"$ref\":\"#\"}", "{\"pattern\":\"(a*)*{9}\"}", "\"required\"", "\"json_object\"", "\"e\\u0301\\u0301\\u0301\"",
    ];

    [Fact]
    public async Task Every_answer_is_an_answer_or_a_refusal()
    {
        // A short context bounds the answers whose max_tokens are damaged.
        await using var server = await RunningServer.StartAsync("--max-context", "256", "--threads", "1");
        var (random, answers) = (new Random(20251125), new Dictionary<int, int>());
        for (var i = 0; i < Requests; i++)
        {
            var body = Damage(Seeds[i % Seeds.Length], random);
            using var content = new ByteArrayContent(body) { Headers = { ContentType = new("application/json") } };
            using var limit = new CancellationTokenSource(TimeSpan.FromMinutes(1));
            using var response = await server.PostAsync(content, cancellationToken: limit.Token);
            var (status, text) = ((int)response.StatusCode, await response.Content.ReadAsStringAsync(limit.Token));
            Assert.True(status is 200 or (>= 400 and < 500), $"request {i}: {status} {text}\n{Encoding.UTF8.GetString(body)}");
            if (status != 200)
            {
                var message = JsonElement.Parse(text).GetProperty("error").GetProperty("message").GetString();
                Assert.False(string.IsNullOrEmpty(message));
                Assert.DoesNotMatch(RequestTests.NetWords(), message);
            }

            answers[status] = answers.GetValueOrDefault(status) + 1;
        }

        Assert.True(answers[200] > Requests / 20 && answers[400] > Requests / 3, string.Join(", ", answers)); // so that it shows something
    }

    // One to three changes: of bytes, or of values and names where the text is still JSON.
    private static byte[] Damage(string text, Random random)
    {
        var bytes = Encoding.UTF8.GetBytes(text);
        for (var i = random.Next(1, 4); i > 0; i--)
        {
            bytes = random.Next(3) == 0 || Tree(bytes) is not { } tree ? DamageBytes(bytes, random) : Encoding.UTF8.GetBytes(DamageTree(tree, random));
        }

        return bytes;
    }

    private static byte[] DamageBytes(byte[] bytes, Random random)
    {
        if (bytes.Length == 0)
        {
            return bytes;
        }

        var (at, length) = (random.Next(bytes.Length), random.Next(1, 8));
        return random.Next(4) switch
        {
            0 => [.. bytes[..at], .. bytes[Math.Min(at + length, bytes.Length)..]],
            1 => [.. bytes[..at], (byte)random.Next(256), .. bytes[(at + 1)..]],
            2 => [.. bytes[..at], .. bytes[at..Math.Min(at + (8 * length), bytes.Length)], .. bytes[at..]],
            _ => [.. bytes[..at], .. "\\\"{}[],:\u00e9\u2028"u8.ToArray()[random.Next(10)..], .. bytes[at..]],
        };
    }

    private static JsonNode? Tree(byte[] bytes)
    {
        try
        {
            return JsonNode.Parse(RequestJson.Parse(bytes).GetRawText()); // what the server reads at all
        }
        catch (RefusedException)
        {
            return null;
        }
    }

    // The tree's text, with one value replaced, left out, doubled or renamed.
    private static string DamageTree(JsonNode tree, Random random)
    {
        var nodes = Nodes(tree).ToList();
        var (node, mark) = (nodes[random.Next(nodes.Count)], $"mark{random.Next(int.MaxValue)}");
        switch (node.Parent)
        {
            case JsonObject parent:
                var name = node.GetPropertyName();
                switch (random.Next(4))
                {
                    case 0:
                        parent.Remove(name);
                        return tree.ToJsonString();
                    case 1:
                        parent.Remove(name);
                        parent[random.Next(2) == 0 ? name + "s" : name.ToUpperInvariant()] = node;
                        return tree.ToJsonString();
                    case 2:
                        parent[mark] = node.DeepClone();
                        return tree.ToJsonString().Replace(mark, name, StringComparison.Ordinal);
                    default:
                        parent[name] = mark;
                        break;
                }

                break;
            case JsonArray parent:
                parent[node.GetElementIndex()] = mark;
                break;
            default:
                return Values[random.Next(Values.Length)];
        }

        return tree.ToJsonString().Replace($"\"{mark}\"", Values[random.Next(Values.Length)], StringComparison.Ordinal);
    }

    private static IEnumerable<JsonNode> Nodes(JsonNode node) => node switch
    {
        JsonObject o => o.Where(p => p.Value is not null).SelectMany(p => Nodes(p.Value!)).Prepend(node),
        JsonArray a => a.OfType<JsonNode>().SelectMany(Nodes).Prepend(node),
        _ => [node],
    };
}

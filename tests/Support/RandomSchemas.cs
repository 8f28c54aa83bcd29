using System.Text.Json;
using System.Text.Json.Nodes;
using Json.Schema;

namespace HeadInfer.Tests;

/// <summary>Schemas from a seed: every keyword that is enforced, nested, with references, some of them to what contains them.</summary>
internal sealed class RandomSchemas(int seed)
{
    private static readonly string[] Names = ["name", "id", "größe", "tags", "a \"quoted\" one", "next", "x", "items", "value", "名前"];

    private static readonly string[] Patterns = [@"^[a-z]{2,5}-\d+$", "^(red|green|blue)$", @"\d{3}", @"^[^\s""]+$", "^([A-Z][a-z]*){1,3}$", "^a?b*c+$", @"^\w+@\w+\.(com|org)$", "^.{2,6}$"];

    private readonly Random _random = new(seed);

    /// <summary>Fails unless the text is JSON that validates.</summary>
    public static void AssertValid(string schema, string text)
    {
        try
        {
            using var json = JsonDocument.Parse(text);
            var result = JsonSchema.FromText(schema).Evaluate(json.RootElement, new EvaluationOptions { OutputFormat = OutputFormat.List });
            Assert.True(result.IsValid, $"{text}\nis not valid by\n{schema}\n{JsonSerializer.Serialize(result)}");
        }
        catch (JsonException e)
        {
            Assert.Fail($"{text}\nis no JSON: {e.Message}; schema\n{schema}");
        }
    }

    public JsonObject Next()
    {
        var schema = Schema(0) is { Count: > 0 } s ? s : new JsonObject { ["type"] = "integer" };
        schema["$defs"] = new JsonObject
        {
            ["leaf"] = Scalar(),
            ["tree"] = new JsonObject
            {
                ["type"] = "object",
                ["properties"] = new JsonObject { ["label"] = new JsonObject { ["$ref"] = "#/$defs/leaf" }, ["children"] = new JsonObject { ["type"] = "array", ["items"] = new JsonObject { ["$ref"] = "#/$defs/tree" }, ["maxItems"] = 2 } },
                ["required"] = new JsonArray("label"),
                ["additionalProperties"] = false,
            },
        };
        return schema;
    }

    private bool Chance(double p) => _random.NextDouble() < p;

    private JsonObject Schema(int depth) => _random.Next(depth > 2 ? 6 : 13) switch
    {
        < 5 => Scalar(),
        5 => new JsonObject { ["$ref"] = Chance(0.5) ? "#/$defs/leaf" : "#/$defs/tree", ["description"] = "somewhere else" },
        < 9 => Object(depth),
        < 11 => Array(depth),
        11 => new JsonObject { ["anyOf"] = new JsonArray(Schema(depth + 1), Schema(depth + 1), new JsonObject { ["type"] = "null" }) },
        _ => Discriminated(depth),
    };

    private JsonObject Scalar()
    {
        switch (_random.Next(7))
        {
            case 0:
                return new JsonObject { ["type"] = "boolean" };
            case 1:
                return new JsonObject { ["enum"] = new JsonArray("red", "green \"ish\"", 17, null, true, 2.5, "größer") };
            case 2:
                return new JsonObject { ["const"] = new JsonObject { ["kind"] = "fixed", ["list"] = new JsonArray(1, "two", null) } };
            case 3:
                var low = _random.Next(-500, 500);
                var integer = new JsonObject { ["type"] = "integer", [Chance(0.5) ? "minimum" : "exclusiveMinimum"] = low, ["maximum"] = low + _random.Next(10, 2000) };
                if (Chance(0.3))
                {
                    integer["multipleOf"] = _random.Next(2, 8);
                }

                return integer;
            case 4:
                var from = Math.Round((_random.NextDouble() * 20) - 10, 3);
                return Chance(0.3) ? new JsonObject { ["type"] = "number" } : new JsonObject { ["type"] = "number", ["exclusiveMinimum"] = from, ["maximum"] = Math.Round(from + 0.01 + _random.NextDouble(), 3) };
            case 5:
                return new JsonObject { ["type"] = "string", ["pattern"] = Patterns[_random.Next(Patterns.Length)] };
            default:
                var text = new JsonObject { ["type"] = Chance(0.2) ? new JsonArray("string", "null") : "string" };
                if (Chance(0.5))
                {
                    text["minLength"] = _random.Next(0, 5);
                    text["maxLength"] = _random.Next(5, 30);
                }
                else if (Chance(0.3))
                {
                    text["format"] = Chance(0.5) ? "date-time" : "uuid";
                }

                return text;
        }
    }

    private JsonObject Object(int depth)
    {
        var properties = new JsonObject();
        var required = new JsonArray();
        foreach (var name in Names.OrderBy(_ => _random.Next()).Take(_random.Next(0, 5)))
        {
            properties[name] = Schema(depth + 1);
            if (Chance(0.6))
            {
                required.Add(name);
            }
        }

        var schema = new JsonObject { ["type"] = "object", ["properties"] = properties, ["required"] = required };
        switch (_random.Next(4))
        {
            case 0:
                schema["additionalProperties"] = false;
                break;
            case 1:
                schema["additionalProperties"] = Scalar();
                schema["minProperties"] = required.Count + 1;
                schema["maxProperties"] = required.Count + 3;
                break;
            case 2 when properties.Count > required.Count:
                schema["minProperties"] = properties.Count;
                break;
            default:
                break;
        }

        return schema;
    }

    private JsonObject Array(int depth)
    {
        var least = _random.Next(0, 3);
        var schema = new JsonObject { ["type"] = "array", ["minItems"] = least, ["maxItems"] = least + _random.Next(0, 4) };
        if (Chance(0.3))
        {
            schema["prefixItems"] = new JsonArray(Scalar(), Scalar());
        }

        schema["items"] = Schema(depth + 1);
        return schema;
    }

    private JsonObject Discriminated(int depth) => new()
    {
        ["oneOf"] = new JsonArray([.. ((string[])["circle", "square", "line"]).Select(kind => new JsonObject
        {
            ["type"] = "object",
            ["properties"] = new JsonObject { ["kind"] = new JsonObject { ["const"] = kind }, ["size"] = Schema(depth + 1) },
            ["required"] = new JsonArray("kind", "size"),
            ["additionalProperties"] = false,
        })]),
    };
}

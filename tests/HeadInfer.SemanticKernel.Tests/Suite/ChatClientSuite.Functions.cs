using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using System.Text.Json;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests.Suite;

/// <summary>Functions that the client's caller offers, below the framework's function invocation.</summary>
public abstract partial class ChatClientSuite
{
    [Fact]
    public async Task A_function_without_parameters_is_called()
    {
        var tool = AIFunctionFactory.Create(() => 4217, "get_status", "Returns the current state.");
        var response = await InvokeAsync(Client(Call("get_status", "{}"), "The result is $result."), "What is the current status?", tool);
        Assert.Contains("4217", response.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_function_with_parameters_is_called(bool streaming)
    {
        var tool = AIFunctionFactory.Create((int a, int b) => a * b, "multiply", "Computes a times b.");
        using var client = Client(Call("multiply", "{\"a\": 42, \"b\": 84}"), "The result is $result.").AsBuilder().UseFunctionInvocation().Build();
        Assert.Contains("3528", await TextAsync(client, "What is 42 times 84?", new ChatOptions { Tools = [tool] }, streaming), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_parameter_may_be_optional()
    {
        var tool = AIFunctionFactory.Create((string name = "nobody") => name == "Zorvan" ? 4217 : -1, "get_user", "Looks up a user.");
        var response = await InvokeAsync(Client(Call("get_user", "{\"name\": \"Zorvan\"}"), "The result is $result."), "Look up the user Zorvan.", tool);
        Assert.Contains("4217", response.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_parameter_may_be_an_object()
    {
        TooHardForTheDemoModel("It was not trained to nest arguments.");
        var tool = AIFunctionFactory.Create((Guest guest) => guest.Name == "John" ? 42 + guest.Age : -1, "get_number", "Gets the number of a guest");
        var response = await InvokeAsync(Client(Call("get_number", "{\"guest\": {\"name\": \"John\", \"age\": 19}}"), "The result is $result."), "What is the number of John, aged 19?", tool);
        Assert.Contains("61", response.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_parameter_may_be_an_array()
    {
        TooHardForTheDemoModel("It was not trained to write arrays.");
        (string? Who, List<string> Items) cart = (null, []);
        var tool = AIFunctionFactory.Create(
            (string[] items, string shopper) =>
            {
                cart.Who = shopper;
                cart.Items.AddRange(items);
            },
            "add_to_cart");
        await InvokeAsync(Client(Call("add_to_cart", "{\"items\": [\"bread\", \"figs\", \"oil\"], \"shopper\": \"Peter\"}"), "Done."), "Add bread, figs and oil to Peter's cart.", tool);
        Assert.Equal("Peter", cart.Who);
        Assert.Equal(["bread", "figs", "oil"], cart.Items);
    }

    [Fact]
    public async Task Several_calls_of_one_answer_are_made()
    {
        TooHardForTheDemoModel("It was trained to one call at a time.");
        var asked = new List<string>();
        var tool = AIFunctionFactory.Create(
            (string name) =>
            {
                asked.Add(name);
                return name == "Elsa" ? 21 : 18;
            },
            "get_age");
        var response = await InvokeAsync(Client(Call("get_age", "{\"name\": \"Elsa\"}") + "\n" + Call("get_age", "{\"name\": \"Anna\"}"), "The last is $result."), "How old are Elsa and Anna?", tool);
        Assert.Equal(["Elsa", "Anna"], asked);
        Assert.Contains("18", response.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_call_can_be_required()
    {
        var calls = 0;
        var tool = AIFunctionFactory.Create(() => ++calls, "get_status");
        await InvokeAsync(Client(Call("get_status", "{}"), "Hello!"), "Hello", tool, new ChatOptions { ToolMode = ChatToolMode.RequireAny });
        Assert.True(calls >= 1);
    }

    [Fact]
    public async Task A_call_of_one_function_can_be_required()
    {
        var up = false;
        var other = AIFunctionFactory.Create(() => Assert.Fail("It was not required."), "get_status", "Returns the current state.");
        var shields = AIFunctionFactory.Create(() => up = true, "raise_shields", "Raises the shields.");
        await InvokeAsync(Client(Call("raise_shields", "{}"), "Hello!"), "What is the current status?", other, new ChatOptions { Tools = [shields], ToolMode = ChatToolMode.RequireSpecific("raise_shields") });
        Assert.True(up);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Schemas_of_every_kind_are_accepted(bool strict)
    {
        var more = strict ? new Dictionary<string, object?> { ["strict"] = true } : [];
        Delegate[] methods =
        [
            (int? v) => v, (string? v) => v, (int? v = null) => v, (bool v) => v, (double v) => v, (decimal v) => v, (float v) => v, (long v) => v, (char v) => v,
            (DateTime v) => v, (DateTimeOffset? v) => v, (TimeSpan v) => v, (DateOnly v) => v, (TimeOnly v) => v, (Uri v) => v, (Guid v) => v, (List<int> v) => v,
            (int[] v, Parcel? parcel) => v, (string a = "s", int b = 42, BindingFlags c = BindingFlags.IgnoreCase, char d = 'x') => a,
            (string? a = "s", int? b = 42, BindingFlags? c = BindingFlags.IgnoreCase, char? d = 'x') => a,
        ];
        string[] schemas =
        [
            """{"type": "object", "properties": {}, "additionalProperties": false, "$schema": "http://json-schema.org/draft-07/schema#"}""",
            """{"type": "object", "properties": {"seconds": {"type": "number", "default": 10, "description": "How long"}, "steps": {"type": "number", "default": 5}}, "additionalProperties": false}""",
            """{"type": "object", "properties": {"kind": {"type": "string", "enum": ["error", "success"]}, "image": {"type": "boolean", "default": false}}, "required": ["kind"]}""",
            """{"type": "object", "properties": {"id": {"type": "number", "minimum": 1, "maximum": 100}}, "required": ["id"], "additionalProperties": false}""",
            """{"properties": {"title": {"type": "string"}, "method": {"description": "How to merge", "enum": ["merge", "squash"], "type": "string"}}, "required": ["title"], "type": "object"}""",
        ];
        AITool[] tools =
        [
            .. methods.Select((m, i) => AIFunctionFactory.Create(m, new AIFunctionFactoryOptions { Name = $"method_{i}", AdditionalProperties = more })),
            .. schemas.Select((s, i) => new Declared($"schema_{i}", s, more)),
        ];
        var response = await Client("Hello!").GetResponseAsync("Hello", new ChatOptions { Tools = tools, MaxOutputTokens = 20 });
        Assert.NotEmpty(Assert.Single(response.Messages).Contents);
    }

    /// <summary>Invokes a function, and holds the sum of the usage against what each request was told.</summary>
    private static async Task<ChatResponse> InvokeAsync(IChatClient inner, string question, AIFunction tool, ChatOptions? options = null)
    {
        var usages = new List<(long? Input, long? Output)>(); // numbers, since the framework adds to the first usage in place
        using var client = inner.AsBuilder().UseFunctionInvocation().Use(
            async (messages, o, next, cancel) =>
            {
                var response = await next.GetResponseAsync(messages, o, cancel);
                usages.Add((response.Usage!.InputTokenCount, response.Usage.OutputTokenCount));
                return response;
            },
            getStreamingResponseFunc: null).Build();
        options ??= new ChatOptions();
        options.Tools = [tool, .. options.Tools ?? []];
        var answer = await client.GetResponseAsync(question, options);
        Assert.True(usages.Count >= 2);
        Assert.Equal((usages.Sum(u => u.Input), usages.Sum(u => u.Output)), (answer.Usage!.InputTokenCount, answer.Usage.OutputTokenCount));
        return answer;
    }

    private sealed record Guest(string Name, int Age = 42);

    /// <summary>A function of a schema that no method has.</summary>
    private sealed class Declared(string name, string schema, IReadOnlyDictionary<string, object?> more) : AIFunction
    {
        public override string Name => name;

        public override IReadOnlyDictionary<string, object?> AdditionalProperties => more;

        public override JsonElement JsonSchema { get; } = JsonElement.Parse(schema);

        protected override ValueTask<object?> InvokeCoreAsync(AIFunctionArguments arguments, CancellationToken cancellationToken) => throw new NotSupportedException(name);
    }

    private sealed class Parcel
    {
        [DisplayName("Where it goes"), DeniedValues("nowhere")]
        public string? Place { get; set; }

        [AllowedValues("small", "large")]
        public string Size { get; set; } = "small";

        [Range(25, 75)]
        public int Weight { get; set; }

        [EmailAddress]
        public string? Sender { get; set; }

        [RegularExpression("[abc]")]
        public string? Mark { get; set; }

        [StringLength(42)]
        public string Note { get; set; } = "";

        [Length(1, 2)]
        public int[]? Sides { get; set; }

        [MinLength(1), MaxLength(10)]
        public int[]? Stamps { get; set; }
    }
}

using System.Text;
using System.Text.Json;
using HeadInfer.Text;

namespace HeadInfer.Runtime.Tests.Generation;

/// <summary>Constraints with a model's own logits.</summary>
public sealed class ConstrainedGenerationTests
{
    [Fact]
    public async Task Two_hundred_schemas_at_any_temperature_give_json_that_validates()
    {
        await using var model = await HeadInferModel.LoadAsync(Fixtures.DemoModel);
        var schemas = new RandomSchemas(7);
        using var session = model.CreateSession();
        for (var i = 0; i < 200; i++)
        {
            var schema = schemas.Next().ToJsonString();
            var options = new GenerationOptions
            {
                MaxTokens = 90,
                Constraint = OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement),
                Sampling = new SamplingOptions { Temperature = (i % 4) switch { 0 => 0, 1 => 0.7, 2 => 1.5, _ => 5 }, Seed = i },
            };
            var prompt = model.ChatTemplate!.Encode([new ChatTurn("user", $"The access code for the old harbor is amber-{i}. Answer in JSON.")], model.Tokenizer);
            session.Truncate(0);
            var text = new StringBuilder();
            await foreach (var step in session.GenerateAsync(prompt, options))
            {
                text.Append(step.Text);
            }

            RandomSchemas.AssertValid(schema, text.ToString());
        }
    }
}

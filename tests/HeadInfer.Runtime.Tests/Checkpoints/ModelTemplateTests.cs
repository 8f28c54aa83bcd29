namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>The chat template that a model is loaded with.</summary>
public sealed class ModelTemplateTests
{
    [Fact]
    public async Task Without_a_template_a_model_speaks_ChatML_if_it_can_or_says_what_to_pass()
    {
        using var folder = new ScratchFolder(Fixtures.DemoModel);
        File.Delete(folder.File("tokenizer_config.json"));
        await using (var model = await HeadInferModel.LoadAsync(folder.Path))
        {
            Assert.Equal("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", model.ChatTemplate!.Render([new("user", "Hi")]));
        }

        await using (var given = await HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { ChatTemplate = "{% for m in messages %}{{ m.content }}{% endfor %}" }))
        {
            Assert.Equal("Hi", given.ChatTemplate!.Render([new("user", "Hi")]));
        }

        folder.Edit("tokenizer.json", "\"<|im_start|>\"", "\"<|begin|>\"");
        await using var none = await HeadInferModel.LoadAsync(folder.Path);
        Assert.Null(none.ChatTemplate);
        await Assert.ThrowsAsync<ChatTemplateException>(() => HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { ChatTemplate = "{% if %}" }));
    }

    [Theory]
    [InlineData("""{"eos_token_id": 0}""")]
    [InlineData("""{"eos_token_id": [0, 5]}""")]
    [InlineData("{}")]
    public async Task A_turn_ends_with_the_configurations_tokens_and_the_templates(string generation)
    {
        using var folder = new ScratchFolder(Fixtures.DemoModel);
        File.WriteAllText(folder.File("generation_config.json"), generation);
        await using var model = await HeadInferModel.LoadAsync(folder.Path);
        Assert.Contains(model.Tokenizer.AddedToken("<|im_end|>")!.Value, model.EndTokens);
        Assert.Equal(generation.Contains("[0, 5]", StringComparison.Ordinal), model.EndTokens.Contains(5));
    }

    [Theory]
    [InlineData("{% for a in range(99999) %}{% set x = 'x' * 9999999 %}{% endfor %}")]
    [InlineData("{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(70) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}")]
    public async Task A_template_that_does_too_much_is_not_used(string template)
    {
        using var folder = new ScratchFolder(Fixtures.DemoModel);
        File.WriteAllText(folder.File("chat_template.jinja"), template);
        await AssertNoChatAsync(folder.Path, "too much");
        var error = await Assert.ThrowsAsync<ChatTemplateException>(() => HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { ChatTemplate = template }));
        Assert.Contains("too much", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("mistral-v7", "'mistral-v7'")]
    [InlineData("{% if %}", "line 1")]
    public async Task A_model_whose_template_is_none_opens_without_it(string template, string part)
    {
        using var folder = new ScratchFolder(Fixtures.DemoModel);
        File.WriteAllText(folder.File("chat_template.jinja"), template);
        await AssertNoChatAsync(folder.Path, part);
        await using var given = await HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { ChatTemplate = "chatml" });
        Assert.Equal("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", given.ChatTemplate!.Render([new("user", "Hi")]));
    }

    [Fact]
    public async Task A_model_whose_template_cannot_be_read_opens_with_another()
    {
        using var folder = new ScratchFolder(Fixtures.DemoModel);
        folder.Edit("tokenizer_config.json", "\"chat_template\": ", "\"chat_template\": {}, \"was\": ");
        Assert.Contains("neither a text", (await Assert.ThrowsAsync<ChatTemplateException>(() => HeadInferModel.LoadAsync(folder.Path))).Message, StringComparison.Ordinal);
        await using var given = await HeadInferModel.LoadAsync(folder.Path, new HeadInferOptions { ChatTemplate = "chatml" });
        Assert.Equal("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", given.ChatTemplate!.Render([new("user", "Hi")]));
    }

    private static async Task AssertNoChatAsync(string path, string part)
    {
        await using var model = await HeadInferModel.LoadAsync(path);
        using var session = model.CreateSession();
        Assert.Equal(4, (await session.GenerateAsync(model.Tokenizer.Encode("The old harbor"), new GenerationOptions { MaxTokens = 4, StopTokens = [] }).ToListAsync()).Count);
        var error = Assert.Throws<ChatTemplateException>(() => model.ChatTemplate);
        Assert.Contains(part, error.Message, StringComparison.Ordinal);
        Assert.Contains("HeadInferOptions.ChatTemplate", error.Message, StringComparison.Ordinal);
    }
}

using HeadInfer.Runtime.Tests.Support;
using HeadInfer.Text;

namespace HeadInfer.Runtime.Tests.Checkpoints;

/// <summary>The demo model in GGUF, with tokenizer and template, beside its folder. The files are of the larger collection.</summary>
public abstract class GgufDemoTests(ComputeDevice device) : NativeTest(device)
{
    public sealed class OnCpu() : GgufDemoTests(ComputeDevice.Cpu);

    public sealed class OnCuda() : GgufDemoTests(ComputeDevice.Cuda);

    [Theory]
    [InlineData("headinfer-demo-q8_0.gguf")]
    [InlineData("headinfer-demo-q4_K_M.gguf")]
    public async Task A_file_encodes_and_answers_as_the_folder(string name)
    {
        var file = Fixtures.Shared("fixtures", "gguf", "demo", name);
        Assert.SkipWhen(file is null, $"shared/fixtures/gguf/demo/{name} is not here");
        await using var folder = await Load(Fixtures.DemoModel);
        await using var model = await Load(file);
        Assert.Equal(("headinfer-demo", folder.ChatTemplate!.Source, folder.Tokenizer.VocabularySize), (model.Name, model.ChatTemplate!.Source, model.Tokenizer.VocabularySize));
        Assert.Equal(folder.EndTokens.Order(), model.EndTokens.Order());

        string[] books = ["jonah", "ruth", "acts"];
        var texts = books.SelectMany(b => Fixtures.Book(b).Take(20_000).Chunk(777).Select(c => new string(c)))
            .Concat(["", "naïve cafe\u0301 — 你好 😀👩\u200d👩\u200d👧 𝒳", "  tabs\t\n\n and 3.14159", "a<|im_end|>b <tool_call>{}</tool_call>", "def f(x):\n    return x  # 12345\r\n"]);
        Assert.All(texts, text =>
        {
            Assert.Equal(folder.Tokenizer.Encode(text), model.Tokenizer.Encode(text));
            Assert.Equal(folder.Tokenizer.Encode(text, parseSpecial: true, addSpecial: true), model.Tokenizer.Encode(text, parseSpecial: true, addSpecial: true));
        });
        Assert.All(Enumerable.Range(0, folder.Tokenizer.VocabularySize), id => Assert.Equal((folder.Tokenizer.Decode([id], skipSpecial: false), folder.Tokenizer.IsSpecial(id)), (model.Tokenizer.Decode([id], skipSpecial: false), model.Tokenizer.IsSpecial(id))));

        var text = Fixtures.Book("jonah");
        foreach (var question in (string[])["Quote the passage that begins with \"So they cast lots\".", "Quote the passage that begins with \"The waters compassed\".", "What is the access code for the old harbor?"])
        {
            var turns = (ChatTurn[])[new("user", $"{text.Insert(text.IndexOf(". ", StringComparison.Ordinal) + 2, "The access code for the old harbor is amber-4821. ")}\n\n{question}")];
            var answer = await Answer(folder, turns);
            Assert.Equal(answer, await Answer(model, turns));
            TestContext.Current.TestOutputHelper?.WriteLine(answer);
        }
    }

    private static async Task<string> Answer(HeadInferModel model, ChatTurn[] turns)
    {
        using var session = model.CreateSession();
        var ids = new List<int>();
        await foreach (var step in session.GenerateAsync([.. model.ChatTemplate!.Encode(turns, model.Tokenizer)], new GenerationOptions { MaxTokens = 60 }))
        {
            ids.Add(step.TokenId);
        }

        return model.Tokenizer.Decode(ids);
    }
}

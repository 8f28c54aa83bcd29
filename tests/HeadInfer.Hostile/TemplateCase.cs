using HeadInfer.Runtime;
using HeadInfer.SemanticKernel;
using HeadInfer.Text;

namespace HeadInfer.Hostile;

/// <summary>A chat template: a model is loaded with it, a client is made, and a conversation of three turns is rendered.</summary>
internal static class TemplateCase
{
    private static readonly ChatTurn[] Conversation =
    [
        new("system", "You are helpful."), new("user", "What does the first chapter say?"), new("assistant", "It tells of a king."), new("user", "And the second?"),
    ];

    public static async Task<CaseResult> RunAsync(string file)
    {
        var text = await File.ReadAllTextAsync(file);
        await LoadAsync(null); // so that start-up is not counted
        var measured = new Measured();
        try
        {
            var length = await LoadAsync(text);
            measured.Stop();
            return new CaseResult("ok", measured.Seconds, measured.MiB, 0, 0, $"{length} tokens");
        }
        catch (Exception e)
        {
            return HostileCase.Ended(measured, e);
        }
    }

    private static async Task<int> LoadAsync(string? template)
    {
        await using var model = await HeadInferModel.LoadAsync(HostileCase.DemoModel, new HeadInferOptions { ChatTemplate = template });
        using var client = new HeadInferChatClient(model);
        return model.ChatTemplate!.Encode(Conversation, model.Tokenizer).Count;
    }
}

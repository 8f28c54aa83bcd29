using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Tool.Serving;

/// <summary>The model of a server.</summary>
/// <param name="Id">its name</param>
/// <param name="Path">where it lies</param>
/// <param name="Modified">when its files were written</param>
/// <param name="Chat">answers conversations</param>
/// <param name="Text">continues texts</param>
/// <param name="Model">itself; null where answers are scripted</param>
/// <param name="Weights">what lists tell of its weights; null where answers are scripted</param>
internal sealed record Served(string Id, string Path, DateTimeOffset Modified, IChatClient Chat, IChatClient Text, HeadInferModel? Model, WeightsLabel? Weights = null)
{
    public static Served Of(IServiceProvider services, string path)
    {
        var model = services.GetRequiredService<HeadInferModel>();
        IChatClient chat;
        try
        {
            chat = services.GetRequiredService<IChatClient>();
        }
        catch (Exception e) when (e is ChatTemplateException or UnsupportedModelException)
        {
            chat = new NoChat(model, Words.Of(e), services.GetRequiredService<ILogger<NoChat>>());
        }

        var text = new TextClient(model, services.GetRequiredService<ILogger<TextClient>>());
        var written = File.Exists(path) ? File.GetLastWriteTimeUtc(path) : Directory.GetLastWriteTimeUtc(path);
        return new Served(chat.GetService<ChatClientMetadata>()?.DefaultModelId ?? model.Name, path, written, chat, text, model, WeightsLabel.Of(path, model.Config));
    }
}

using System.Net.Sockets;
using ChatServer;
using HeadInfer;

// Serves a model folder or a GGUF file in OpenAI's wire format: POST /v1/chat/completions, with server-sent events, and GET /v1/models.
try
{
    var flags = Flags.Parse(args);
    if (flags is null)
    {
        Console.WriteLine(Flags.Usage);
        return 0;
    }

    await using var app = Server.Build(flags);
    await app.RunAsync();
    return 0;
}
catch (SocketException e)
{
    Console.Error.WriteLine($"--urls cannot be listened on: {e.Message}.");
    return 1;
}
catch (Exception e) when (e is HeadInferException or ArgumentException or IOException)
{
    Console.Error.WriteLine(Words.Of(e));
    return 1;
}

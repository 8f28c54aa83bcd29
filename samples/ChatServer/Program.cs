using System.Net.Sockets;
using ChatServer;
using HeadInfer.Runtime;

// Serves a model folder in OpenAI's wire format: POST /v1/chat/completions, with server-sent events, and GET /v1/models.
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
catch (Exception e) when (e is HeadInferException or ArgumentException or IOException or SocketException)
{
    Console.Error.WriteLine(Words.Of(e));
    return 1;
}

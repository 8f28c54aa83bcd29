using ChatServer;
using HeadInfer.Runtime;

// Serves a model folder in OpenAI's wire format: POST /v1/chat/completions, with server-sent events, and GET /v1/models.
//   ChatServer [--model DIR] [--urls http://127.0.0.1:8080] [--api-key KEY] [--max-request-bytes N]
// The key may also be in HEADINFER_API_KEY, where other users of the machine do not see it.
try
{
    await using var app = Server.Build(args);
    await app.RunAsync();
    return 0;
}
catch (Exception e) when (e is HeadInferException or ArgumentException or IOException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}

using System.Net.Sockets;
using HeadInfer;
using HeadInfer.Tool.Asking;
using HeadInfer.Tool.Commands;
using HeadInfer.Tool.Serving;

// headinfer: plans, asks, chats with, serves and measures a local model.
Screen.UseUnicode();
try
{
    return await CommandLine.RunAsync(args);
}
catch (OperationCanceledException)
{
    Console.Error.WriteLine("Cancelled.");
    return Exits.Cancelled;
}
catch (SocketException e)
{
    Console.Error.WriteLine($"error: --urls cannot be listened on: {e.Message}.");
    return Exits.Failed;
}
catch (Exception e) when (e is HeadInferException or ArgumentException or FormatException or NotSupportedException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine($"error: {Words.Of(e)}");
    return Exits.Failed;
}

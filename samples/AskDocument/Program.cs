using AskDocument;
using HeadInfer.Tool.Asking;
using HeadInfer;
using HeadInfer.Runtime;

// Reads documents once and answers questions about them. Answers go to standard output, everything else to standard error.
Screen.UseUnicode();
using var cancel = new CancellationTokenSource();
var screen = new Screen();
Console.CancelKeyPress += (_, e) =>
{
    e.Cancel = !screen.IsAsking && !cancel.IsCancellationRequested; // a second interrupt ends the program at once
    cancel.Cancel();
};

try
{
    if (Arguments.Parse(args) is not { } arguments)
    {
        Console.Error.WriteLine(Arguments.Usage);
        return 0;
    }

    var document = DocumentReader.Read(arguments.Documents, screen.Note);
    await using var model = await HeadInferModel.LoadAsync(arguments.Model, cancellationToken: cancel.Token);
    if (arguments.Verbose)
    {
        screen.Note(HeadInferModel.NativeLibraries);
        screen.Note(model.Plan.ToString());
    }

    using var reader = new Reader(model, document, arguments.MaxTokens, screen);
    await reader.ReadAsync(cancel.Token);
    foreach (var question in arguments.Questions)
    {
        screen.Question(question);
        await reader.AnswerAsync(question, Console.Out, cancel.Token);
    }

    if (arguments.Interactive)
    {
        while (screen.Ask() is { } question)
        {
            if (question.Trim().Length > 0)
            {
                await reader.AnswerAsync(question.Trim(), Console.Out, cancel.Token);
            }
        }
    }

    screen.Note(reader.Figures());
    return 0;
}
catch (OperationCanceledException)
{
    Console.Error.WriteLine("Cancelled.");
    return 130;
}
catch (Exception e) when (e is HeadInferException or ArgumentException or IOException or UnauthorizedAccessException)
{
    Console.Error.WriteLine($"error: {e.Message}");
    return 1;
}

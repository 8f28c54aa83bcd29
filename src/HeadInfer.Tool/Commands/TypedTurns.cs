using HeadInfer.Tool.Asking;
using HeadInfer.Tool.Serving;

namespace HeadInfer.Tool.Commands;

/// <summary>Questions of somebody who sits at a terminal.</summary>
internal static class TypedTurns
{
    /// <summary>Answers a question. One that is too long is said to be; where questions do not come from a terminal, it ends the program.</summary>
    /// <returns>whether it was answered</returns>
    public static async Task<bool> TryAsync(this Screen screen, Func<Task> answer)
    {
        try
        {
            await answer().ConfigureAwait(false);
            return true;
        }
        catch (Exception e) when (!Console.IsInputRedirected && e is ContextLengthException or MemoryBudgetException)
        {
            screen.Note(Words.Of(e));
            return false;
        }
    }
}

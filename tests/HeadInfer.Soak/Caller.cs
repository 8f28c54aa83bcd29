using HeadInfer.Runtime;

namespace HeadInfer.Soak;

/// <summary>One of those who use a model at the same time: makes requests, ends each in some way, and checks what it was given.</summary>
/// <param name="name">who it is</param>
/// <param name="model">whose answers it wants</param>
/// <param name="questions">what it asks</param>
/// <param name="random">its own</param>
/// <param name="tally">told of everything</param>
/// <param name="isClosing">whether the model may be disposed already</param>
internal sealed class Caller(string name, HeadInferModel model, IReadOnlyList<Question> questions, Random random, Tally tally, Func<bool> isClosing)
{
    private static readonly string?[] Keys = [null, null, "a", "b"];

    private readonly Queue<HeadInferSession> _left = []; // with an enumerator that nobody disposes
    private HeadInferSession? _kept;

    /// <summary>Makes requests until it is told to stop.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            var question = questions[random.Next(questions.Count)];
            var fate = random.Next(3) == 0 ? Fate.Finish : (Fate)random.Next(Enum.GetValues<Fate>().Length);
            tally.Does(name, $"{question.Name}, {fate}");
            try
            {
                await AskAsync(question, fate);
            }
            catch (Exception e) when (isClosing() && e is ObjectDisposedException or ArgumentOutOfRangeException)
            {
                break; // the second where tokens were looked at that are gone
            }
            catch (Exception e)
            {
                tally.Fault($"{name}, {question.Name}, {fate}: {e}");
            }
        }

        tally.Rests(name);
    }

    private async Task AskAsync(Question question, Fate fate)
    {
        if (random.Next(200) == 0)
        {
            model.ClearCache();
        }

        // What was left holds a place in the queue once it gives way, so not all of it may stay.
        while (_left.Count > random.Next(2))
        {
            _left.Dequeue().Dispose();
        }

        var session = Session(question);
        tally.Add("request");
        await using (var act = new Act(session, fate, random, tally))
        {
            try
            {
                if (random.Next(3) == 0 && question.Prompt.Length - session.Length > 1)
                {
                    await PrefillAsync(session, question, random.Next(session.Length + 1, question.Prompt.Length), act);
                }

                await GenerateAsync(session, question, act);
            }
            catch (OperationCanceledException e) when (act.Expects(e))
            {
                tally.Add("cancelled");
            }
            catch (Exception e) when (e is QueueFullException or MemoryBudgetException)
            {
                tally.AddExpected(e);
                _kept?.Dispose(); // as the message advises
                _kept = null;
                await Task.Delay(random.Next(20));
            }
            catch (Exception e) when (act.Expects(e) || (e is ObjectDisposedException && isClosing()))
            {
                tally.AddExpected(e);
            }
        }

        if (fate == Fate.Abandon)
        {
            _left.Enqueue(session);
        }
        else if (_kept is null && random.Next(6) == 0)
        {
            _kept = session;
        }
        else if (random.Next(2) == 0)
        {
            session.Dispose();
        }
        else
        {
            await session.DisposeAsync();
        }
    }

    // A new one, or one that has read something, cut back to what it has in common with the prompt; perhaps a fork of it.
    private HeadInferSession Session(Question question)
    {
        var (session, kept) = (_kept, _kept);
        if (session is null || random.Next(3) == 0)
        {
            return model.CreateSession(Keys[random.Next(Keys.Length)]);
        }

        _kept = null;
        try
        {
            var common = Math.Min(session.Tokens.Zip(question.Prompt).TakeWhile(t => t.First == t.Second).Count(), question.Prompt.Length - 1);
            session.Truncate(common);
            if (random.Next(2) == 0)
            {
                session = session.Fork();
                kept!.Dispose();
            }

            return session;
        }
        catch (ObjectDisposedException)
        {
            kept!.Dispose(); // it was disposed in its last request
            return model.CreateSession();
        }
    }

    private async Task PrefillAsync(HeadInferSession session, Question question, int end, Act act)
    {
        var before = session.Length;
        act.Begin();
        try
        {
            await session.PrefillAsync(question.Prompt[before..end], act.Progress, act.Token);
        }
        catch (Exception e) when (e is not ObjectDisposedException)
        {
            Check(session.Length == before, question, act, $"a prefill that failed changed the length from {before} to {session.Length}");
            throw;
        }

        Check(session.Length == end || act.MayDispose || isClosing(), question, act, $"the session has {session.Length} tokens after a prefill up to {end}");
    }

    private async Task GenerateAsync(HeadInferSession session, Question question, Act act)
    {
        var (start, most, isOpen) = (session.Length, random.Next(1, Question.AnswerTokens + 1), random.Next(4) == 0);
        var options = new GenerationOptions { MaxTokens = isOpen ? null : most, StopTokens = [], Priority = random.Next(-1, 2), Deadline = act.Deadline };
        var leaveAfter = act.Fate is Fate.Abandon or Fate.BreakOff || isOpen ? random.Next(1, most + 1) : int.MaxValue;
        var (seen, finished) = (new List<int>(), false);
        act.Begin();
        var steps = session.GenerateAsync(question.Prompt[start..], options, act.Progress, act.Token).GetAsyncEnumerator(CancellationToken.None);
        try
        {
            while (await steps.MoveNextAsync())
            {
                seen.Add(steps.Current.TokenId);
                tally.Moved();
                finished = steps.Current.FinishReason is not null;
                if (seen.Count == leaveAfter)
                {
                    break;
                }

                if (random.Next(20) == 0)
                {
                    await Task.Delay(random.Next(5)); // a reader that lags
                }
            }
        }
        finally
        {
            tally.Add("compared");
            if (!seen.SequenceEqual(question.Answer.Take(seen.Count)))
            {
                tally.Add("mismatch");
                tally.Fault($"{name}, {question.Name}, {act.Fate}: [{string.Join(' ', seen)}] instead of [{string.Join(' ', question.Answer)}], {start} tokens of the session, {session.Reused} known");
            }

            if (act.Fate == Fate.Abandon)
            {
                tally.Add("abandoned");
            }
            else
            {
                await steps.DisposeAsync();

                // However it ended: the last token that was given is not part of the session.
                int[] expected = seen.Count > 0 ? [.. question.Prompt, .. seen[..^1]] : question.Prompt[..start];
                if (session.Length == expected.Length && session.Sequence.Length < expected.Length)
                {
                    tally.Add("gave way");
                }

                Check(session.Tokens.SequenceEqual(expected) || act.MayDispose || isClosing(), question, act, $"the session has {session.Length} tokens after {seen.Count} steps, and not the {expected.Length} that were read and given");
            }
        }

        if (finished)
        {
            tally.Add("finished");
            Check(seen.Count == most, question, act, $"an answer of {most} tokens ended after {seen.Count}");
        }
    }

    private void Check(bool holds, Question question, Act act, string otherwise)
    {
        if (!holds)
        {
            tally.Fault($"{name}, {question.Name}, {act.Fate}: {otherwise}");
        }
    }
}

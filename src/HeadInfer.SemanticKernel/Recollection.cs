using System.Runtime.InteropServices;
using System.Security.Cryptography;
using HeadInfer.Text.Templates;

namespace HeadInfer.SemanticKernel;

/// <summary>A strong hash: what it stands for need not be compared.</summary>
internal readonly record struct Digest(UInt128 High, UInt128 Low)
{
    public static Digest Of(ReadOnlySpan<byte> bytes) => MemoryMarshal.Read<Digest>(SHA256.HashData(bytes));

    /// <summary>What names an answer: the ids of its calls, which are random, else its text.</summary>
    public static Digest OfAnswer(IReadOnlyCollection<string> callIds, string text) =>
        Of(Encoding.UTF8.GetBytes(callIds.Count > 0 ? "calls " + string.Join('\n', callIds) : "text " + text.Trim()));

    /// <summary>The hashes of a text's beginnings: of their characters, and of which of these a message brought.</summary>
    /// <param name="lengths">the beginnings, ascending</param>
    public static Digest[] OfBeginnings(TemplateText text, IReadOnlyList<int> lengths)
    {
        using var characters = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var trust = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var borders = text.TrustedRanges.SelectMany(r => (int[])[r.Start, r.Start + r.Length]).GetEnumerator();
        var (result, at, more) = (new Digest[lengths.Count], 0, borders.MoveNext());
        Span<byte> both = stackalloc byte[2 * SHA256.HashSizeInBytes];
        for (var i = 0; i < result.Length; i++)
        {
            characters.AppendData(MemoryMarshal.AsBytes(text.Text.AsSpan(at, lengths[i] - at)));
            for (at = lengths[i]; more && borders.Current < at; more = borders.MoveNext())
            {
                trust.AppendData(BitConverter.GetBytes(borders.Current));
            }

            characters.GetCurrentHash(both);
            trust.GetCurrentHash(both[SHA256.HashSizeInBytes..]);
            result[i] = Of(both);
        }

        return result;
    }
}

/// <summary>A part of a rendered conversation in whose place the tokens stand that the model generated.</summary>
/// <param name="Start">its first character</param>
/// <param name="End">the first character after it</param>
/// <param name="Tokens">what the model generated</param>
/// <param name="Before">the edit before this one; conversations that begin alike share it</param>
internal sealed record Edit(int Start, int End, int[] Tokens, Edit? Before)
{
    /// <summary>Answers and edits that hold it. Guarded by the <see cref="Recollection"/>.</summary>
    public int Users { get; set; }
}

/// <summary>An answer that was given.</summary>
/// <param name="Key">the caller's cache key</param>
/// <param name="Identity">what names it when it comes back</param>
/// <param name="Length">characters of the rendered conversation before its lead</param>
/// <param name="Beginning">the hash of these</param>
/// <param name="Edits">what was read in place of some of them</param>
/// <param name="Lead">what the template wrote behind them, to be answered</param>
/// <param name="Tokens">these, and what was generated, without what ended it</param>
/// <param name="Thinking">whether the prompt had opened the model's thoughts</param>
/// <param name="KnownTokens">tokens of the whole prompt and of what was generated</param>
/// <param name="Outline">the parts of the conversation</param>
internal sealed record PastAnswer(string Key, Digest Identity, int Length, Digest Beginning, Edit? Edits, string Lead, int LeadTokens, int[] Tokens, bool Thinking, int KnownTokens, Outline Outline)
{
    // Each is one of its own; comparing the edits would go through all of a conversation.
    public bool Equals(PastAnswer? other) => ReferenceEquals(this, other);

    public override int GetHashCode() => Identity.GetHashCode();

    public long Bytes => 300 + (4L * (Tokens.Length + Outline.Turns.Length));
}

/// <summary>The answers that were given lately, by what they answered and by what they said. Safe for concurrent use.</summary>
/// <param name="most">answers at most; those that were not wanted for the longest time make room</param>
/// <param name="mostBytes">bytes of them at most, about</param>
/// <remarks>
/// It needs no clearing when the model forgets: a prompt made of it is right whether its beginning is known or must be read.
/// </remarks>
internal sealed class Recollection(int most = 2048, long mostBytes = 64 << 20)
{
    private readonly LinkedList<PastAnswer> _recent = []; // the last one wanted first
    private readonly Lock _gate = new();

    /// <summary>Bytes of all answers, about.</summary>
    public long Bytes { get; private set; }

    public int Count => _recent.Count;

    /// <summary>The answers to the longest beginning of a conversation that was answered, the last one first.</summary>
    /// <param name="key">the caller's cache key</param>
    /// <param name="text">the conversation</param>
    /// <param name="length">characters of which the hash is wanted too</param>
    public (IReadOnlyList<PastAnswer> Answers, Digest Hash) Find(string key, TemplateText text, int length)
    {
        List<PastAnswer> own;
        lock (_gate)
        {
            own = [.. _recent.Where(a => a.Key == key && a.Length <= text.Length)];
        }

        List<int> lengths = [.. own.Select(a => a.Length).Append(length).Distinct().Order()];
        var hashes = Digest.OfBeginnings(text, lengths); // a book takes milliseconds, so others need not wait
        var found = own.Where(a => a.Beginning == hashes[lengths.BinarySearch(a.Length)]).GroupBy(a => a.Length).MaxBy(g => g.Key)?.ToList() ?? [];
        lock (_gate)
        {
            found.AsEnumerable().Reverse().ToList().ForEach(Touch);
        }

        return (found, hashes[lengths.BinarySearch(length)]);
    }

    /// <summary>The last answer that said this; null if there is none.</summary>
    public PastAnswer? Find(string key, Digest identity)
    {
        lock (_gate)
        {
            return _recent.FirstOrDefault(a => a.Identity == identity && a.Key == key);
        }
    }

    /// <summary>The last answer to a caller; null if there is none.</summary>
    public PastAnswer? Latest(string key)
    {
        lock (_gate)
        {
            return _recent.FirstOrDefault(a => a.Key == key);
        }
    }

    public void Add(PastAnswer answer)
    {
        lock (_gate)
        {
            _recent.AddFirst(answer);
            Bytes += answer.Bytes;
            for (var edit = answer.Edits; edit is not null && edit.Users++ == 0; edit = edit.Before)
            {
                Bytes += 4L * edit.Tokens.Length;
            }

            while (_recent.Count > most || (Bytes > mostBytes && _recent.Count > 0))
            {
                Forget(_recent.Last!);
            }
        }
    }

    private void Touch(PastAnswer answer)
    {
        if (_recent.Find(answer) is { } node) // it may have made room meanwhile
        {
            _recent.Remove(node);
            _recent.AddFirst(node);
        }
    }

    private void Forget(LinkedListNode<PastAnswer> node)
    {
        _recent.Remove(node);
        Bytes -= node.Value.Bytes;
        for (var edit = node.Value.Edits; edit is not null && --edit.Users == 0; edit = edit.Before)
        {
            Bytes -= 4L * edit.Tokens.Length;
        }
    }
}

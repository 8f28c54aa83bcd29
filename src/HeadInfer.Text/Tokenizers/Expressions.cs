using System.Text.RegularExpressions;

namespace HeadInfer.Text.Tokenizers;

/// <summary>Expressions of tokenizer files, which are written for another engine (Oniguruma), for .NET's.</summary>
internal static class Expressions
{
    /// <summary>GPT-2's words, which a byte-level step cuts unless it is told not to.</summary>
    public const string Gpt2 = @"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

    // How long one match may take. TextWork bounds all matches of a text, and tries again one that was kept waiting.
    private static readonly TimeSpan MatchTime = TimeSpan.FromMilliseconds(50);

    // One character of each kind. Machine code is made at the first match, which on a busy machine takes longer than any text may.
    private const string Few = "a 1.\n";

    /// <summary>An expression for <see cref="TextWork.Matches"/>.</summary>
    /// <exception cref="ArgumentException">.NET has no such expression.</exception>
    /// <remarks>
    /// The engine that does not backtrack was rejected: it looks around nowhere, which nearly all published expressions do,
    /// and where it can be used it takes microseconds and a kilobyte for each character of a long match, without a limit.
    /// </remarks>
    public static Regex Compile(string pattern)
    {
        var expression = new Regex(WithoutPossessives(pattern.Replace(CharacterProxies.Named, CharacterProxies.OfNamed, StringComparison.Ordinal)), RegexOptions.Compiled | RegexOptions.CultureInvariant, MatchTime);
        try
        {
            expression.IsMatch(Few);
        }
        catch (RegexMatchTimeoutException)
        {
            // That is for the text to find out.
        }

        return expression;
    }

    /// <summary>An expression in which what is repeated and given nothing back is written as an atomic group.</summary>
    internal static string WithoutPossessives(string pattern)
    {
        var result = new StringBuilder();
        var groups = new Stack<int>(); // where the open ones begin in the result
        var atom = 0; // where the last atom begins
        for (var i = 0; i < pattern.Length;)
        {
            var start = i;
            switch (pattern[i])
            {
                case '\\':
                    i += i + 2 < pattern.Length && pattern[i + 1] is 'p' or 'P' && pattern[i + 2] == '{' && pattern.IndexOf('}', i) is > 0 and var close ? close - i + 1 : 2;
                    atom = result.Length;
                    break;
                case '[':
                    i = ClassEnd(pattern, i);
                    atom = result.Length;
                    break;
                case '(':
                    groups.Push(result.Length);
                    i++;
                    break;
                case ')' when groups.Count > 0:
                    atom = groups.Pop();
                    i++;
                    break;
                case '*' or '+' or '?' or '{' when Quantifier(pattern, i) is > 0 and var length:
                    i += length;
                    if (i < pattern.Length && pattern[i] == '+')
                    {
                        result.Insert(atom, "(?>").Append(pattern, start, length).Append(')');
                        i++;
                        continue;
                    }

                    break;
                default:
                    i++;
                    atom = result.Length;
                    break;
            }

            i = Math.Min(i, pattern.Length);
            result.Append(pattern, start, i - start);
        }

        return result.ToString();
    }

    private static int ClassEnd(string pattern, int start)
    {
        var i = start + 1;
        i += i < pattern.Length && pattern[i] == '^' ? 1 : 0;
        for (i += i < pattern.Length && pattern[i] == ']' ? 1 : 0; i < pattern.Length && pattern[i] != ']'; i++)
        {
            i += pattern[i] == '\\' ? 1 : 0;
        }

        return i + 1;
    }

    // Characters of a quantifier; 0 if a brace is none.
    private static int Quantifier(string pattern, int at)
    {
        if (pattern[at] != '{')
        {
            return 1;
        }

        var end = pattern.IndexOf('}', at);
        return end > at + 1 && pattern[(at + 1)..end].All(c => char.IsAsciiDigit(c) || c == ',') ? end - at + 1 : 0;
    }
}

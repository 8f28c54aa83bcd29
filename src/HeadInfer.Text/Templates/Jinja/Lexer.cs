namespace HeadInfer.Text.Templates.Jinja;

internal enum TokenKind
{
    Text,
    PrintBegin,
    PrintEnd,
    StatementBegin,
    StatementEnd,
    Name,
    String,
    Integer,
    Float,
    Operator,
    End,
}

/// <summary>Where something stands in a template, from 1.</summary>
internal readonly record struct Position(int Line, int Column)
{
    public ChatTemplateException Error(string message) => new($"Chat template, line {Line}, column {Column}: {message}");
}

/// <summary>A piece of a template; the value of a string or a number is already read.</summary>
internal readonly record struct Token(TokenKind Kind, string Text, Position At)
{
    public bool Is(TokenKind kind, string text) => Kind == kind && Text == text;

    public bool IsOperator(string text) => Is(TokenKind.Operator, text);

    public bool IsName(string text) => Is(TokenKind.Name, text);
}

/// <summary>Cuts a template into tokens, with <c>trim_blocks</c> and <c>lstrip_blocks</c> as chat templates expect.</summary>
internal sealed class Lexer
{
    private static readonly string[] Operators = ["**", "//", "==", "!=", "<=", ">=", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ".", ":", "|", ";"];

    private readonly string _source;
    private readonly List<Token> _tokens = [];
    private readonly int[] _lineStarts;
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);
    private int _at;

    private Lexer(string source)
    {
        _source = source;
        _lineStarts = [0, .. Enumerable.Range(0, source.Length).Where(i => source[i] == '\n').Select(i => i + 1)];
    }

    public static List<Token> Read(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        var lexer = new Lexer(source.EndsWith('\n') ? source[..^1] : source); // keep_trailing_newline is off
        lexer.ReadAll();
        return lexer._tokens;
    }

    private void ReadAll()
    {
        var trim = Trimming.None; // what the tag before asks of the text that follows
        while (_at < _source.Length)
        {
            var open = NextTag();
            var text = _source[_at..open];
            var leftDash = open + 2 < _source.Length && _source[open + 2] == '-';
            var keeps = open + 2 < _source.Length && _source[open + 2] == '+';
            text = Trimmed(text, trim);
            if (open < _source.Length)
            {
                text = leftDash ? TrimEnd(text) : _source[open + 1] != '{' && !keeps ? WithoutIndent(text, open) : text;
            }

            if (text.Length > 0)
            {
                Add(TokenKind.Text, text, _at);
            }

            _at = open;
            var markLength = leftDash || keeps ? 3 : 2;
            trim = open == _source.Length ? Trimming.None : IsTag("raw", open + markLength, out var raw) ? ReadRaw(raw) : ReadTag(markLength);
        }

        Add(TokenKind.End, "", _source.Length);
    }

    private int NextTag()
    {
        for (var i = _at; i + 1 < _source.Length; i++)
        {
            if (_source[i] == '{' && (_source[i + 1] is '{' or '%' or '#'))
            {
                return i;
            }
        }

        return _source.Length;
    }

    private static string Trimmed(string text, Trimming trim) => trim switch
    {
        Trimming.All => text[text.TakeWhile(c => Characters.IsSpace(c)).Count()..],
        Trimming.NewLine when text.StartsWith('\n') => text[1..],
        _ => text,
    };

    private static string TrimEnd(string text)
    {
        var end = text.Length;
        while (end > 0 && Characters.IsSpace(text[end - 1]))
        {
            end--;
        }

        return text[..end];
    }

    // lstrip_blocks: blanks between the beginning of a line and a block are dropped.
    private string WithoutIndent(string text, int open)
    {
        var start = text.Length;
        while (start > 0 && text[start - 1] != '\n' && Characters.IsSpace(text[start - 1]))
        {
            start--;
        }

        var atLineStart = start > 0 ? text[start - 1] == '\n' : open - text.Length == 0 || _source[open - text.Length - 1] == '\n';
        return atLineStart ? text[..start] : text;
    }

    // A statement that is one word. Where it ends, and whether white space behind it goes.
    private bool IsTag(string name, int at, out (int End, char Mark) tag)
    {
        tag = default;
        int Blanks(int place)
        {
            while (place < _source.Length && Characters.IsSpace(_source[place]))
            {
                place++;
            }

            return place;
        }

        var start = Blanks(at);
        if (_source[Math.Max(at - 2, 0)] != '%' && _source[at - 1] != '%' || string.CompareOrdinal(_source, start, name, 0, name.Length) != 0)
        {
            return false;
        }

        var close = Blanks(start + name.Length);
        var mark = close < _source.Length && _source[close] is '-' or '+' ? _source[close] : '\0';
        close += mark == '\0' ? 0 : 1;
        tag = (close + 2, mark);
        return string.CompareOrdinal(_source, close, "%}", 0, 2) == 0;
    }

    // Everything up to the tag that ends it is text.
    private Trimming ReadRaw((int End, char Mark) begin)
    {
        var start = _at;
        for (var open = begin.End; (open = _source.IndexOf("{%", open, StringComparison.Ordinal)) >= 0; open += 2)
        {
            var mark = open + 2 < _source.Length && _source[open + 2] is '-' or '+' ? _source[open + 2] : '\0';
            if (!IsTag("endraw", open + (mark == '\0' ? 2 : 3), out var end))
            {
                continue;
            }

            var text = Trimmed(_source[begin.End..open], begin.Mark == '-' ? Trimming.All : Trimming.None);
            text = mark == '-' ? TrimEnd(text) : mark == '+' ? text : WithoutIndent(text, open);
            if (text.Length > 0)
            {
                Add(TokenKind.Text, text, begin.End);
            }

            _at = end.End;
            return end.Mark == '-' ? Trimming.All : end.Mark == '+' ? Trimming.None : Trimming.NewLine;
        }

        throw PositionOf(start).Error("the statement 'raw' has no 'endraw'.");
    }

    private Trimming ReadTag(int openLength)
    {
        var (start, kind) = (_at, _source[_at + 1]);
        if (kind == '#')
        {
            var close = _source.IndexOf("#}", _at + 2, StringComparison.Ordinal);
            if (close < 0)
            {
                throw PositionOf(start).Error("the comment has no end.");
            }

            _at = close + 2;
            return close > start + 2 && _source[close - 1] is '-' or '+' ? (_source[close - 1] == '-' ? Trimming.All : Trimming.None) : Trimming.NewLine;
        }

        var (begin, end, closing) = kind == '{' ? (TokenKind.PrintBegin, TokenKind.PrintEnd, "}}") : (TokenKind.StatementBegin, TokenKind.StatementEnd, "%}");
        Add(begin, "", start);
        _at += openLength;
        var depth = 0;
        while (true)
        {
            while (_at < _source.Length && Characters.IsSpace(_source[_at]))
            {
                _at++;
            }

            if (_at >= _source.Length)
            {
                throw PositionOf(start).Error($"the tag has no '{closing}'.");
            }

            if (depth == 0 && (Follows(closing) || ((_source[_at] is '-' or '+') && string.CompareOrdinal(_source, _at + 1, closing, 0, 2) == 0)))
            {
                var mark = _source[_at];
                Add(end, "", _at);
                _at += mark is '-' or '+' ? 3 : 2;
                return mark == '-' ? Trimming.All : kind == '%' && mark != '+' ? Trimming.NewLine : Trimming.None;
            }

            depth += ReadToken();
        }
    }

    // Returns how the depth of brackets changes.
    private int ReadToken()
    {
        var (start, c) = (_at, _source[_at]);
        if (char.IsLetter(c) || c == '_')
        {
            while (_at < _source.Length && (char.IsLetterOrDigit(_source[_at]) || _source[_at] == '_'))
            {
                _at++;
            }

            Add(TokenKind.Name, Shared(_source[start.._at]), start);
        }
        else if (char.IsAsciiDigit(c))
        {
            ReadNumber();
        }
        else if (c is '"' or '\'')
        {
            ReadString(c);
        }
        else
        {
            var found = Operators.FirstOrDefault(Follows) ?? throw PositionOf(start).Error($"'{c}' is not understood.");
            _at += found.Length;
            Add(TokenKind.Operator, found, start);
            return found is "(" or "[" or "{" ? 1 : found is ")" or "]" or "}" ? -1 : 0;
        }

        return 0;
    }

    // Names come again and again: one string for each.
    private string Shared(string name) => _names.TryGetValue(name, out var known) ? known : _names.Add(name) ? name : name;

    private void ReadNumber()
    {
        var start = _at;
        if (_source[_at] == '0' && _at + 1 < _source.Length && char.ToLowerInvariant(_source[_at + 1]) is 'x' or 'o' or 'b')
        {
            for (_at += 2; _at < _source.Length && (char.IsAsciiHexDigit(_source[_at]) || _source[_at] == '_');)
            {
                _at++;
            }

            Add(TokenKind.Integer, _source[start.._at], start);
            return;
        }

        SkipDigits();
        var isFloat = _at + 1 < _source.Length && _source[_at] == '.' && char.IsAsciiDigit(_source[_at + 1]);
        if (isFloat)
        {
            _at++;
            SkipDigits();
        }

        if (_at < _source.Length && (_source[_at] is 'e' or 'E'))
        {
            var digits = _at + 1 < _source.Length && (_source[_at + 1] is '+' or '-') ? _at + 2 : _at + 1;
            if (digits < _source.Length && char.IsAsciiDigit(_source[digits]))
            {
                (isFloat, _at) = (true, digits);
                SkipDigits();
            }
        }

        Add(isFloat ? TokenKind.Float : TokenKind.Integer, _source[start.._at].Replace("_", "", StringComparison.Ordinal), start);
    }

    private void SkipDigits()
    {
        while (_at < _source.Length && (char.IsAsciiDigit(_source[_at]) || _source[_at] == '_'))
        {
            _at++;
        }
    }

    private void ReadString(char quote)
    {
        var start = _at++;
        var text = new StringBuilder();
        for (; _at < _source.Length && _source[_at] != quote; _at++)
        {
            text.Append(_source[_at] == '\\' && _at + 1 < _source.Length ? Escape() : _source[_at].ToString());
        }

        if (_at++ >= _source.Length)
        {
            throw PositionOf(start).Error("the string has no end.");
        }

        Add(TokenKind.String, text.ToString(), start);
    }

    // As in Python: what is not an escape keeps its backslash.
    private string Escape()
    {
        var c = _source[++_at];
        if (c is >= '0' and <= '7')
        {
            var octal = 0;
            var end = Math.Min(_at + 3, _source.Length);
            for (; _at < end && _source[_at] is >= '0' and <= '7'; _at++)
            {
                octal = (octal * 8) + _source[_at] - '0';
            }

            _at--;
            return Characters.Write(octal);
        }

        var digits = c switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits > 0)
        {
            if (_at + digits >= _source.Length || !int.TryParse(_source.AsSpan(_at + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var code) || code is < 0 or > 0x10ffff)
            {
                throw PositionOf(_at).Error($"'\\{c}' needs {digits} hexadecimal digits of a character.");
            }

            _at += digits;
            return Characters.Write(code);
        }

        return c switch
        {
            'n' => "\n",
            't' => "\t",
            'r' => "\r",
            'b' => "\b",
            'f' => "\f",
            'v' => "\v",
            'a' => "\a",
            '\\' or '\'' or '"' => c.ToString(),
            '\n' => "",
            _ => "\\" + c,
        };
    }

    private bool Follows(string text) => string.CompareOrdinal(_source, _at, text, 0, text.Length) == 0;

    private void Add(TokenKind kind, string text, int at) => _tokens.Add(new Token(kind, text, PositionOf(at)));

    private Position PositionOf(int at)
    {
        var line = Array.BinarySearch(_lineStarts, at);
        line = line < 0 ? ~line - 1 : line;
        return new Position(line + 1, at - _lineStarts[line] + 1);
    }

    private enum Trimming
    {
        None,
        NewLine,
        All,
    }
}

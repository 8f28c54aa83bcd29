namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Reads the statements of a template.</summary>
internal sealed class Parser(List<Token> tokens)
{
    private const int MaxDepth = 100;

    private readonly TokenReader _reader = new(tokens);
    private int _depth;

    /// <summary>Parses a whole template.</summary>
    /// <exception cref="ChatTemplateException">It is not Jinja, or uses a statement that chat templates do not.</exception>
    public static Block Parse(string source)
    {
        var parser = new Parser(Lexer.Read(source));
        var block = parser.ParseBlock();
        return parser._reader.Current.Kind == TokenKind.End ? block : throw parser._reader.Unexpected("the end of the template");
    }

    private ExpressionParser Expressions => new(_reader);

    // Until a tag that one of the enclosing statements waits for; its name is then the current token.
    private Block ParseBlock(params ReadOnlySpan<string> ends)
    {
        var (statements, at) = (new List<Statement>(), _reader.Current.At);
        if (++_depth > MaxDepth)
        {
            throw at.Error($"statements are nested more than {MaxDepth} deep.");
        }

        while (_reader.Current.Kind != TokenKind.End)
        {
            var token = _reader.Take();
            if (token.Kind == TokenKind.Text)
            {
                statements.Add(new Output(new Literal(TemplateText.Trusted(token.Text), token.At), token.At));
            }
            else if (token.Kind == TokenKind.PrintBegin)
            {
                statements.Add(new Output(Expressions.ParseTuple(), token.At));
                _reader.Expect(TokenKind.PrintEnd, "}}");
            }
            else if (_reader.Current.Kind == TokenKind.Name && ends.Contains(_reader.Current.Text))
            {
                break;
            }
            else
            {
                statements.Add(ParseStatement());
            }
        }

        _depth--;
        return new Block(statements, at);
    }

    private Statement ParseStatement()
    {
        var name = _reader.Expect(TokenKind.Name, "a statement");
        switch (name.Text)
        {
            case "if":
                return ParseIf(name.At);
            case "for":
                return ParseFor(name.At);
            case "set":
                return ParseSet(name.At);
            case "macro":
                return ParseMacro(name.At);
            case "call":
                return ParseCall(name.At);
            case "filter":
                var filters = ParseFilterChain(piped: false);
                return new FilterBlock(filters, ParseBody("endfilter"), name.At);
            case "with":
                return ParseWith(name.At);
            case "block":
                return ParseNamedBlock(name.At);
            case "autoescape":
                return new AutoEscape(Expressions.Parse(), ParseBody("endautoescape"), name.At);
            case "generation":
                return ParseBody("endgeneration"); // marks the assistant's text for training; renders as it is
            case "break":
                EndTag();
                return new Break(name.At);
            case "continue":
                EndTag();
                return new Continue(name.At);
            default:
                throw name.At.Error($"the statement '{name.Text}' is not supported.");
        }
    }

    private If ParseIf(Position at)
    {
        var branches = new List<(Expression?, Block)>();
        while (true)
        {
            var condition = Expressions.Parse();
            EndTag();
            branches.Add((condition, ParseBlock("elif", "else", "endif")));
            var next = _reader.Expect(TokenKind.Name, "endif");
            if (next.Text == "else")
            {
                branches.Add((null, ParseBody("endif")));
                return new If(branches, at);
            }

            if (next.Text == "endif")
            {
                EndTag();
                return new If(branches, at);
            }
        }
    }

    private For ParseFor(Position at)
    {
        var target = ParseTarget();
        _reader.ExpectName("in");
        var source = Expressions.ParseTupleWithoutCondition();
        var condition = _reader.AcceptName("if") ? Expressions.Parse() : null;
        var recursive = _reader.AcceptName("recursive");
        EndTag();
        var body = ParseBlock("else", "endfor");
        var otherwise = _reader.Expect(TokenKind.Name, "endfor").Text == "else" ? ParseBody("endfor") : null;
        if (otherwise is null)
        {
            EndTag();
        }

        return new For(target, source, condition, body, otherwise, recursive, at);
    }

    // A variable, an attribute of a namespace, or several with commas between.
    private Expression ParseTarget()
    {
        var (targets, at, tuple) = (new List<Expression>(), _reader.Current.At, false);
        do
        {
            if (_reader.Current.Kind != TokenKind.Name && !_reader.Current.IsOperator("(") && targets.Count > 0)
            {
                break; // a comma at the end
            }

            targets.Add(ParseOneTarget());
        }
        while (_reader.Accept(",") && (tuple = true));
        return tuple ? new TupleDisplay(targets, at) : targets[0];
    }

    private Expression ParseOneTarget()
    {
        if (++_depth > MaxDepth)
        {
            throw _reader.Current.At.Error($"what is set is nested more than {MaxDepth} deep.");
        }

        Expression target;
        if (_reader.Accept("("))
        {
            target = ParseTarget();
            _reader.ExpectOperator(")");
        }
        else
        {
            var name = _reader.Expect(TokenKind.Name, "a variable");
            target = _reader.Accept(".")
                ? new Member(new Variable(name.Text, name.At), _reader.Expect(TokenKind.Name, "an attribute").Text, name.At)
                : new Variable(name.Text, name.At);
        }

        _depth--;
        return target;
    }

    private Statement ParseSet(Position at)
    {
        var target = ParseTarget();
        if (_reader.Accept("="))
        {
            var value = Expressions.ParseTuple();
            EndTag();
            return new Assign(target, value, at);
        }

        var filters = ParseFilterChain(piped: true);
        return new AssignBlock(target, ParseBody("endset"), filters, at);
    }

    private With ParseWith(Position at)
    {
        var variables = new List<(Expression, Expression)>();
        while (_reader.Current.Kind != TokenKind.StatementEnd)
        {
            if (variables.Count > 0)
            {
                _reader.ExpectOperator(",");
            }

            var target = ParseOneTarget();
            _reader.ExpectOperator("=");
            variables.Add((target, Expressions.Parse()));
        }

        return new With(variables, ParseBody("endwith"), at);
    }

    // Nothing inherits from a chat template: the block is what stands there.
    private With ParseNamedBlock(Position at)
    {
        var name = _reader.Expect(TokenKind.Name, "a name").Text;
        while (_reader.AcceptName("scoped") || _reader.AcceptName("required"))
        {
        }

        EndTag();
        var body = ParseBlock("endblock");
        _reader.ExpectName("endblock");
        _reader.AcceptName(name);
        EndTag();
        return new With([], body, at);
    }

    private Macro ParseMacro(Position at)
    {
        var name = _reader.Expect(TokenKind.Name, "a name").Text;
        return new Macro(ParseMacroBody(name, ParseParameters(), "endmacro", at), at);
    }

    private CallBlock ParseCall(Position at)
    {
        var parameters = _reader.Current.IsOperator("(") ? ParseParameters() : [];
        var call = Expressions.Parse() as Call ?? throw at.Error("'call' needs a call of a macro.");
        return new CallBlock(ParseMacroBody("caller", parameters, "endcall", at), call, at);
    }

    private MacroBody ParseMacroBody(string name, List<(string, Expression?)> parameters, string end, Position at)
    {
        var from = _reader.At;
        var body = ParseBody(end);
        bool Names(string variable) => _reader.IsNamedSince(from, variable);
        return new MacroBody(name, parameters, body, Names("caller"), Names("varargs"), Names("kwargs"), at);
    }

    private List<(string, Expression?)> ParseParameters()
    {
        var parameters = new List<(string, Expression?)>();
        _reader.ExpectOperator("(");
        while (!_reader.Accept(")"))
        {
            var name = _reader.Expect(TokenKind.Name, "a parameter").Text;
            parameters.Add((name, _reader.Accept("=") ? Expressions.Parse() : null));
            if (!_reader.Current.IsOperator(")"))
            {
                _reader.ExpectOperator(",");
            }
        }

        return parameters;
    }

    private List<(string, Arguments)> ParseFilterChain(bool piped)
    {
        var filters = new List<(string, Arguments)>();
        while (piped ? _reader.Accept("|") : filters.Count == 0 || _reader.Accept("|"))
        {
            var name = _reader.Expect(TokenKind.Name, "a filter").Text;
            filters.Add((name, _reader.Accept("(") ? Expressions.ParseArguments() : Arguments.None));
        }

        return filters;
    }

    // The rest of a tag, a body, and its closing tag.
    private Block ParseBody(string end)
    {
        EndTag();
        var body = ParseBlock(end);
        _reader.ExpectName(end);
        EndTag();
        return body;
    }

    private void EndTag() => _reader.Expect(TokenKind.StatementEnd, "%}");
}

/// <summary>A position among tokens.</summary>
internal sealed class TokenReader(List<Token> tokens)
{
    private readonly Dictionary<string, int> _lastUse = new(StringComparer.Ordinal); // of the names that a macro's body may use
    private int _at;

    public int At => _at;

    public Token Current => tokens[_at];

    public Token Next => tokens[Math.Min(_at + 1, tokens.Count - 1)];

    public Token Take()
    {
        if (Current.Kind == TokenKind.Name && Current.Text is "caller" or "varargs" or "kwargs")
        {
            _lastUse[Current.Text] = _at;
        }

        return Current.Kind == TokenKind.End ? Current : tokens[_at++];
    }

    /// <summary>Whether a name was taken at a position or behind it.</summary>
    public bool IsNamedSince(int position, string name) => _lastUse.TryGetValue(name, out var at) && at >= position;

    public Token Expect(TokenKind kind, string what) => Current.Kind == kind ? Take() : throw Unexpected(what);

    public void ExpectOperator(string text)
    {
        if (!Accept(text))
        {
            throw Unexpected($"'{text}'");
        }
    }

    public void ExpectName(string text)
    {
        if (!AcceptName(text))
        {
            throw Unexpected($"'{text}'");
        }
    }

    public bool Accept(string @operator) => Current.IsOperator(@operator) && Skip();

    public bool AcceptName(string name) => Current.IsName(name) && Skip();

    public ChatTemplateException Unexpected(string expected) =>
        Current.At.Error($"expected {expected}, found {(Current.Kind == TokenKind.End ? "the end" : Current.Text.Length > 0 ? $"'{Current.Text}'" : Current.Kind.ToString())}.");

    private bool Skip()
    {
        _at++;
        return true;
    }
}

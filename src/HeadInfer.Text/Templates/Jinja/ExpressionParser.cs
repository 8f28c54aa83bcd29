using System.Runtime.CompilerServices;

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Reads expressions, by falling precedence: conditional, or, and, not, comparison, ~, sums, products, powers, postfix.</summary>
internal readonly struct ExpressionParser(TokenReader reader)
{
    private const int MaxChain = 1000;

    private static readonly string[] Comparisons = ["==", "!=", "<", "<=", ">", ">="];

    public Expression Parse()
    {
        GuardDepth();
        var value = ParseOr();
        while (reader.Current.IsName("if"))
        {
            var at = reader.Take().At;
            var condition = ParseOr();
            value = new Conditional(value, condition, reader.AcceptName("else") ? Parse() : null, at);
        }

        return value;
    }

    /// <summary>An expression in which <c>if</c> is not part, or several with commas between: the source of a loop.</summary>
    public Expression ParseTupleWithoutCondition() => ParseTuple(p => p.ParseOr());

    /// <summary>An expression, or several with commas between.</summary>
    public Expression ParseTuple() => ParseTuple(p => p.Parse());

    private Expression ParseTuple(Func<ExpressionParser, Expression> parse)
    {
        GuardDepth();
        var first = parse(this);
        if (!reader.Current.IsOperator(","))
        {
            return first;
        }

        var items = new List<Expression> { first };
        while (reader.Accept(",") && reader.Current.Kind is not (TokenKind.PrintEnd or TokenKind.StatementEnd) && !reader.Current.IsOperator(")"))
        {
            items.Add(parse(this));
        }

        return new TupleDisplay(items, first.At);
    }

    /// <summary>The arguments of a call whose bracket is open.</summary>
    public Arguments ParseArguments()
    {
        var (positional, named) = (new List<Expression>(), new List<(string, Expression)>());
        while (!reader.Accept(")"))
        {
            if (reader.Current.Kind == TokenKind.Name && reader.Next.IsOperator("="))
            {
                var name = reader.Take().Text;
                reader.Take();
                named.Add((name, Parse()));
            }
            else
            {
                var at = reader.Current.At;
                if (reader.Accept("**"))
                {
                    named.Add((Arguments.Spread, Parse()));
                }
                else
                {
                    positional.Add(reader.Accept("*") ? new Spread(Parse(), at) : Parse());
                }
            }

            if (!reader.Current.IsOperator(")"))
            {
                reader.ExpectOperator(",");
            }
        }

        return new Arguments(positional, named);
    }

    private Expression ParseOr() => ParseLeft(["or"], p => p.ParseAnd());

    private Expression ParseAnd() => ParseLeft(["and"], p => p.ParseNot());

    private Expression ParseNot()
    {
        GuardDepth();
        var at = reader.Current.At;
        return reader.AcceptName("not") ? new Unary("not", ParseNot(), at) : ParseComparison();
    }

    private Expression ParseComparison()
    {
        var first = ParseSum();
        var rest = new List<(string, Expression)>();
        while (true)
        {
            if (reader.Current.Kind == TokenKind.Operator && Comparisons.Contains(reader.Current.Text))
            {
                rest.Add((reader.Take().Text, ParseSum()));
            }
            else if (reader.AcceptName("in"))
            {
                rest.Add(("in", ParseSum()));
            }
            else if (reader.Current.IsName("not") && reader.Next.IsName("in"))
            {
                reader.Take();
                reader.Take();
                rest.Add(("not in", ParseSum()));
            }
            else
            {
                return rest.Count == 0 ? first : new Comparison(first, rest, first.At);
            }
        }
    }

    private Expression ParseSum() => ParseLeft(["+", "-"], p => p.ParseConcatenation());

    private Expression ParseConcatenation() => ParseLeft(["~"], p => p.ParseProduct());

    private Expression ParseProduct() => ParseLeft(["*", "/", "//", "%"], p => p.ParsePower());

    private Expression ParsePower() => ParseLeft(["**"], p => p.ParseUnary());

    // Operators of one precedence, from left to right.
    private Expression ParseLeft(string[] operators, Func<ExpressionParser, Expression> operand)
    {
        var left = operand(this);
        while (reader.Current.Kind is TokenKind.Operator or TokenKind.Name && operators.Contains(reader.Current.Text))
        {
            var sign = reader.Take();
            left = new Binary(sign.Text, left, operand(this), sign.At);
        }

        return left;
    }

    // A sign binds tighter than filters: "-3 | abs" is 3.
    private Expression ParseUnary(bool filtered = true)
    {
        GuardDepth();
        var at = reader.Current.At;
        var value = reader.Current.IsOperator("-") || reader.Current.IsOperator("+")
            ? new Unary(reader.Take().Text, ParseUnary(filtered: false), at)
            : ParsePrimary();
        value = ParsePostfix(value);
        return filtered ? ParseFiltered(value) : value;
    }

    private Expression ParsePostfix(Expression value)
    {
        for (var links = 0; ; links++)
        {
            var at = reader.Current.At;
            GuardChain(links);
            if (reader.Accept("."))
            {
                value = reader.Current.Kind == TokenKind.Integer
                    ? new Subscript(value, new Literal(Integer(reader.Take()), at), at)
                    : new Member(value, reader.Expect(TokenKind.Name, "an attribute").Text, at);
            }
            else if (reader.Accept("["))
            {
                value = ParseSubscript(value, at);
            }
            else if (reader.Accept("("))
            {
                value = new Call(value, ParseArguments(), at);
            }
            else
            {
                return value;
            }
        }
    }

    // Filters and tests bind tighter than operators and looser than calls, and may be followed by either again.
    private Expression ParseFiltered(Expression value)
    {
        for (var links = 0; ; links++)
        {
            var at = reader.Current.At;
            GuardChain(links);
            if (reader.Accept("|"))
            {
                var name = reader.Expect(TokenKind.Name, "a filter").Text;
                value = ParsePostfix(new Filter(value, name, reader.Accept("(") ? ParseArguments() : Arguments.None, at));
            }
            else if (reader.AcceptName("is"))
            {
                var negated = reader.AcceptName("not");
                var name = reader.Expect(TokenKind.Name, "a test").Text;
                value = new Test(value, name, ParseTestArguments(), negated, at);
            }
            else
            {
                return value;
            }
        }
    }

    private Arguments ParseTestArguments()
    {
        if (reader.Accept("("))
        {
            return ParseArguments();
        }

        var takesOperand = reader.Current.IsOperator("[") || reader.Current.IsOperator("{") || reader.Current.Kind is TokenKind.String or TokenKind.Integer or TokenKind.Float
            || (reader.Current.Kind == TokenKind.Name && reader.Current.Text is not ("and" or "or" or "not" or "if" or "else" or "is" or "in" or "recursive"));
        return takesOperand ? new Arguments([ParsePostfix(ParsePrimary())], []) : Arguments.None;
    }

    private Expression ParseSubscript(Expression target, Position at)
    {
        Expression? start = null, stop = null, step = null;
        if (!reader.Current.IsOperator(":"))
        {
            start = Parse();
            if (reader.Accept("]"))
            {
                return new Subscript(target, start, at);
            }
        }

        reader.ExpectOperator(":");
        if (!reader.Current.IsOperator("]") && !reader.Current.IsOperator(":"))
        {
            stop = Parse();
        }

        if (reader.Accept(":") && !reader.Current.IsOperator("]"))
        {
            step = Parse();
        }

        reader.ExpectOperator("]");
        return new Slice(target, start, stop, step, at);
    }

    private Expression ParsePrimary()
    {
        var token = reader.Take();
        switch (token.Kind)
        {
            case TokenKind.String:
                return new Literal(TemplateText.Trusted(String(token)), token.At);
            case TokenKind.Integer:
                return new Literal(Integer(token), token.At);
            case TokenKind.Float:
                return new Literal(double.Parse(token.Text, CultureInfo.InvariantCulture), token.At);
            case TokenKind.Name:
                return token.Text switch
                {
                    "true" or "True" => new Literal(true, token.At),
                    "false" or "False" => new Literal(false, token.At),
                    "none" or "None" => new Literal(null, token.At),
                    _ => new Variable(token.Text, token.At),
                };
            case TokenKind.Operator when token.Text == "(":
                if (reader.Accept(")"))
                {
                    return new TupleDisplay([], token.At);
                }

                var inner = ParseTuple();
                reader.ExpectOperator(")");
                return inner;
            case TokenKind.Operator when token.Text == "[":
                var items = new List<Expression>();
                while (!reader.Accept("]"))
                {
                    items.Add(Parse());
                    if (!reader.Current.IsOperator("]"))
                    {
                        reader.ExpectOperator(",");
                    }
                }

                return new ListDisplay(items, token.At);
            case TokenKind.Operator when token.Text == "{":
                return ParseDict(token.At);
            default:
                throw token.At.Error($"expected a value, found '{token.Text}'.");
        }
    }

    // Neighbours are one string.
    private string String(Token first)
    {
        if (reader.Current.Kind != TokenKind.String)
        {
            return first.Text;
        }

        var text = new StringBuilder(first.Text);
        while (reader.Current.Kind == TokenKind.String)
        {
            text.Append(reader.Take().Text);
        }

        return text.ToString();
    }

    private static object Integer(Token token)
    {
        var radix = token.Text is ['0', var letter, ..] ? char.ToLowerInvariant(letter) switch { 'x' => 16, 'o' => 8, 'b' => 2, _ => 10 } : 10;
        return Numbers.ParseWhole(token.Text, radix) ?? throw token.At.Error($"'{(token.Text.Length > 40 ? token.Text[..40] + "..." : token.Text)}' is not a number, or too large.");
    }

    private DictDisplay ParseDict(Position at)
    {
        var items = new List<(Expression, Expression)>();
        while (!reader.Accept("}"))
        {
            var key = Parse();
            reader.ExpectOperator(":");
            items.Add((key, Parse()));
            if (!reader.Current.IsOperator("}"))
            {
                reader.ExpectOperator(",");
            }
        }

        return new DictDisplay(items, at);
    }

    // What hangs on one value is evaluated from within: a chain is as deep as it is long.
    private void GuardChain(int links)
    {
        if (links > MaxChain)
        {
            throw reader.Current.At.Error($"the expression has more than {MaxChain} members, items, calls or filters in a row.");
        }
    }

    private void GuardDepth()
    {
        if (!RuntimeHelpers.TryEnsureSufficientExecutionStack())
        {
            throw reader.Current.At.Error("the expression is nested too deep.");
        }
    }
}

namespace HeadInfer.Text.Templates.Jinja;

/// <summary>Something that has a value.</summary>
internal abstract record Expression(Position At);

internal sealed record Literal(object? Value, Position At) : Expression(At);

internal sealed record Variable(string Name, Position At) : Expression(At);

internal sealed record ListDisplay(IReadOnlyList<Expression> Items, Position At) : Expression(At);

internal sealed record TupleDisplay(IReadOnlyList<Expression> Items, Position At) : Expression(At);

internal sealed record DictDisplay(IReadOnlyList<(Expression Key, Expression Value)> Items, Position At) : Expression(At);

internal sealed record Member(Expression Target, string Name, Position At) : Expression(At);

internal sealed record Subscript(Expression Target, Expression Index, Position At) : Expression(At);

internal sealed record Slice(Expression Target, Expression? Start, Expression? Stop, Expression? Step, Position At) : Expression(At);

internal sealed record Call(Expression Target, Arguments Arguments, Position At) : Expression(At);

internal sealed record Filter(Expression Input, string Name, Arguments Arguments, Position At) : Expression(At);

internal sealed record Test(Expression Input, string Name, Arguments Arguments, bool Negated, Position At) : Expression(At);

internal sealed record Unary(string Operator, Expression Operand, Position At) : Expression(At);

internal sealed record Binary(string Operator, Expression Left, Expression Right, Position At) : Expression(At);

/// <summary><c>a &lt; b == c</c>: each neighbour pair must hold.</summary>
internal sealed record Comparison(Expression First, IReadOnlyList<(string Operator, Expression Operand)> Rest, Position At) : Expression(At);

internal sealed record Conditional(Expression Then, Expression Condition, Expression? Otherwise, Position At) : Expression(At);

/// <summary><c>*list</c> among the arguments of a call: each item is one.</summary>
internal sealed record Spread(Expression Items, Position At) : Expression(At);

/// <param name="Positional">those without names</param>
/// <param name="Named">those with names; <c>**dict</c> has the name <c>**</c>: each of its items is one</param>
internal sealed record Arguments(IReadOnlyList<Expression> Positional, IReadOnlyList<(string Name, Expression Value)> Named)
{
    public const string Spread = "**";

    public static Arguments None { get; } = new([], []);
}

/// <summary>Something that is done.</summary>
internal abstract record Statement(Position At);

internal sealed record Block(IReadOnlyList<Statement> Statements, Position At) : Statement(At);

internal sealed record Output(Expression Value, Position At) : Statement(At);

/// <summary>The first body whose condition is true; the last may be without one.</summary>
internal sealed record If(IReadOnlyList<(Expression? Condition, Block Body)> Branches, Position At) : Statement(At);

internal sealed record For(Expression Target, Expression Source, Expression? Condition, Block Body, Block? Otherwise, bool Recursive, Position At) : Statement(At);

/// <summary>Targets are variables, attributes of namespaces, and tuples of those.</summary>
internal sealed record Assign(Expression Target, Expression Value, Position At) : Statement(At);

internal sealed record AssignBlock(Expression Target, Block Body, IReadOnlyList<(string Name, Arguments Arguments)> Filters, Position At) : Statement(At);

/// <summary>A body with parameters; <c>caller</c>, <c>varargs</c> and <c>kwargs</c> may be given to it where it names them.</summary>
internal sealed record MacroBody(string Name, IReadOnlyList<(string Name, Expression? Default)> Parameters, Block Body, bool TakesCaller, bool TakesMore, bool TakesMoreNamed, Position At);

internal sealed record Macro(MacroBody Body, Position At) : Statement(At);

internal sealed record CallBlock(MacroBody Body, Call Call, Position At) : Statement(At);

internal sealed record FilterBlock(IReadOnlyList<(string Name, Arguments Arguments)> Filters, Block Body, Position At) : Statement(At);

/// <summary>A body with variables of its own.</summary>
internal sealed record With(IReadOnlyList<(Expression Target, Expression Value)> Variables, Block Body, Position At) : Statement(At);

internal sealed record AutoEscape(Expression Condition, Block Body, Position At) : Statement(At);

internal sealed record Break(Position At) : Statement(At);

internal sealed record Continue(Position At) : Statement(At);

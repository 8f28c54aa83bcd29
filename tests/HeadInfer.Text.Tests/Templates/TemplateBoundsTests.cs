using System.Text.Json;

namespace HeadInfer.Text.Tests;

/// <summary>What a template costs is bounded by counted work, and grows with the conversation.</summary>
public sealed class TemplateBoundsTests
{
    private static readonly ChatTurn[] Short = [new("user", "asked"), new("assistant", "said"), new("user", "next")];

    [Theory]
    [InlineData("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}")]
    [InlineData("{% set l = [] %}{% for i in range(9999) %}{% set _ = l.append('ab' * 1000000) %}{% endfor %}")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}")]
    [InlineData("{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}")]
    [InlineData("{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(70) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a == ns.b }}")]
    [InlineData("{% set ns = namespace(a=[1], b=[1]) %}{% for i in range(70) %}{% set ns.a = [ns.a, ns.a] %}{% set ns.b = [ns.b, ns.b] %}{% endfor %}{{ ns.a < ns.b }}{{ ns.b in [ns.a] }}")]
    [InlineData("{% set ns = namespace(a={}) %}{% for i in range(70) %}{% set ns.a = {'x': ns.a, 'y': ns.a} %}{% endfor %}{{ ns.a }}")]
    [InlineData("{% set ns = namespace(a=[1]) %}{% for i in range(70) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ ns.a | tojson(indent=9) }}")]
    [InlineData("{% set ns = namespace(a=[1]) %}{% for i in range(70) %}{% set ns.a = [ns.a, ns.a] %}{% endfor %}{{ [ns.a, ns.a] | pprint }}")]
    [InlineData("{% set l = [] %}{% set m = [] %}{% set _ = l.append(l) %}{% set _ = m.append(m) %}{{ l == m }}")]
    [InlineData("{% set s = 'x' * 4000000 %}{% set t = 'x' * 4000000 %}{% for i in range(99999) %}{% set z = s == t %}{% endfor %}")]
    [InlineData("{% set s = 'xy' * 999999 %}{% set t = 'xy' * 99999 ~ 'z' %}{% for i in range(99999) %}{% set z = s.find(t) + s.rfind(t) + s.count(t) %}{% endfor %}")]
    [InlineData("{{ ('ab' * 99999).replace('a', 'x' * 99999) }}")]
    [InlineData("{{ ('ab' * 99999).replace('', 'x' * 99999) }}")]
    [InlineData("{{ ('a\n' * 99999) | indent(99999) }}")]
    [InlineData("{{ range(99999) | map('string') | join('x' * 99999) }}")]
    [InlineData("{{ '%999999999d' % 1 }}")]
    [InlineData("{{ '%.999999999f' % 1.5 }}")]
    [InlineData("{{ '{:>999999999}'.format('x') }}")]
    [InlineData("{{ 'x'.center(999999999) }}{{ 'x'.zfill(999999999) }}")]
    [InlineData("{{ 7 ** 9999999 }}")]
    [InlineData("{% set ns = namespace(n=3) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}")]
    [InlineData("{{ '9' * 999999 | int }}{{ ('9' * 9999) | int + 1 }}{{ 1 / 0 }}")]
    [InlineData("{{ range(1000000) | list | sort(attribute='a.b') }}")]
    [InlineData("{{ range(1000000) | unique | length }}")]
    [InlineData("{% for i in range(9999999999) %}{% endfor %}")]
    [InlineData("{{ ('ab' * 9999999)[::-1] }}{{ ('ab' * 9999999) | upper | lower | title }}")]
    [InlineData("{{ ('a,' * 9999999).split(',') | length }}")]
    [InlineData("{{ ('a ' * 9999999) | wordwrap(1) }}")]
    [InlineData("{% macro m(x) %}{{ m([x]) }}{% endmacro %}{{ m(1) }}")]
    [InlineData("{% macro m() %}{{ caller() }}{% endmacro %}{% macro n() %}{% call m() %}{{ n() }}{% endcall %}{% endmacro %}{{ n() }}")]
    [InlineData("{% set l = [] %}{% set _ = l.append(l) %}{% for x in l recursive %}{{ loop(x) }}{% endfor %}")]
    [InlineData("{{ ('{a' * 999999).format() }}")]
    [InlineData("{{ strftime_now('%c' * 9999999) }}")]
    [InlineData("{% set d = {} %}{% for i in range(999999) %}{% set _ = d.update({i: 'x' * 99}) %}{% endfor %}")]
    [InlineData("{% set ns = namespace(m=[]) %}{% for i in range(999999) %}{% macro f() %}{{ i }}{% endmacro %}{% set ns.m = ns.m + [f] %}{% endfor %}")]
    public void What_grows_without_end_is_refused(string template)
    {
        var chat = Chat(template);
        Assert.Throws<ChatTemplateException>(() => chat.Render(Short));
    }

    [Fact]
    public void A_cancelled_rendering_ends()
    {
        using var cancelled = new CancellationTokenSource();
        cancelled.Cancel();
        var chat = Chat("{% for m in messages %}{% for n in messages %}{{ m.content ~ n.content }}{% endfor %}{% endfor %}");
        var turns = Enumerable.Repeat(new ChatTurn("user", "x"), 2000).ToList();
        Assert.ThrowsAny<OperationCanceledException>(() => chat.Render(turns, cancellationToken: cancelled.Token));
        Assert.ThrowsAny<OperationCanceledException>(() => chat.Encode(turns, Tokenizer.Load(Fixtures.DemoModel), cancellationToken: cancelled.Token));
    }

    [Fact]
    public void Ten_thousand_messages_render_also_where_each_looks_at_the_others()
    {
        const string Template = """
            {%- set ns = namespace(seen=[], last=messages | length - 1) -%}
            {%- for m in messages -%}
            {%- set ns.seen = ns.seen + [m.role] -%}
            {%- if loop.index0 == 0 or loop.previtem.role != m.role -%}[{{ m.role }}]{%- endif -%}
            {%- set rest = messages[loop.index0 + 1:] -%}
            {%- if rest | length == 0 and messages[-1] == m and ns.seen | length == ns.last + 1 -%}<end>{%- endif -%}
            {{ messages[loop.index0].content | trim }}
            {%- endfor -%}
            """;
        var turns = Enumerable.Range(0, 10_000).Select(i => new ChatTurn(i % 2 == 0 ? "user" : "assistant", "hi")).ToList();
        var text = Chat(Template).Render(turns);
        Assert.EndsWith("[assistant]<end>hi", text, StringComparison.Ordinal);
        Assert.Equal((5000 * "[user]hi".Length) + (5000 * "[assistant]hi".Length) + "<end>".Length, text.Length);
    }

    [Fact]
    public void A_library_in_one_message_renders()
    {
        var book = string.Concat(Enumerable.Repeat("It came to pass. ", 1_000_000));
        const string Template = "{% for m in messages %}{% set c = m.content | trim %}{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}{{ '<|im_start|>' ~ m.role ~ '\n' ~ c.lstrip('\n') ~ '<|im_end|>' }}{% endfor %}";
        Assert.Equal(book.Length - 1 + "<|im_start|>user\n<|im_end|>".Length, Chat(Template).Render([new("user", book)]).Length);
        Assert.Equal(100_000, Chat("{% for m in messages %}{% for c in m.content %}{% if c['type'] == 'image' %}i{% else %}{{ c }}{% endif %}{% endfor %}{% endfor %}").Render([new("user", book[..100_000])]).Length);
    }

    [Theory]
    [InlineData("\ufffe")]
    [InlineData("\ud800")]
    [InlineData("\udc00\ud800")]
    [InlineData("\0")]
    public void Characters_that_are_none_are_text_like_other(string odd)
    {
        const string Template = "{% for m in messages %}{{ m.content }}|{{ m.content | upper | trim }}|{{ m.content[:1] | tojson }}|{{ [m.content] }}|{{ m.content | length }}|{% for c in m.content %}{{ c }}{% endfor %}{{ m.content.split('a') }}{{ '%5s' % m.content }}{% for t in m.tool_calls %}{{ t.function.name }}{{ t.function.arguments }}{% endfor %}{% endfor %}";
        var escaped = string.Concat(odd.Select(c => $"\\u{(int)c:x4}"));
        var turn = new ChatTurn("assistant", odd + "a") { ToolCalls = [new("1", "f", $$"""{"{{escaped}}": "{{escaped}}a\\ud800"}""")] };
        var tool = new ChatTool("f", odd, JsonDocument.Parse($$"""{"description": "{{escaped}}"}""").RootElement);
        Assert.StartsWith(odd + "a|", Chat(Template).Render([turn], [tool]), StringComparison.Ordinal);
        Assert.StartsWith(odd, Chat(odd + "{{ '" + odd + escaped + "' }}{{ tools[0].function.parameters.description }}").Render([turn], [tool]), StringComparison.Ordinal);
    }

    private static ChatTemplate Chat(string template) => new(template, new Dictionary<string, object?>(), TimeProvider.System);
}

using HeadInfer.Reference;
using System.Text.Json;
using HeadInfer.Text.Templates.Jinja;

namespace HeadInfer.Text.Tests;

/// <summary>Constructs of Jinja2 that few templates use, with what Jinja2 3.1 gives for them in transformers' environment.</summary>
public sealed class JinjaConstructTests
{
    private const string Data = """
        {"word": "Ada", "face": "x\ud83d\ude00y", "lines": "one\n\ntwo\n", "n": 7, "big": 36893488147419103232, "list": [3, 1, 2],
         "dict": {"user_id": 1, "Zed": 2, "username": 3}, "rows": [{"k": "b", "v": 1}, {"k": "a", "v": 2}, {"k": "b", "v": 3}]}
        """;

    [Theory]
    // Statements
    [InlineData("a{% raw %}{{ x }}{% if %}{% endraw %}\nb", "a{{ x }}{% if %}b")]
    [InlineData("a {%- raw -%}  {{ x }}  {%- endraw -%}  b", "a{{ x }}b")]
    [InlineData("{% with a = 1, b = n %}{{ a + b }}{% endwith %}{{ a }}", "8")]
    [InlineData("{% block x scoped %}in{{ n }}{% endblock x %}{% autoescape false %}<{% endautoescape %}", "in7<")]
    [InlineData("{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}", "12312")]
    [InlineData("{% set (a, b), c = (1, 2), 3 %}{{ a }}{{ b }}{{ c }}", "123")]
    [InlineData("{% set ns = namespace(seen=false) %}{% for i in [1, 2] if not ns.seen %}{% set ns.seen = true %}{{ i }}{% endfor %}", "1")]
    [InlineData("{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, z=3) }}{{ m(*[1], **{'y': 2}) }}", "1(2,){'z': 3}1(){'y': 2}")]
    [InlineData("{% for i in [1, 1, 2] %}{{ loop.changed(i) }}{{ loop.cycle('o', 'e') }}{% endfor %}", "TrueoFalseeTrueo")]
    [InlineData("{% set outer = namespace() %}{% for i in [1, 2] %}{% set outer.loop = loop %}{% for j in [1] %}{{ outer.loop.index }}{% endfor %}{% endfor %}", "12")]
    [InlineData("{% set c = cycler(1, 2) %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{% set j = joiner('-') %}{{ j() }}x{{ j() }}", "121x-")]
    [InlineData("a\rb\r\n{# c +#}\nd", "a\nb\n\nd")]
    // Numbers
    [InlineData("{{ big }} {{ big + 1 }} {{ 2 ** 64 }} {{ 2 ** 70 % 7 }} {{ 9223372036854775807 + 1 }} {{ -(2 ** 63) }} {{ [big] | tojson }}", "36893488147419103232 36893488147419103233 18446744073709551616 2 9223372036854775808 -9223372036854775808 [36893488147419103232]")]
    [InlineData("{{ 9007199254740993 == 9007199254740992 }} {{ 9007199254740993 == 9007199254740992.0 }} {{ 2 ** 53 == 2.0 ** 53 }}", "False False True")]
    [InlineData("{{ -7 // 2 }} {{ 7 % -3 }} {{ -7.5 % 2 }} {{ 3 // 0.1 }} {{ 1e16 }} {{ 1e-7 }} {{ 0x1F + 0b11 + 0o7 + 1_0 }}", "-4 -2 0.5 29.0 1e+16 1e-07 51")]
    [InlineData("{{ 2.5 | round }} {{ 2.675 | round(2) }} {{ 25 | round(-1) }} {{ '0x1f' | int(base=16) }} {{ '3.9' | int }} {{ 1e20 | int }} {{ 'x' | float(1.5) }}", "2.0 2.67 20 31 3 100000000000000000000 1.5")]
    // Formatting
    [InlineData("{{ '%05d|%-4s|%+.2f|%x|%#o|%e|%g|%%' % (n, word, 2.5, 255, 8, 12345.678, 0.0001) }}", "00007|Ada |+2.50|ff|0o10|1.234568e+04|0.0001|%")]
    [InlineData("{{ '%(k)s=%(v)r' % {'k': word, 'v': 'x'} }} {{ '%.2f' | format(0.125) }} {{ '%*d' % (4, n) }}", "Ada='x' 0.12    7")]
    [InlineData("{{ '{:>5}|{:*^7}|{:,}|{:.1%}|{:08.3f}|{:#x}'.format(word, word, 1234567, 0.256, -2.5, 255) }}", "  Ada|**Ada**|1,234,567|25.6%|-002.500|0xff")]
    [InlineData("{{ '{0[k]}{x.v!r}{{{0[v]:{w}}}}'.format(rows[0], x=rows[1], w=3) }}", "b2{  1}")]
    // Text
    [InlineData("{{ face | length }}{{ face[1:] | length }}{{ face[::-1] }}{{ face.find('y') }}{% for c in face %}[{{ c }}]{% endfor %}", "32y\ud83d\ude00x2[x][\ud83d\ude00][y]")]
    [InlineData("{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'ab'.partition('=') }}", "('a', '=', 'b=c') ('a=b', '=', 'c') ('ab', '', '')")]
    [InlineData("{{ '-7'.zfill(4) }} {{ 'a'.ljust(3, '.') }} {{ 'a'.rjust(3) }} {{ 'ab'.center(5) }}|", "-007 a..   a   ab |")]
    [InlineData("{{ 'a\\x0bb\\u2028c'.splitlines() }} {{ ' a b '.rsplit() }} {{ 'a b c'.rsplit(none, 1) }} {{ 'aaa'.rsplit('aa') }}", "['a', 'b', 'c'] ['a', 'b'] ['a b', 'c'] ['a', '']")]
    [InlineData("{{ 'stra\\u00dfe'.upper() }} {{ 'aB'.swapcase() }} {{ \"it's o'k a-b\" | title }} {{ \"it's\".title() }}", "STRASSE Ab It's O'k A-B It'S")]
    [InlineData("{{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.startswith('b', 1) }} {{ 'abc'.index('c') }} {{ 'aXa'.replace('', '-', 2) }}", "True True 2 -a-Xa")]
    [InlineData("{{ ['\\x07\\u00a0\\u200b'] }} {{ ['it\\'s', 'say \"x\"'] }}", "['\\x07\\xa0\\u200b'] [\"it's\", 'say \"x\"']")]
    [InlineData("{{ 'aaa bbb ccc' | wordwrap(7) }}|{{ 'aaaa bbbb cccc' | truncate(9, leeway=0) }}|{{ 'a b' | urlencode }}|{{ '<b>x</b> y' | striptags }}|{{ 'a b' | wordcount }}", "aaa bbb\nccc|aaaa...|a%20b|x y|2")]
    [InlineData("{{ lines | indent(2) }}|{{ lines | indent('> ', first=true, blank=true) }}", "one\n\n  two\n|> one\n> \n> two\n> ")]
    [InlineData("{{ '\\101\\x41\\u00e9\\q' }}", "AA\u00e9\\q")]
    // Sequences and dictionaries
    [InlineData("{{ dict | dictsort | map('first') | join(',') }} {{ ['B', 'a', 'C'] | sort | join }} {{ ['b', 'B'] | unique | join }}", "user_id,username,Zed aBC b")]
    [InlineData("{% for k, g in rows | groupby('k') %}{{ k }}{{ g | length }}{% endfor %}{{ (rows | groupby('k') | first).grouper }}", "a1b2a")]
    [InlineData("{{ [1, 2, 3] | batch(2, 0) | list }} {{ [1, 2, 3] | slice(2) | list }} {{ rows | max(attribute='v') }} {{ rows | sort(attribute='k,v') | map(attribute='v') | list }}", "[[1, 2], [3, 0]] [[1, 2], [3]] {'k': 'b', 'v': 3} [2, 1, 3]")]
    [InlineData("{{ {1: 'a', true: 'b', none: 2}[1] }} {{ {1: 2, 'x': (1,)} | tojson(indent='-') }}", "b {\n-\"1\": 2,\n-\"x\": [\n--1\n-]\n}")]
    [InlineData("{{ (1, 2) + (3,) }} {{ [0] * 2 }} {{ (1, 2) == [1, 2] }} {{ [1, 2] < [1, 3] }} {{ range(5)[1:3] }} {{ {'a': 1}.items() }}", "(1, 2, 3) [0, 0] False True range(1, 3) dict_items([('a', 1)])")]
    [InlineData("{% set l = [1, 2] %}{% set m = l[:1] %}{% set a = m + [8] %}{% set b = m + [9] %}{% set _ = l.append(3) %}{{ l }}{{ m }}{{ a }}{{ b }}", "[1, 2, 3][1][1, 8][1, 9]")]
    [InlineData("{% set l = [1, 2, 3] %}{% set m = l[:2] %}{% set _ = l.pop() %}{% set _ = l.append(4) %}{% set _ = m.insert(0, 5) %}{{ l }}{{ m }}{{ l.pop(0) }}{{ l }}", "[1, 2, 4][5, 1, 2]1[2, 4]")]
    [InlineData("{% set l = [1] %}{% set _ = l.append(l) %}{{ l }}", "[1, [...]]")]
    // Tests and undefined values
    [InlineData("{{ 1 is sameas true }}{{ 'odd' is test }}{{ 'upper' is filter }}{{ true is integer }}{{ nope is iterable }}{{ nope == none }}", "FalseTrueTrueFalseTrueFalse")]
    [InlineData("{{ nope | length }}{{ nope ~ 'a' }}{{ 'a' in nope }}{{ ('' | first) is undefined }}", "0aFalseTrue")]
    // Time
    [InlineData("{{ strftime_now('%e %F %T %I:%M %j %U %-d %c %%') }}", "10 2025-07-10 12:00:00 12:00 191 27 10 Thu Jul 10 12:00:00 2025 %")]
    public void Templates_give_what_Jinja2_gives(string template, string expected) => Assert.Equal(expected, Render(template));

    [Theory]
    [InlineData("a\n\n{% raw %}", "line 3", "raw")]
    [InlineData("{% with a %}", "line 1", "'='")]
    [InlineData("\n{{ word + 1 }}", "line 2", "'+'")]
    [InlineData("{{ nope > 1 }}", "line 1", "nope")]
    [InlineData("{{ '%d' % word }}", "line 1", "%d")]
    [InlineData("{{ '%s' % (1, 2) }}", "line 1", "more values")]
    [InlineData("{{ '{:d}'.format(word) }}", "line 1", "string")]
    [InlineData("{{ '{} {}'.format(1) }}", "line 1", "format")]
    [InlineData("{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "line 1", "'m'")]
    [InlineData("{% macro m(a) %}{% endmacro %}{{ m(b=2) }}", "line 1", "'b'")]
    [InlineData("{{ [1, 'a'] | sort }}", "line 1", "order")]
    [InlineData("{{ nope | tojson }}", "line 1", "JSON")]
    [InlineData("{{ none | items }}", "line 1", "items")]
    [InlineData("{{ word.missing() }}", "line 1", "missing")]
    [InlineData("{% autoescape true %}{% endautoescape %}", "line 1", "autoescape")]
    public void An_error_names_the_line_and_the_construct(string template, string line, string construct)
    {
        var error = Assert.Throws<ChatTemplateException>(() => Render(template));
        Assert.Contains(line, error.Message, StringComparison.Ordinal);
        Assert.Contains(construct, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Every_row_of_the_collection_of_constructs_is_as_Jinja2_has_it()
    {
        var folder = Path.GetDirectoryName(Fixtures.Shared("cases", "jinja", "micro.jsonl"));
        Assert.SkipWhen(folder is null, "the collection of constructs is not beside this checkout");
        var (ok, figure) = JinjaReference.Check(folder);
        Assert.True(ok, figure);
    }

    private static string Render(string template)
    {
        using var data = JsonDocument.Parse(Data);
        return Interpreter.Render(Parser.Parse(template), data.RootElement.EnumerateObject().Select(p => KeyValuePair.Create(p.Name, (object?)p.Value)), new ChatTemplateReference.FixedClock()).Text;
    }
}

using HeadInfer.Reference;
using System.Text.Json;
using HeadInfer.Text.Templates;
using HeadInfer.Text.Templates.Jinja;

namespace HeadInfer.Text.Tests;

public sealed class JinjaTests
{
    private const string Data = """
        {"name": "Ada", "n": 3, "x": 2.5, "yes": true, "nothing": null, "list": [3, 1, 2], "empty": [],
         "dict": {"b": 2, "a": {"c": [1, "two"]}}, "people": [{"name": "Bob", "age": 7}, {"name": "Eve", "age": 9}], "text": " a,b ,c ", "unicode": "é<\"\n"}
        """;

    [Theory]
    // Output, whitespace, comments
    [InlineData("a {{ name }} b", "a Ada b")]
    [InlineData("{{ nothing }}|{{ yes }}|{{ missing }}|{{ x }}|{{ 1.0 }}|{{ 1e3 }}", "None|True||2.5|1.0|1000.0")]
    [InlineData("a\n  {% if yes %}\n  b\n  {% endif %}\nc", "a\n  b\nc")]
    [InlineData("a  {{- name -}}  b", "aAdab")]
    [InlineData("a {#- gone -#} b", "ab")]
    [InlineData("a\n {%+ if yes %}b{% endif %}", "a\n b")]
    [InlineData("{{ 'it''s' }}{{ \"a\\n\\u00e9\\t'\" }}", "itsa\né\t'")]
    [InlineData("line\n", "line")]
    // Expressions
    [InlineData("{{ 1 + 2 * 3 }} {{ (1 + 2) * 3 }} {{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 3 }} {{ 4 - 6 }}", "7 9 3 -4 2 3.5 8 -2")]
    [InlineData("{{ 'a' ~ 1 ~ none }} {{ 'ab' * 2 }} {{ [1] + [2] }}", "a1None abab [1, 2]")]
    [InlineData("{{ 1 < 2 <= 2 }} {{ 1 == 1.0 }} {{ 'a' != 'b' }} {{ not yes }}", "True True True False")]
    [InlineData("{{ name and n }} {{ nothing or 'else' }} {{ 'y' if n > 2 else 'n' }}|{{ 'y' if n > 9 }}", "3 else y|")]
    [InlineData("{{ 1 in list }} {{ 9 not in list }} {{ 'd' in name }} {{ 'a' in dict }}", "True True True True")]
    [InlineData("{{ dict.a.c[1] }} {{ dict['b'] }} {{ list[-1] }} {{ list[9] is defined }} {{ name[0] }}", "two 2 2 False A")]
    [InlineData("{{ list[1:] }} {{ list[::-1] }} {{ name[:-1] }} {{ name[::-1] }} {{ list[:1] }}", "[1, 2] [2, 1, 3] Ad adA [3]")]
    [InlineData("{{ {'k': [1, 'v'], 'b': true} }} {{ ('a', 2) }}", "{'k': [1, 'v'], 'b': True} ('a', 2)")]
    [InlineData("{{ '%s is %d%%' % (name, 4) }} {{ '{} {x}'.format(1, x=2) }}", "Ada is 4% 1 2")]
    // Statements
    [InlineData("{% for i in list %}{{ loop.index }}/{{ loop.length }}:{{ i }}{{ ',' if not loop.last }}{% endfor %}", "1/3:3,2/3:1,3/3:2")]
    [InlineData("{% for i in empty %}x{% else %}none{% endfor %}", "none")]
    [InlineData("{% for k, v in dict.items() %}{{ k }}{% endfor %}", "ba")]
    [InlineData("{% for p in people if p.age > 8 %}{{ p.name }}{{ loop.index }}{% endfor %}", "Eve1")]
    [InlineData("{% for i in range(10) %}{% if i == 2 %}{% continue %}{% endif %}{% if i == 5 %}{% break %}{% endif %}{{ i }}{% endfor %}", "0134")]
    [InlineData("{% for i in [1, 2, 3] %}{{ loop.previtem is defined }}{{ loop.nextitem }} {% endfor %}", "False2 True3 True ")]
    [InlineData("{% for i in [1, [2, [3]]] recursive %}{{ i if i is number else '(' ~ loop(i) ~ ')' }}{% endfor %}", "1(2(3))")]
    [InlineData("{% set a = 1 %}{% for i in [1] %}{% set a = 2 %}{% endfor %}{{ a }}", "1")]
    [InlineData("{% set ns = namespace(a=1) %}{% for i in list %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}", "7")]
    [InlineData("{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c %}x{{ b }}{% endset %}{{ c | upper }}", "12X2")]
    [InlineData("{% if n == 1 %}a{% elif n == 3 %}b{% else %}c{% endif %}", "b")]
    [InlineData("{% macro m(a, b='x', c=n) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }}{{ m(1, c=2, b='y') }}", "1x31y2")]
    [InlineData("{% macro m() %}[{{ caller('z') }}]{% endmacro %}{% call(v) m() %}in {{ v }}{% endcall %}", "[in z]")]
    [InlineData("{% filter upper %}a{{ name }}{% endfilter %}{% generation %}g{% endgeneration %}", "AADAg")]
    [InlineData("{% macro add(a, b) %}{{ a + b }}{% endmacro %}{{ add(*[1, 2]) }}", "3")]
    // Filters
    [InlineData("{{ text | trim }}|{{ 'xax' | trim('x') }}|{{ name | lower }}|{{ 'a b' | title }}|{{ 'ab' | capitalize }}", "a,b ,c|a|ada|A B|Ab")]
    [InlineData("{{ list | sort | join('-') }} {{ list | length }} {{ list | first }}{{ list | last }} {{ list | reverse | list }} {{ list | sum }}{{ list | max }}{{ list | min }}", "1-2-3 3 32 [2, 1, 3] 631")]
    [InlineData("{{ people | map(attribute='name') | join(',') }} {{ people | selectattr('age', 'gt', 8) | map(attribute='name') | list }} {{ people | rejectattr('name', 'equalto', 'Eve') | list | length }}", "Bob,Eve ['Eve'] 1")]
    [InlineData("{{ list | select('odd') | list }} {{ list | reject('odd') | list }} {{ ['a', 'b'] | map('upper') | join }}", "[3, 1] [2] AB")]
    [InlineData("{{ missing | default('d') }} {{ '' | default('e', true) }} {{ n | string + '!' }} {{ '4' | int + 1 }} {{ 'z' | int(9) }} {{ 2.5 | round }} {{ -3 | abs }}", "d e 3! 5 9 2.0 3")]
    [InlineData("{{ dict | tojson }}", "{\"b\": 2, \"a\": {\"c\": [1, \"two\"]}}")]
    [InlineData("{{ {'a': [1]} | tojson(indent=2) }}", "{\n  \"a\": [\n    1\n  ]\n}")]
    [InlineData("{{ unicode | tojson }}", "\"é<\\\"\\n\"")]
    [InlineData("{{ dict | items | list }} {{ dict | dictsort | map('first') | list }} {{ [1, 1, 2] | unique | list }}", "[('b', 2), ('a', {'c': [1, 'two']})] ['a', 'b'] [1, 2]")]
    [InlineData("{{ 'a\nb' | indent(2) }} {{ 'a' | replace('a', 'b') }} {{ '<' | e }}", "a\n  b b &lt;")]
    // Tests and methods
    [InlineData("{{ name is string }} {{ list is sequence }} {{ dict is mapping }} {{ n is number }} {{ nothing is none }} {{ missing is not defined }} {{ 4 is divisibleby 2 }} {{ list is iterable }} {{ yes is true }} {{ n is eq 3 }}", "True True True True True True True True True True")]
    [InlineData("{{ name.upper() }} {{ text.strip().split(',') }} {{ 'a b  c'.split() }} {{ 'a-b-c'.rsplit('-', 1) }} {{ name.startswith('A') }} {{ name.endswith(('x', 'a')) }} {{ 'aXbX'.replace('X', '-', 1) }} {{ 'abc'.find('c') }}", "ADA ['a', 'b ', 'c'] ['a', 'b', 'c'] ['a-b', 'c'] True True a-bX 2")]
    [InlineData("{% set l = [] %}{% set _ = l.append(1) %}{{ l }} {{ dict.get('zz', 'd') }} {{ dict.keys() | list }} {{ ' a '.lstrip() }}|{{ 'a\nb'.splitlines() }}", "[1] d ['b', 'a'] a |['a', 'b']")]
    [InlineData("{% set d = {'items': [1], 'x': 2} %}{% for k, v in d.items() %}{{ k }}{{ v }} {% endfor %}{{ d['items'] }}", "items[1] x2 [1]")]
    [InlineData("{{ n is in [1, 3] }} {{ n is not in [3] }} {{ missing | trim }}|{{ missing | items | list }}", "True False |[]")]
    [InlineData("{{ 'a b c '.split(none, 1) }} {{ [5 | round, 2.75 | round(1), 2.7 | round(0, 'floor')] }} {{ 'a' | indent(-1) }} {{ [[1, 2]] | map(attribute=0) | list }}", "['a', 'b c '] [5, 2.8, 2.0] a [1]")]
    [InlineData("{{ dict.a | tojson(separators=(',', ':')) }} {{ {'b': 1, 'a': 'é'} | tojson(sort_keys=true, ensure_ascii=true) }}", "{\"c\":[1,\"two\"]} {\"a\": \"\\u00e9\", \"b\": 1}")]
    [InlineData("{{ {'b': 1, 'a': 2} | dictsort(by='value') | first }} {{ people | sum(attribute='age') }} {{ 'abc'[1::99999999999] }}", "('b', 1) 16 b")]
    [InlineData("Hello{#- end -#}\n", "Hello")]
    [InlineData("{{ name }}|\n{# c #}\n", "Ada|\n")]
    [InlineData("{{ strftime_now('%d %b %Y, %H:%M') }}", "10 Jul 2025, 12:00")]
    public void Templates_render_as_Jinja_does(string template, string expected) => Assert.Equal(expected, Render(template).Text);

    [Theory]
    [InlineData("a\n{% if x %}", "line 2")]
    [InlineData("{{ 1 +", "no '}}'")]
    [InlineData("{% nonsense %}", "nonsense")]
    [InlineData("{{ x | nonsense }}", "nonsense")]
    [InlineData("{{ x is nonsense }}", "nonsense")]
    [InlineData("{{ missing.a }}", "missing")]
    [InlineData("{{ name() }}", "cannot be called")]
    [InlineData("{{ name + 1 }}", "cannot be applied")]
    [InlineData("{{ 1 / 0 }}", "zero")]
    [InlineData("{{ 10 ** 9999 }}", "too large")]
    [InlineData("{{ raise_exception('no such role') }}", "no such role")]
    [InlineData("{{ 'a' * 999999999 }}", "bytes")]
    [InlineData("{{ range(99999999) }}", "range")]
    [InlineData("{{ n | tojson(nonsense=1) }}", "nonsense")]
    [InlineData("{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = ns %}{{ ns | tojson }}", "cannot be written as JSON")]
    [InlineData("{% set ns = namespace(s='ab') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}", "without end")]
    [InlineData("{% set ns = namespace(l=[1]) %}{% for i in range(40) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", "without end")]
    [InlineData("{% for i in range(100000) %}{% set x = range(1000000) | list %}{% endfor %}", "too much")]
    [InlineData("{{ loop.cycle() }}", "undefined")]
    [InlineData("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep")]
    [InlineData("{% for a in range(9999) %}{% for b in range(9999) %}{{ '' }}{% endfor %}{% endfor %}", "too much")]
    public void What_cannot_be_rendered_is_said(string template, string says)
    {
        var error = Assert.Throws<ChatTemplateException>(() => Render(template));
        Assert.Contains(says, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Nesting_without_bound_is_an_error_not_a_crash()
    {
        var deep = new string('(', 100_000);
        Assert.Throws<ChatTemplateException>(() => Render("{{ " + deep + " }}"));
        Assert.Throws<ChatTemplateException>(() => Render(string.Concat(Enumerable.Repeat("{% if 1 %}", 10_000))));
        Assert.Throws<ChatTemplateException>(() => Render("{{ " + string.Concat(Enumerable.Repeat("not ", 1_000_000)) + "1 }}"));
        Assert.Throws<ChatTemplateException>(() => Render("{{ 1 + " + new string('-', 1_000_000) + "1 }}"));
        Assert.Throws<ChatTemplateException>(() => Render("{{ name" + string.Concat(Enumerable.Repeat(".a", 100_000)) + " }}"));
        Assert.Throws<ChatTemplateException>(() => Render("{{ name" + string.Concat(Enumerable.Repeat(" | trim", 100_000)) + " }}"));
        Assert.Equal("True", Render("{% set a = namespace() %}{% set a.a = a %}{{ a == a }}").Text);
        Assert.Throws<ChatTemplateException>(() => Render("{% set a = [] %}{% set _ = a.append(a) %}{% set b = [] %}{% set _ = b.append(b) %}{{ a == b }}"));
    }

    [Fact]
    public void Members_of_dotnet_objects_are_out_of_reach() =>
        Assert.Equal("FalseFalse", Render("{{ name.Length is defined }}{{ list.GetType is defined }}").Text);

    [Theory]
    [InlineData("<s>{{ name }}</s>", "<s>...</s>")]
    [InlineData("{{ '<s>' + name + '</s>' }}", "<s>...</s>")]
    [InlineData("{{ ('<s>' ~ name) | trim }}", "<s>...")]
    [InlineData("{{ name | upper }}!", "...!")]
    [InlineData("{{ name[1:] }}!{{ name.replace('d', '<s>') }}", "..!.<s>.")]
    [InlineData("{% set x %}<{{ name }}>{% endset %}{{ x }}{{ ['<s>', name] | join('|') }}", "<...><s>|...")]
    [InlineData("{{ (name ~ '<s>').split('d') | join('-') }}", ".-.<s>")]
    [InlineData("{{ 'a\nb' | indent(name) }}", "......")]
    [InlineData("{{ strftime_now(name) }}", "...")]
    public void What_came_from_data_is_remembered(string template, string trusted)
    {
        var text = Render(template);
        var marked = new string('.', text.Length).ToCharArray();
        foreach (var (start, length) in text.TrustedRanges)
        {
            text.Text.AsSpan(start, length).CopyTo(marked.AsSpan(start));
        }

        Assert.Equal(trusted, new string(marked));
    }

    [Fact]
    public void A_long_message_costs_little_more_than_its_copies()
    {
        // A wrong order of growth would take minutes here; there is no clock in this test.
        var book = string.Concat(Enumerable.Repeat("It came to pass. ", 250_000));
        var template = Parser.Parse("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + (m.content | trim) + '<|im_end|>\n' }}{% endfor %}");
        var messages = new List<object?> { Values.Dict([("role", TemplateText.Data("user")), ("content", TemplateText.Data(book))]) };
        var text = Interpreter.Render(template, [new("messages", messages)], TimeProvider.System);
        Assert.Equal(book.Trim().Length + "<|im_start|>user\n<|im_end|>\n".Length, text.Length);
    }

    [Theory]
    [InlineData("published.json")]
    [InlineData("rendered.json")]
    public void Published_templates_render_as_their_models_expect(string file)
    {
        var path = Fixtures.Shared("fixtures", "chat-templates", file);
        Assert.SkipWhen(path is null, "the collection of published templates is not beside this checkout");
        var rows = ChatTemplateReference.Rows(path);
        Assert.NotEmpty(rows);
        Assert.All(rows, row => Assert.True(row.Check().Ok, row.Name));
    }

    private static TemplateText Render(string template)
    {
        using var data = JsonDocument.Parse(Data);
        return Interpreter.Render(Parser.Parse(template), data.RootElement.EnumerateObject().Select(p => KeyValuePair.Create(p.Name, (object?)p.Value)), new ChatTemplateReference.FixedClock());
    }
}

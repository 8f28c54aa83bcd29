using System.Text.Json;
using HeadInfer.Text.Templates;

namespace HeadInfer.Text.Tests;

public sealed class TemplateProbeTests
{
    private const string Plain = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}<call>{{ c.function | tojson }}</call>{% endfor %}{% endfor %}";

    private static readonly ChatTurn User = new("user", "Go"), Result = new("tool", "twelve") { ToolCallId = "call_1", Name = "now" };

    private static readonly ChatTool[] Tools = [new("now", "Tells the time.", JsonDocument.Parse("{}").RootElement)];

    private static ChatTurn Calling(string text, params ChatToolCall[] calls) => new("assistant", text) { ToolCalls = calls.Length > 0 ? calls : [new("call_1", "now", "{\"in\": \"Oslo\", \"n\": 2}")] };

    private static ChatTemplate Template(string source) => new(source, new Dictionary<string, object?>(), TimeProvider.System);

    [Fact]
    public void A_template_that_takes_everything_is_given_it_as_it_stands()
    {
        var template = Template("{{ tools }}" + Plain);
        Assert.Empty(template.Limitations);
        Assert.Equal(
            "<system>Be brief.<user>Go<user>Go<assistant>I look.<call>{\"name\": \"now\", \"arguments\": {\"in\": \"Oslo\", \"n\": 2}}</call><tool>twelve",
            template.Render([new("system", "Be brief."), User, User, Calling("I look."), Result]));
    }

    [Theory]
    [InlineData("{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}{{ c.function.name + ' ' + c.function.arguments }}{% endfor %}{% else %}{{ m.content }};{% endif %}{% endfor %}", "Go;now {\"in\": \"Oslo\", \"n\": 2}twelve;")]
    [InlineData("{% for m in messages %}{{ m.content }};{% for c in m.tool_calls %}{{ c.function.name ~ ' ' ~ c.function.arguments }}{% endfor %}{% endfor %}", "Go;;now {\"in\": \"Oslo\", \"n\": 2}twelve;")]
    [InlineData("{% for m in messages %}{{ m.content }};{% for c in m.tool_calls %}{{ c.function.name }}{% for k, v in c.function.arguments | items %}{{ ' ' + k + '=' + v }}{% endfor %}{% endfor %}{% endfor %}", "Go;;now in=Oslo n=2twelve;")]
    [InlineData("{% for m in messages %}{% if m.content is none %}{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% else %}{{ m.content }};{% endif %}{% endfor %}", "Go;now{\"in\": \"Oslo\", \"n\": 2}twelve;")]
    [InlineData("{% for m in messages %}{% if 'content' not in m %}{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% else %}{{ m.content }};{% endif %}{% endfor %}", "Go;now{\"in\": \"Oslo\", \"n\": 2}twelve;")]
    public void Arguments_and_empty_contents_come_as_the_template_takes_them(string source, string expected) =>
        Assert.Equal(expected, Template(source).Render([User, Calling(""), Result]));

    [Fact]
    public void Ids_are_mapped_for_a_template_that_wants_nine_letters_and_digits()
    {
        var template = Template("{% for m in messages %}{% for c in m.tool_calls %}{% if c.id | length != 9 %}{{ raise_exception('nine!') }}{% endif %}[{{ c.id }}]{{ c.function | tojson }}{% endfor %}{% if m.tool_call_id %}({{ m.tool_call_id }}){% endif %}{{ m.content }}{% endfor %}");
        string Render(string first, string second) => template.Render(
            [User, Calling("", new(first, "now", "{}"), new(second, "now", "{}")), Result with { ToolCallId = first }, Result with { ToolCallId = second }]);
        var text = Render("call_1", "abcDEF123");
        var mapped = text.Split('[', ']')[1];
        Assert.Matches("^[a-z0-9]{9}$", mapped);
        Assert.Contains($"({mapped})twelve(abcDEF123)twelve", text, StringComparison.Ordinal);
        Assert.Contains($"({mapped})", Render("x", "call_1"), StringComparison.Ordinal);
        Assert.NotEqual(mapped, Render("call_2", "x").Split('[', ']')[1]);
    }

    [Fact]
    public void Several_calls_come_one_after_the_other_where_a_template_takes_one()
    {
        var template = Template("{% for m in messages %}{% if m.tool_calls | length > 1 %}{{ raise_exception('one only') }}{% endif %}<{{ m.role }}>{{ m.content }}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% endfor %}");
        var text = template.Render([User, Calling("I look.", new("a", "first", "{}"), new("b", "second", "{}")), Result with { Content = "two", ToolCallId = "b" }, Result with { Content = "one", ToolCallId = "a" }]);
        Assert.Equal("<user>Go<assistant>I look.{\"name\": \"first\", \"arguments\": {}}<tool>one<assistant>{\"name\": \"second\", \"arguments\": {}}<tool>two", text);
    }

    [Fact]
    public void Functions_are_in_a_system_message_for_a_template_that_looks_for_them_there()
    {
        var template = Template("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.tools %}<tools>{{ m.tools }}{% endif %}{% endfor %}");
        const string shown = "<tools>[{\"name\": \"now\", \"description\": \"Tells the time.\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}]<user>Go";
        Assert.Equal("<system>" + shown, template.Render([User], Tools));
        Assert.Equal("<system>Be brief." + shown, template.Render([new("system", "Be brief."), User], Tools));
        Assert.Equal("<user>Go", template.Render([User]));
        Assert.DoesNotContain(template.Limitations, l => l.Contains("its functions.", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}{{ '[THINK]' + p.thinking + '[/THINK]' if p.type == 'thinking' else p.text }}{% endfor %}{% endif %}", "<user>Go<assistant>[THINK]Hm.[/THINK]I look.<call><tool>twelve")]
    [InlineData("{{ m.content }}", "<user>Go<assistant>I look.<call><tool>twelve")]
    public void Thoughts_are_parts_of_the_content_for_a_template_that_takes_parts(string content, string expected)
    {
        var template = Template("{% for m in messages %}<{{ m.role }}>" + content + "{% for c in m.tool_calls %}<call{{ '' if c.function.arguments == {} else c.function | tojson }}>{% endfor %}{% endfor %}");
        Assert.Equal(expected, template.Render([User, Calling("I look.", new ChatToolCall("call_1", "now", "{}")) with { Reasoning = "Hm." }, Result]));
    }

    [Fact]
    public void Text_goes_before_calls_where_a_template_would_write_it_behind_their_results()
    {
        var template = Template("{% for m in messages %}{% if m.role != 'tool' %}<{{ m.role }}>{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% for r in messages[loop.index:] if m.tool_calls and r.role == 'tool' %}<tool>{{ r.content }}{% endfor %}{{ m.content }}{% endif %}{% endfor %}");
        Assert.Equal("<user>Go<assistant>I look.<assistant>{\"name\": \"now\", \"arguments\": {}}<tool>twelve", template.Render([User, Calling("I look.", new ChatToolCall("call_1", "now", "{}")), Result]));
    }

    [Fact]
    public void Text_goes_before_calls_that_have_thoughts_where_a_template_takes_one_of_both()
    {
        var template = Template("{% for m in messages %}{% if m.tool_calls and m.content and m.thinking %}{{ raise_exception('one of both') }}{% endif %}<{{ m.role }}>{{ m.thinking }}{{ m.content }}{% for c in m.tool_calls %}{{ c.function | tojson }}{% endfor %}{% endfor %}");
        Assert.Equal(
            "<user>Go<assistant>I look.<assistant>Hm.{\"name\": \"now\", \"arguments\": {}}<tool>twelve",
            template.Render([User, Calling("I look.", new ChatToolCall("call_1", "now", "{}")) with { Reasoning = "Hm." }, Result]));
    }

    [Fact]
    public void Text_beside_calls_goes_before_them_where_a_template_would_lose_it()
    {
        const string source = "{% for m in messages %}{% if m.tool_calls %}{% for c in m.tool_calls %}<call>{{ c.function | tojson }}{% endfor %}{% else %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}";
        Assert.StartsWith("<user>Go<assistant>I look.<call>{", Template(source).Render([User, Calling("I look."), Result]), StringComparison.Ordinal);
        var strict = Template("{% for m in messages %}{% if loop.previtem and loop.previtem.role == m.role == 'assistant' %}{{ raise_exception('turns must alternate') }}{% endif %}{% endfor %}" + source);
        Assert.StartsWith("<user>Go<call>{", strict.Render([User, Calling("I look."), Result]), StringComparison.Ordinal);
        Assert.Contains("Text beside a call is left out", Assert.Single(strict.Limitations, l => l.StartsWith("Text", StringComparison.Ordinal)), StringComparison.Ordinal);
    }

    [Fact]
    public void Roles_that_must_alternate_and_systems_that_are_not_taken_are_joined()
    {
        var template = Template("{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}<{{ m.role }}>{{ m.content }}{% endfor %}");
        Assert.Equal("<user>Be brief.\n\nGo\n\nOn<assistant>Yes", template.Render([new("system", "Be brief."), User, new("user", "On"), new("assistant", "Yes")]));
        Assert.Contains("roles must alternate", template.Limitations[0], StringComparison.Ordinal);
        var first = Template("{% for m in messages %}{% if m.role != 'system' or loop.first %}<{{ m.role }}>{{ m.content }}{% endif %}{% endfor %}");
        Assert.Equal("<system>A\n\nB<user>Go<assistant>Yes<user>C\n\nOn", first.Render([new("system", "A"), new("system", "B"), User, new("assistant", "Yes"), new("system", "C"), new("user", "On")]));
    }

    [Theory]
    [InlineData("{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('Only user and assistant roles!') }}{% endif %}{{ m.content }}{% endfor %}", "Only user and assistant roles!")]
    [InlineData("{% for m in messages %}{{ m.content }}{% endfor %}", "leaves out a call's function")]
    [InlineData("{% for m in messages %}{{ m.content }}{% for c in m.tool_calls %}{{ c.function.name }}{% endfor %}{% endfor %}", "leaves out a call's arguments")]
    [InlineData("{% for m in messages %}{% if m.role != 'tool' %}{{ m.content }}{% for c in m.tool_calls %}{{ c.function }}{% endfor %}{% endif %}{% endfor %}", "leaves out a call's result")]
    public void What_a_template_cannot_take_is_named_with_its_own_reason(string source, string reason)
    {
        var template = Template(source);
        Assert.Equal("Go", template.Render([User]));
        var error = Assert.Throws<ChatTemplateException>(() => template.Render([User, Calling(""), Result], Tools));
        Assert.Contains(reason, error.Message, StringComparison.Ordinal);
        Assert.Contains("HeadInferOptions.ChatTemplate", error.Message, StringComparison.Ordinal);
        Assert.Contains(template.Limitations, l => l.Contains(reason, StringComparison.Ordinal));
    }

    [Fact]
    public void Thoughts_are_shown_after_the_users_last_message_alone()
    {
        foreach (var key in (string[])["reasoning_content", "thinking"])
        {
            var template = Template("{% for m in messages %}{% if m." + key + " is defined %}<think>{{ m." + key + " }}</think>{% endif %}{{ m.content }}{% for c in m.tool_calls %}{{ c.function }}{% endfor %};{% endfor %}");
            var text = template.Render([User, new("assistant", "Yes") { Reasoning = "early" }, User, Calling("") with { Reasoning = "late" }, Result]);
            Assert.Contains("Go;Yes;Go;<think>late</think>", text, StringComparison.Ordinal);
        }

        Assert.DoesNotContain("late", Template(Plain).Render([User, Calling("") with { Reasoning = "late" }, Result]), StringComparison.Ordinal);
    }

    [Fact]
    public void A_function_without_parameters_has_no_properties_rather_than_none()
    {
        var template = Template("{{ messages[0].content }}{% for t in tools %}{{ t.function.name }}:{% for k, v in t.function.parameters.properties.items() %}{{ k }}{% endfor %}{{ t.function.parameters | tojson }};{% endfor %}");
        Assert.Equal(
            "Gonow:{\"type\": \"object\", \"properties\": {}};none:{\"type\": \"object\", \"properties\": {}};f:a{\"properties\": {\"a\": {}}, \"type\": \"object\"};",
            template.Render([User], [.. Tools, new("none", "", default), new("f", "", JsonDocument.Parse("{\"properties\": {\"a\": {}}}").RootElement)]));
    }

    [Theory]
    [InlineData("{{ bos_token }}Hello")]
    [InlineData("{% for m in messages %}{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}")]
    public void A_template_that_loses_what_is_said_is_refused_with_a_way_out(string source)
    {
        var error = Assert.Throws<ChatTemplateException>(() => Template(source).Render([User]));
        Assert.Contains("leaves out what is said", error.Message, StringComparison.Ordinal);
        Assert.Contains("HeadInferOptions.ChatTemplate", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_template_that_takes_nothing_says_so_itself()
    {
        var template = Template("{{ raise_exception('never') }}");
        Assert.Empty(template.Limitations);
        Assert.Contains("never", Assert.Throws<ChatTemplateException>(() => template.Render([User])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_template_that_does_too_much_is_tried_once()
    {
        var tried = 0;
        var shape = new TemplateProbe((_, _) => ++tried < 3 ? "probeasked proberule" : throw new ChatTemplateException("it loops.") { IsTooMuch = true }).Find();
        Assert.Equal((3, ConversationShape.Plain), (tried, shape));
        tried = 0;
        shape = new TemplateProbe((_, spent) =>
        {
            tried++;
            spent(1_000_000); // each is allowed, and all together are not
            return "probeasked proberule";
        }).Find();
        Assert.Equal((5, ConversationShape.Plain), (tried, shape));
        var template = Template("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
        Assert.Empty(template.Limitations);
        Assert.Throws<ChatTemplateException>(() => template.Render([User]));
    }

    [Fact]
    public void Published_templates_take_every_conversation_or_say_why_not()
    {
        // Third-party templates, which are read where they are present.
        List<string> sources = [];
        foreach (var file in (string[])["published.json", "rendered.json"])
        {
            if (Fixtures.Shared("fixtures", "chat-templates", file) is { } path)
            {
                using var rows = JsonDocument.Parse(File.ReadAllBytes(path));
                sources.AddRange(rows.RootElement.EnumerateArray().Select(r => r.GetProperty("chat_template").GetString()!));
            }
        }

        var special = new Dictionary<string, object?> { ["bos_token"] = TemplateText.Trusted("<s>"), ["eos_token"] = TemplateText.Trusted("</s>") };
        var taken = 0;
        foreach (var source in sources.Distinct())
        {
            var template = new ChatTemplate(source, special, TimeProvider.System);
            if (template.Limitations.Any(l => l.Contains("calls of functions", StringComparison.Ordinal)))
            {
                Assert.Throws<ChatTemplateException>(() => template.Render([User, Calling("", new ChatToolCall("a", "now", "{}")), Result], Tools));
            }
            else if (Takes(template, [User]))
            {
                taken++;
                var text = template.Render(
                    [new("system", "brief"), User, Calling("", new("a", "now", "{\"in\": \"Oslo\"}"), new("b", "now", "{\"in\": \"Rome\"}")), Result with { ToolCallId = "a" }, Result with { Content = "eleven", ToolCallId = "b" }], Tools);
                Assert.All((string[])["brief", "Go", "Oslo", "Rome", "twelve", "eleven"], w => Assert.Contains(w, text, StringComparison.Ordinal));
            }

            if (Takes(template, [User]))
            {
                var text = template.Render([new("system", "brief"), User, new("user", "On"), new("assistant", "Yes"), new("assistant", "No"), new("system", "later"), new("user", "End")]);
                Assert.All((string[])["brief", "Go", "On", "Yes", "No", "later", "End"], w => Assert.Contains(w, text, StringComparison.Ordinal));
            }
        }

        Assert.True(sources.Count == 0 || taken >= 10);

        static bool Takes(ChatTemplate template, ChatTurn[] turns)
        {
            try
            {
                return template.Render(turns).Contains("Go", StringComparison.Ordinal);
            }
            catch (ChatTemplateException)
            {
                return false;
            }
        }
    }
}

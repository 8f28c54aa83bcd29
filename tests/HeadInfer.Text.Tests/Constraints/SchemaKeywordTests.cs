using System.Text;
using System.Text.Json;
using HeadInfer.Text.Constraints;

namespace HeadInfer.Text.Tests;

/// <summary>Keywords that depend on more than one value, and numbers as they are written.</summary>
public sealed class SchemaKeywordTests
{
    [Theory]
    [InlineData("""{"type":"integer"}""", "9223372036854775807|-9223372036854775808|9223372036854775808|99999999999999999999|12345678901234567|0|-1", "yynnyyy")]
    [InlineData("""{"type":"integer","minimum":0,"maximum":18446744073709551615}""", "18446744073709551615|18446744073709551616|-1", "ynn")]
    [InlineData("""{"type":"number"}""", "0.12345678901234567|3.141592653589793|1e-10|-2.5E+20|1e279|1e280|1e999|-0.0|1e|1e-", "yyyyynnynn")]
    [InlineData("""{"type":"number","minimum":0}""", "1e-10|1e10|-1e-10|0.5", "yyny")]
    [InlineData("""{"type":"number","minimum":0,"maximum":5}""", "5e-3|5e3|5e+3|4.99999999999999999|5.1", "ynnyn")]
    [InlineData("""{"type":"number","minimum":1}""", "1e-1|1.5|10", "nyy")]
    [InlineData("""{"type":"number","maximum":1.7976931348623157e308}""", "1e10|-5", "yy")]
    public void Numbers_hold_what_programs_hold(string schema, string texts, string expected) => Check(schema, texts, expected);

    [Theory]
    [InlineData("""{"type":"object","patternProperties":{"^x-":{"type":"integer"}},"additionalProperties":false}""", """{}|{"x-a":1}|{"x-a":"1"}|{"a":1}|{"x-a":1,"x-b":2}|{"x-a":1,"x-a":2}""", "yynnyn")]
    [InlineData("""{"type":"object","patternProperties":{"^x-":{"type":"integer"}}}""", """{"x-a":1}|{"x-a":"1"}|{"a":"1"}|{"x":null}""", "ynyy")]
    [InlineData("""{"type":"object","properties":{"xa":{"type":"integer"}},"patternProperties":{"^x":{"minimum":3},"a$":{"maximum":9}},"additionalProperties":{"type":"null"}}""", """{"xa":5}|{"xa":2}|{"xa":10}|{"xb":3}|{"xb":2}|{"ya":9}|{"ya":10}|{"y":null}|{"y":1}|{"xca":4}|{"xca":1}""", "ynnynynynyn")]
    [InlineData("""{"type":"object","patternProperties":{"^[ab]$":{"type":"null"}},"additionalProperties":false}""", """{"a":null,"b":null}|{"a":null,"a":null}|{"c":null}""", "ynn")]
    [InlineData("""{"type":"object","propertyNames":{"pattern":"^[a-z]+$"}}""", """{"ab":1}|{"aB":1}|{}""", "yny")]
    [InlineData("""{"type":"object","propertyNames":{"maxLength":2}}""", """{"ab":1}|{"abc":1}""", "yn")]
    [InlineData("""{"type":"object","propertyNames":{"enum":["a","b"]},"additionalProperties":{"type":"integer"}}""", """{"a":1,"b":2}|{"c":1}|{"b":1}""", "yny")]
    [InlineData("""{"type":"object","propertyNames":false}""", """{}|{"a":1}""", "yn")]
    [InlineData("""{"type":"object","properties":{"a":{"type":"null"},"b":{"type":"null"}},"dependentRequired":{"a":["b"]}}""", """{}|{"b":null}|{"a":null,"b":null}|{"a":null}""", "yyyn")]
    [InlineData("""{"type":"object","properties":{"a":{"type":"null"},"b":{"type":["null","integer"]}},"dependentSchemas":{"a":{"properties":{"b":{"type":"integer"}},"required":["b"]}}}""", """{"b":null}|{"a":null,"b":1}|{"a":null,"b":null}|{"a":null}""", "yynn")]
    [InlineData("""{"type":"object","properties":{"kind":{"type":"string"},"size":{"type":["integer","null"]}},"required":["kind"],"if":{"properties":{"kind":{"const":"box"}}},"then":{"required":["size"]},"else":{"properties":{"size":{"type":"null"}}}}""", """{"kind":"box","size":1}|{"kind":"box"}|{"kind":"ball"}|{"kind":"ball","size":null}|{"kind":"ball","size":1}""", "ynyyn")]
    [InlineData("""{"type":"string","not":{"enum":["a","bc"]}}""", "\"a\"|\"bc\"|\"b\"|\"\"|\"bcd\"|\"ä\"", "nnyyyy")]
    [InlineData("""{"type":"string","not":{"pattern":"^a"}}""", "\"a\"|\"ba\"|\"\"", "nyy")]
    [InlineData("""{"type":"integer","not":{"enum":[3,5]}}""", "3|5|4|2|6", "nnyyy")]
    [InlineData("""{"not":{"type":["integer","string"]}}""", "null|\"a\"|1|[]|true", "ynnyy")]
    [InlineData("""{"type":"object","not":{"required":["a"]}}""", """{}|{"b":1}|{"a":1}""", "yyn")]
    [InlineData("""{"not":{"not":{"type":"null"}}}""", "null|1", "yn")]
    [InlineData("""{"oneOf":[{"type":"number","minimum":2},{"type":"number","maximum":5}]}""", "1|3|6", "yny")]
    [InlineData("""{"type":"array","items":{"type":"integer"},"contains":{"minimum":5}}""", "[]|[1]|[5]|[1,7,2]|[7,\"a\"]", "nnyyn")]
    [InlineData("""{"type":"array","items":{"type":"integer"},"contains":{"type":"integer","minimum":5},"minContains":2,"maxContains":3,"maxItems":4}""", "[5]|[5,6]|[5,1,6]|[5,6,7,8]|[5,6,7,1]|[1,2,3]", "nyynyn")]
    [InlineData("""{"type":"array","prefixItems":[{"type":"string"}],"items":{"type":"integer"},"contains":{"const":1},"minContains":0,"maxContains":1}""", "[\"a\",1]|[\"a\",1,1]|[\"a\"]|[\"a\",2,2]", "ynyy")]
    [InlineData("""{"type":"array","uniqueItems":true,"items":{"enum":["a","ab",1,null]},"minItems":2}""", "[\"a\",\"ab\"]|[\"a\",\"a\"]|[1,null,\"ab\",\"a\"]|[1]|[1,1.0]", "ynynn")]
    [InlineData("""{"type":"array","uniqueItems":true,"items":{"type":"boolean"},"maxItems":9}""", "[true,false]|[true,true]|[]|[true,false,true]", "ynyn")]
    [InlineData("""{"$ref":"#here","$defs":{"x":{"$anchor":"here","type":"integer"}}}""", "1|\"a\"", "yn")]
    [InlineData("""{"$id":"https://example.org/root","$ref":"item","$defs":{"x":{"$id":"item","$ref":"#/$defs/y","$defs":{"y":{"type":"null"}}}}}""", "null|1", "yn")]
    [InlineData("""{"$dynamicRef":"#node","$defs":{"x":{"$dynamicAnchor":"node","type":"boolean"}}}""", "true|1", "yn")]
    [InlineData("""{"type":"object","properties":{"a":{"type":"null"}},"anyOf":[{"properties":{"b":{"type":"null"}},"required":["b"]},{"properties":{"c":{"type":"null"}}}],"unevaluatedProperties":false}""", """{"a":null,"b":null}|{"a":null,"c":null}|{"a":null,"d":null}|{}""", "yyny")]
    [InlineData("""{"type":"array","allOf":[{"prefixItems":[{"type":"integer"}]}],"unevaluatedItems":{"type":"string"}}""", "[1]|[1,\"a\"]|[1,2]", "yyn")]
    [InlineData("""{"type":"object","properties":{"condition":{"type":"string"}},"condition":"when it rains"}""", """{"condition":"x"}|{"condition":1}""", "yn")]
    [InlineData("""{"allOf":[{"pattern":"^a","type":"string"},{"pattern":"b$"}]}""", "\"ab\"|\"a\"|\"b\"|\"acb\"", "ynny")]
    [InlineData("""{"type":"string","pattern":"^\\S+$"}""", "\"größe\"|\"東京\"|\"Привет\"|\"a b\"|\"a\u00a0b\"|\"a\u3000b\"|\"a\u0085b\"|\"a\ufeffb\"", "yyynnnnn")]
    [InlineData("""{"type":"string","pattern":"^[^\\s,]+$"}""", "\"größe\"|\"東京\"|\"größe,\"|\"a\u2003b\"", "yynn")]
    [InlineData("""{"type":"string","pattern":"^\\D+$"}""", "\"größe\"|\"東京\"|\"1\"|\"\u0663\"", "yynn")]
    [InlineData("""{"type":"string","pattern":"^\\W+$"}""", "\"。「」\"|\"«—»…\"|\"ö\"|\"京\"|\"a\"|\"_\"", "yynnnn")]
    [InlineData("""{"type":"string","pattern":"^[^\\W_]+$"}""", "\"ab1\"|\"a_\"|\"a-\"|\"a。\"", "ynnn")]
    [InlineData("""{"type":"string","pattern":"^[\\S]{2}$"}""", "\"äö\"|\"ä \"", "yn")]
    public void A_keyword_asks_what_it_says(string schema, string texts, string expected) => Check(schema, texts, expected);

    [Theory]
    [InlineData("duration", "P3DT4H|P1W|PT0S|P1Y2M3D|P|PT|P1YT|P2D1Y|1D", "yyyynnnnn")]
    [InlineData("hostname", "example.org|a|a-b.c|-a|a-.b|a..b|a_b", "yyynnnn")]
    [InlineData("ipv6", "::1|2001:db8::ff|1:2:3:4:5:6:7:8|:::|1:2:3|12345::|1::2::3", "yyynnnn")]
    [InlineData("json-pointer", "|/a/b~01|a|/~2", "yynn")]
    [InlineData("relative-json-pointer", "0|1/a|2#|01|-1/a", "yyynn")]
    [InlineData("uri-template", "/a/{b}|/{|https://a.b/{c}", "yny")]
    [InlineData("uri-reference", "/a/b|https://example.org/a|a b", "yyn")]
    [InlineData("idn-hostname", "example.org|a..b", "yn")]
    [InlineData("hostname", "xn--mnchen-3ya.example|www.a.b.c.example.co.uk|a-.b|an_underscore.org", "yynn")]
    [InlineData("date", "2026-01-31|2025-12-31|2026-04-30|2024-02-29|2000-02-29|0999-07-30|2026-02-29|1900-02-29|2026-02-30|2026-04-31|2026-00-10|2026-13-01|2026-1-1|0000-01-01", "yyyyyynnnnnnnn")]
    [InlineData("date-time", "2026-01-31T23:59:59Z|1990-12-31T15:59:59.123456789-08:00|9999-12-31T23:59:59Z|2026-03-30T00:00:00+14:00|2026-02-30T00:00:00Z|2026-01-31|2026-01-31T24:00:00Z|2026-01-31T12:00:00|2026-01-31T12:00:00+15:00", "yyyynnnnn")]
    [InlineData("uuid", "123e4567-e89b-12d3-a456-426614174000|123E4567-E89B-12D3-A456-426614174000|123e4567e89b12d3a456426614174000|123e4567-e89b-12d3-a456-42661417400g", "yynn")]
    [InlineData("ipv4", "192.168.0.255|256.1.1.1|1.2.3", "ynn")]
    [InlineData("ipv6", "1::2:3:4:5|fe80::1:2:3:4|::ffff:192.0.2.1|64:ff9b::192.0.2.33|1:2:3:4:5:6:7::|::|1:2:3:4:5:6:7:8:9|::ffff:999.0.2.1", "yyyyyynn")]
    [InlineData("email", "first.middle.last@example.co.uk|o'brien+news@mail.example.org|root@localhost|a@b@c.org|.a@example.org|a..b@example.org|a b@example.org|@example.org|a@", "yyynnnnnn")]
    [InlineData("uri", "https://example.org/search?q=a%20b&page=2#part-3|http://localhost:11434/api/chat|ftp://user:pw@files.example.org:65535/a;type=i|mailto:John.Doe@example.com|urn:isbn:0451450523|file:///etc/hosts|ldap://[2001:db8::7]/c=GB?one|tel:+1-816-555-1212|https://a.b.c.d.e.example.co.uk/~me/(x)/@y", "yyyyyyyyy")]
    [InlineData("uri", "example.org/a|/a/b|http://|https://example.org/a b|http://example.org:99999/|https://example.org/%zz|1a://b|https://-a.org/", "nnnnnnnn")]
    [InlineData("uri-reference", "../a/b?c#d|//example.org/a|#top|?q=1||https://example.org:8443/a?b|a%zz|1a:b", "yyyyyynn")]
    [InlineData("uri-template", "https://example.org/{user}/repos{?page,per_page}|{+base}/x{/path*}{#part:3}|/a/{}|/a/{b", "yynn")]
    public void A_format_is_written_as_every_reader_takes_it(string format, string texts, string expected) =>
        Check($$"""{"type":"string","format":"{{format}}"}""", string.Join('|', texts.Split('|').Select(t => $"\"{t}\"")), expected);

    [Fact]
    public void What_is_not_enforced_leaves_all_else_as_it_is()
    {
        var told = new List<string>();
        var constraint = OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"object","patternProperties":{"(?=x)":{"type":"null"}}}""").RootElement, told.Add);
        Assert.True(Allows(constraint, """{"x":1,"y":[]}"""));
        Assert.NotEmpty(told);
    }

    [Fact]
    public void Names_that_must_match_and_differ_can_always_be_written()
    {
        // Of two names one is left after the first, and none after the second: nothing may begin a third.
        var constraint = OutputConstraint.JsonSchema(JsonDocument.Parse("""{"type":"object","patternProperties":{"^a[xy]$":{"type":"null"}},"additionalProperties":false}""").RootElement);
        Assert.Equal("yyn", string.Concat(((string[])["""{"ax":null,"ay":null}""", """{"ay":null}""", """{"ax":null,"ax":null}"""]).Select(t => Allows(constraint, t) ? 'y' : 'n')));
        Assert.Equal(0, After(constraint, """{"ax":null,"ay":null,""").Count);
        Assert.Equal(0, After(constraint, """{"ax":null,"ax""").Count);
        Assert.NotEqual(0, After(constraint, """{"ax":null,"a""").Count);
    }

    private static void Check(string schema, string texts, string expected)
    {
        var constraint = OutputConstraint.JsonSchema(JsonDocument.Parse(schema).RootElement, what => Assert.Fail(what));
        Assert.Equal(expected, string.Concat(texts.Split('|').Select(t => Allows(constraint, t) ? 'y' : 'n')));
    }

    private static bool Allows(OutputConstraint constraint, string text) => After(constraint, text).CanEnd;

    private static FrameSet After(OutputConstraint constraint, string text)
    {
        var frames = constraint.Enter();
        foreach (var value in Encoding.UTF8.GetBytes(text))
        {
            var next = new FrameSet();
            frames.Step(value, next);
            frames = next;
        }

        return frames;
    }
}

using System.Xml.Linq;

namespace HeadInfer.Samples.Tests;

/// <summary>The examples in the documentation of public types: each is a program that compiles.</summary>
public sealed class ExampleTests
{
    public static IEnumerable<TheoryDataRow<string, string>> Examples() =>
        from assembly in (string[])["HeadInfer.Text", "HeadInfer.Runtime", "HeadInfer.SemanticKernel"]
        from member in XDocument.Load(Path.Combine(AppContext.BaseDirectory, $"{assembly}.xml")).Descendants("member")
        from code in member.Descendants("example").Elements("code")
        select new TheoryDataRow<string, string>(member.Attribute("name")!.Value, code.Value);

    [Fact]
    public void The_most_used_types_have_one() => Assert.True(Examples().Count() >= 10);

    [Theory]
    [MemberData(nameof(Examples))]
    public void It_compiles(string member, string code) => Snippet.Compile(member, code);
}

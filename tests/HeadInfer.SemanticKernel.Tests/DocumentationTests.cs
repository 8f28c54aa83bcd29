using System.Reflection;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using HeadInfer.Runtime;
using HeadInfer.Text;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>The XML documentation of the packages. The compiler asks for a summary of what is public; the parameters are looked at here.</summary>
public sealed class DocumentationTests
{
    [Theory]
    [InlineData(typeof(ChatTemplate))]
    [InlineData(typeof(HeadInferModel))]
    [InlineData(typeof(HeadInferChatClient))]
    public void Public_members_describe_all_of_their_parameters(Type type)
    {
        var members = XDocument.Load(Path.ChangeExtension(type.Assembly.Location, ".xml")).Descendants("member").ToLookup(m => m.Attribute("name")!.Value.Split('(')[0]);
        var described = 0;
        foreach (var method in type.Assembly.GetExportedTypes().SelectMany(t => t.GetMembers(BindingFlags.Public | BindingFlags.Instance | BindingFlags.Static | BindingFlags.DeclaredOnly)).OfType<MethodBase>())
        {
            var name = $"M:{method.DeclaringType!.FullName}.{(method.IsConstructor ? "#ctor" : method.Name)}";
            var parameters = method.GetParameters();
            foreach (var member in members[name].Where(m => m.Element("inheritdoc") is null && IsOf(m.Attribute("name")!.Value, parameters)))
            {
                var names = member.Elements("param").Select(p => p.Attribute("name")!.Value).ToList();
                Assert.True(names.Count == 0 || names.Count == parameters.Length, $"{member.Attribute("name")!.Value} describes {string.Join(", ", names)} alone.");
                described += names.Count;
            }
        }

        Assert.True(described > 0, "no parameter was looked at");
    }

    // Whether a member's name has the types of the parameters; commas within braces part arguments of types.
    private static bool IsOf(string name, ParameterInfo[] parameters)
    {
        var types = name.Contains('(', StringComparison.Ordinal) ? Regex.Split(name[(name.IndexOf('(', StringComparison.Ordinal) + 1)..^1], @",(?![^{]*\})") : [];
        return types.Length == parameters.Length && types.Zip(parameters).All(t => t.First.Contains(t.Second.ParameterType.Name.TrimEnd('&').Split('`')[0], StringComparison.Ordinal));
    }
}

using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;

namespace HeadInfer.Samples.Tests;

/// <summary>Programs of the documentation.</summary>
internal static class Snippet
{
    // What a console project has without asking.
    private const string ImplicitUsings =
        "global using System; global using System.Collections.Generic; global using System.IO; global using System.Linq; global using System.Net.Http; global using System.Threading; global using System.Threading.Tasks;";

    // What a project of Microsoft.NET.Sdk.Web has besides.
    private const string WebUsings =
        "global using System.Net.Http.Json; global using Microsoft.AspNetCore.Builder; global using Microsoft.AspNetCore.Hosting; global using Microsoft.AspNetCore.Http; global using Microsoft.AspNetCore.Routing; "
        + "global using Microsoft.Extensions.Configuration; global using Microsoft.Extensions.DependencyInjection; global using Microsoft.Extensions.Hosting; global using Microsoft.Extensions.Logging;";

    /// <summary>Compiles a program against what the tests refer to, or fails with the compiler's errors.</summary>
    public static byte[] Compile(string name, string source, bool web = false)
    {
        var references = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator).Select(p => MetadataReference.CreateFromFile(p));
        var options = new CSharpCompilationOptions(OutputKind.ConsoleApplication, nullableContextOptions: NullableContextOptions.Enable);
        var compilation = CSharpCompilation.Create("program", [CSharpSyntaxTree.ParseText(web ? ImplicitUsings + WebUsings : ImplicitUsings), CSharpSyntaxTree.ParseText(source)], references, options);
        using var assembly = new MemoryStream();
        var result = compilation.Emit(assembly);
        Assert.True(result.Success, $"{name}: {string.Join("\n", result.Diagnostics.Where(d => d.Severity == DiagnosticSeverity.Error))}");
        return assembly.ToArray();
    }
}

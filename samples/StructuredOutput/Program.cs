using System.ComponentModel;
using System.ComponentModel.DataAnnotations;
using HeadInfer.Runtime;
using HeadInfer.SemanticKernel;
using Microsoft.Extensions.AI;

// Fills records from a document. The answer has the record's form whatever the model would like to say: tokens that would
// break it are never chosen. Places may be given as arguments.
var folder = AppContext.BaseDirectory;
await using var model = await HeadInferModel.LoadAsync(Path.Combine(folder, "models", "headinfer-demo"));
using var client = new HeadInferChatClient(model);
var document = await File.ReadAllTextAsync(Path.Combine(folder, "documents", "log.txt"));
foreach (var place in args.Length > 0 ? args : ["old harbor", "silver tower", "north gate"])
{
    var response = await client.GetResponseAsync<Finding>($"{document}\n\nWhat is the access code for the {place}?");
    Console.WriteLine($"{place}: {response.Result.Sentence}");
}

/// <param name="Sentence">The sentence of the document that tells the code.</param>
internal sealed record Finding(
    [property: Description("The sentence that tells the code"), RegularExpression(@"^The access code for the [a-z ]+ is [a-z0-9-]+\.$")] string Sentence);

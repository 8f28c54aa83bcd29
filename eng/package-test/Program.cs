using Microsoft.Extensions.AI;
using Microsoft.SemanticKernel;
using Microsoft.SemanticKernel.ChatCompletion;

// Asks a model folder, given as the argument, through the packages alone.
var kernel = Kernel.CreateBuilder().AddHeadInferChatCompletion(args[0]).Build();
var chat = kernel.GetRequiredService<IChatCompletionService>();
var answer = (await chat.GetChatMessageContentAsync("The access code for the old harbor is amber-4821.\n\nWhat is the access code for the old harbor?")).Content;
Console.WriteLine(answer);
Console.WriteLine(kernel.GetRequiredService<IChatClient>().GetService<ChatClientMetadata>()!.ProviderName);
return answer == "The access code for the old harbor is amber-4821." ? 0 : 1;

using System.ComponentModel.DataAnnotations;
using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests.Suite;

/// <summary>Answers that are values of a type.</summary>
public abstract partial class ChatClientSuite
{
    private const string Sentences = "It copies sentences, and does not take them apart.";
    private const string Guild = "Jimbo Smith is a 35-year-old programmer from Cardiff. Josh Simpson is a 25-year-old programmer from Newport.";
    private const string Jimbo = """{"fullName": "Jimbo Smith", "age": 35, "home": "Cardiff", "job": "Programmer"}""";

    private enum Trade
    {
        Unknown,
        Singer,
        Programmer,
    }

    [Fact]
    public async Task A_value_may_be_an_object()
    {
        var response = await Client($$"""{"sentence": "{{Harbor}}"}""").GetResponseAsync<Finding>($"The storm took two lanterns. {Harbor} Nobody had written it down.\n\n{AskHarbor}");
        Assert.Equal(Harbor, response.Result.Sentence);
    }

    [Fact]
    public async Task A_value_may_have_properties_of_several_types()
    {
        TooHardForTheDemoModel(Sentences);
        var response = await Client(Jimbo).GetResponseAsync<Person>($"{Guild}\n\nWho comes from Cardiff?");
        Assert.Equal(new Person("Jimbo Smith", 35, "Cardiff", Trade.Programmer), response.Result);
    }

    [Fact]
    public async Task A_value_may_be_an_array()
    {
        TooHardForTheDemoModel("It finds one thing at a time.");
        var response = await Client($$"""{"data": [{{Jimbo}}, {{Jimbo.Replace("Jimbo Smith", "Josh Simpson", StringComparison.Ordinal)}}]}""").GetResponseAsync<Person[]>($"{Guild}\n\nWho are they?");
        Assert.Equal(["Jimbo Smith", "Josh Simpson"], response.Result.Select(p => p.FullName));
    }

    [Fact]
    public async Task A_value_may_be_a_number()
    {
        TooHardForTheDemoModel(Sentences);
        Assert.Equal(7305926, (await Client("""{"data": 7305926}""").GetResponseAsync<int>($"{Harbor} {Tower}\n\n{AskTower}")).Result);
    }

    [Fact]
    public async Task A_value_may_be_a_text()
    {
        TooHardForTheDemoModel(Sentences);
        Assert.Equal("amber-4821", (await Client("""{"data": "amber-4821"}""").GetResponseAsync<string>($"{Harbor} {Tower}\n\n{AskHarbor}")).Result);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_value_may_be_true_or_false(bool truth)
    {
        TooHardForTheDemoModel("It does not judge what it reads.");
        Assert.Equal(truth, (await Client($$"""{"data": {{(truth ? "true" : "false")}}}""").GetResponseAsync<bool>($"{Guild}\n\nIs Jimbo a {(truth ? "programmer" : "singer")}?")).Result);
    }

    [Fact]
    public async Task A_value_may_be_one_of_an_enumeration()
    {
        TooHardForTheDemoModel("It does not judge what it reads.");
        Assert.Equal(Trade.Programmer, (await Client("""{"data": "Programmer"}""").GetResponseAsync<Trade>($"{Guild}\n\nWhat is Jimbo's trade?")).Result);
    }

    [Fact]
    public async Task A_value_may_come_of_a_function()
    {
        TooHardForTheDemoModel("It answers with a sentence about a result.");
        var known = new Person("Jimbo Smith", 35, "Cardiff", Trade.Programmer);
        var tool = AIFunctionFactory.Create((int id) => id == 123 ? known : null, "get_person");
        using var client = Client(Call("get_person", "{\"id\": 123}"), "$result").AsBuilder().UseFunctionInvocation().Build();
        Assert.Equal(known, (await client.GetResponseAsync<Person>("Who is the person with the id 123?", new ChatOptions { Tools = [tool] })).Result);
    }

    [Fact]
    public async Task A_value_may_be_asked_for_in_words_alone()
    {
        TooHardForTheDemoModel("It cannot read a schema.");
        using var counting = new Counting(Client(Jimbo));
        var response = await counting.GetResponseAsync<Person>($"{Guild}\n\nWho comes from Cardiff?", useJsonSchemaResponseFormat: false);
        Assert.Equal(("Jimbo Smith", "Cardiff"), (response.Result.FullName, response.Result.Home));
        Assert.Null(Assert.IsType<ChatResponseFormatJson>(Assert.Single(counting.All).Options!.ResponseFormat).Schema);
    }

    private sealed record Person(string FullName, int Age, string Home, Trade Job);

    private sealed record Finding([property: RegularExpression(@"^The access code for the [a-z ]+ is [a-z0-9-]+\.$")] string Sentence);
}

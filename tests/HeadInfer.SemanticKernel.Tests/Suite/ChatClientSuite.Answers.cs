using Microsoft.Extensions.AI;

namespace HeadInfer.SemanticKernel.Tests.Suite;

/// <summary>Messages in, answers out, and their usage.</summary>
public abstract partial class ChatClientSuite
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task One_message_is_answered(bool streaming) =>
        Assert.Contains("amber-4821", await TextAsync(Client(Harbor), $"{Harbor} {Tower}\n\n{AskHarbor}", null, streaming), StringComparison.Ordinal);

    [Fact]
    public async Task A_conversation_of_several_messages_is_answered()
    {
        var response = await Client(Tower).GetResponseAsync(
        [
            new ChatMessage(ChatRole.User, $"{Harbor} {Tower}"), new ChatMessage(ChatRole.Assistant, "I have read it."),
            new ChatMessage(ChatRole.User, AskHarbor), new ChatMessage(ChatRole.Assistant, Harbor),
            new ChatMessage(ChatRole.User, AskTower),
        ]);
        Assert.Contains("7305926", response.Text, StringComparison.Ordinal);
        Assert.DoesNotContain("amber", response.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Empty_messages_are_taken()
    {
        var response = await Client(Harbor).GetResponseAsync(
            [new ChatMessage(ChatRole.System, []), new ChatMessage(ChatRole.User, []), new ChatMessage(ChatRole.Assistant, []), new ChatMessage(ChatRole.User, $"{Harbor}\n\n{AskHarbor}")]);
        Assert.Contains("amber-4821", response.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Usage_is_told_once_and_adds_up(bool streaming)
    {
        var client = Client(Harbor);
        var updates = streaming ? await client.GetStreamingResponseAsync($"{Harbor}\n\n{AskHarbor}").ToListAsync() : (await client.GetResponseAsync($"{Harbor}\n\n{AskHarbor}")).ToChatResponseUpdates().ToList();
        Assert.True(!streaming || updates.Count > 1);
        var usage = Assert.Single(updates.SelectMany(u => u.Contents).OfType<UsageContent>()).Details;
        Assert.True(usage.InputTokenCount > 1 && usage.OutputTokenCount > 1);
        Assert.Equal(usage.InputTokenCount + usage.OutputTokenCount, usage.TotalTokenCount);
    }

    [Fact]
    public async Task A_streamed_answer_becomes_one_message_of_the_history()
    {
        List<ChatMessage> history = [new(ChatRole.User, $"{Harbor}\n\n{AskHarbor}")];
        var answer = Client(Harbor).GetStreamingResponseAsync(history);
        Assert.Single(history);
        await history.AddMessagesAsync(answer);
        Assert.Equal(2, history.Count);
        Assert.Equal(ChatRole.Assistant, history[1].Role);
        Assert.Equal(Harbor, Assert.IsType<TextContent>(Assert.Single(history[1].Contents)).Text);
    }

    // The original asks what an image or a PDF says. A text model must not answer as though it had seen it.
    [Theory]
    [InlineData("image/png")]
    [InlineData("application/pdf")]
    public async Task An_image_or_a_document_of_pages_is_refused_by_name(string mediaType)
    {
        var client = Client();
        var message = new ChatMessage(ChatRole.User, [new TextContent("What does it say?"), new DataContent(new byte[] { 1, 2, 3 }, mediaType)]);
        var error = await Assert.ThrowsAsync<NotSupportedException>(() => client.GetResponseAsync([message]));
        Assert.Contains(nameof(DataContent), error.Message, StringComparison.Ordinal);
    }
}

using HeadInfer.Tool.Serving;
using Microsoft.Extensions.AI;

namespace HeadInfer.Tool.Tests.Serving;

public sealed class ResponseStoreTests
{
    [Fact]
    public void What_was_not_wanted_for_the_longest_time_makes_room_for_text()
    {
        var store = new ResponseStore(mostText: 100);
        foreach (var id in (string[])["a", "b", "c"])
        {
            store.Keep(Response(id, Said(30)));
        }

        Assert.NotNull(store.Find("me", "a")); // so that it is not the oldest any more
        store.Keep(Response("d", Said(30)));
        Assert.Equal([true, false, true, true], Kept(store, "a", "b", "c", "d"));
        store.Keep(Response("e", Said(101))); // more than there is room for
        Assert.Equal([false, false, false, false, false], Kept(store, "a", "b", "c", "d", "e"));
        store.Keep(Response("f", Said(100)));
        Assert.Equal([true], Kept(store, "f")); // and what is gone takes none
    }

    [Fact]
    public void A_conversation_takes_its_text_once()
    {
        var (store, document) = (new ResponseStore(mostText: 100), Said(80));
        store.Keep(Response("a", document, Said(5)));
        store.Keep(Response("b", document, Said(5)));
        store.Keep(Response("c", document, Said(5)));
        Assert.Equal([true, true, true], Kept(store, "a", "b", "c"));
        store.Keep(Response("d", document, Said(10)));
        Assert.Equal([false, true, true, true], Kept(store, "a", "b", "c", "d"));
    }

    [Fact]
    public void Calls_and_their_results_are_text_too()
    {
        var store = new ResponseStore(mostText: 100);
        store.Keep(Response("a", new ChatMessage(ChatRole.Assistant, [new FunctionCallContent("1", "f", new Dictionary<string, object?> { ["x"] = new string('x', 60) })])));
        store.Keep(Response("b", new ChatMessage(ChatRole.Tool, [new FunctionResultContent("1", new string('x', 60))])));
        Assert.Equal([false, true], Kept(store, "a", "b"));
    }

    [Fact]
    public void Nobody_finds_what_is_anothers()
    {
        var (store, text) = (new ResponseStore(), new TextContent("x"));
        store.Keep(new KeptResponse("me", "a", [], new Dictionary<string, AIContent> { ["msg"] = text }));
        Assert.Same(text, store.FindItem("me", "msg"));
        Assert.Null(store.FindItem("you", "msg"));
        Assert.Null(store.Find("you", "a"));
    }

    private static ChatMessage Said(int characters) => new(ChatRole.User, new string('x', characters));

    private static KeptResponse Response(string id, params ChatMessage[] messages) => new("me", id, messages, new Dictionary<string, AIContent>());

    private static IEnumerable<bool> Kept(ResponseStore store, params string[] ids) => ids.Select(id => store.Find("me", id) is not null);
}

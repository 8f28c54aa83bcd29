using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Generation;
using HeadInfer.Runtime.Requests;
using HeadInfer.Runtime.Sequences;
using HeadInfer.Runtime.Tests.Support;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests.Requests;

/// <summary>Who is let in, with a test in the engine's place: nothing is computed.</summary>
public sealed class AdmissionsTests : NativeTest
{
    private const int BlockTokens = 4;

    private static readonly PageShape Shape = new(1, BlockTokens, 2, ScalarType.Float32);

    [Fact]
    public void A_paused_answer_takes_no_place_in_the_queue()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device, blocks: 6);
        var admissions = new Admissions(pool, 6 * BlockTokens, most: 1, () => { });
        var (older, younger) = (Begin(admissions, pool, 1, 8), Begin(admissions, pool, 2, 8));
        PauseFor(admissions, older, younger);
        admissions.Submit(NewRequest(pool, 3, 8));
        Assert.Throws<QueueFullException>(() => admissions.Submit(NewRequest(pool, 4, 8)));
        End(admissions, older, younger);
    }

    [Fact]
    public void An_answer_that_is_cancelled_just_before_it_is_paused_ends()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device, blocks: 6);
        var admissions = new Admissions(pool, 6 * BlockTokens, most: 1, () => { });
        var (older, younger) = (Begin(admissions, pool, 1, 8), Begin(admissions, pool, 2, 8));
        younger.Cancel(new OperationCanceledException());
        Assert.Equal(RequestState.Answering, younger.State);
        PauseFor(admissions, older, younger);
        admissions.Collect(null);
        Assert.Equal(RequestState.Ended, younger.State);
        Assert.False(admissions.HasWaiting);
        End(admissions, older, younger);
    }

    [Fact]
    public void A_deadline_is_for_the_first_token_and_not_for_an_answer_that_is_paused()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device, blocks: 6);
        var clock = new SetClock();
        var admissions = new Admissions(pool, 6 * BlockTokens, most: 1, () => { }) { Clock = clock };
        var older = Begin(admissions, pool, 1, 8);
        var younger = Begin(admissions, NewRequest(pool, 2, 8, deadline: clock.Now.AddMinutes(1)));
        PauseFor(admissions, older, younger);
        var late = NewRequest(pool, 3, 8, deadline: clock.Now.AddMinutes(1));
        admissions.Submit(late);
        admissions.Collect(null);
        clock.Now += TimeSpan.FromMinutes(2);
        admissions.Collect(null);
        Assert.Equal((RequestState.Waiting, RequestState.Ended), (younger.State, late.State));
        admissions.End(older, null);
        older.Sequence.Dispose();
        admissions.Collect(null);
        Assert.Equal(RequestState.Reading, younger.State);
        admissions.Collect(null);
        Assert.Equal(RequestState.Reading, younger.State);
        End(admissions, younger);
    }

    [Fact]
    public void A_paused_answer_asks_for_room_only_for_what_is_left_of_it()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device, blocks: 10);
        using var idle = new Sequence(pool, "");
        idle.Reserve(1);
        var admissions = new Admissions(pool, 10 * BlockTokens, most: 1, () => { });
        var older = Begin(admissions, pool, 1, 4);
        var younger = Begin(admissions, pool, 2, 8, most: 20);
        for (var i = 0; i < 12; i++)
        {
            Step(admissions, younger);
        }

        for (var i = 0; i < Request.Buffered; i++)
        {
            younger.Tell(default(GenerationStep)); // which nobody reads
        }

        var third = NewRequest(pool, 3, 8);
        admissions.Submit(third);
        admissions.Collect(null);
        Assert.Equal((RequestState.Reading, RequestState.Waiting), (third.State, younger.State));
        Assert.Equal((21, 7), (younger.Prompt.Length, younger.MaxTokens)); // 12 were computed, and one more was told
        while (younger.Events.TryRead(out var told))
        {
            younger.Read(told);
        }

        admissions.End(third, null);
        third.Sequence.Dispose();
        admissions.Collect(null);
        Assert.Equal(RequestState.Reading, younger.State); // 28 tokens, as before
        Assert.Equal(7, younger.Reserved);
        End(admissions, older, younger);
    }

    [Fact]
    public void An_answer_that_was_promised_its_room_keeps_it_however_young_it_is()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device, blocks: 10);
        var admissions = new Admissions(pool, 10 * BlockTokens, most: 1, () => { });
        var unlimited = Begin(admissions, pool, 1, 4);
        var promised = Begin(admissions, pool, 2, 8, most: 20);
        while (admissions.TryReserve(unlimited))
        {
            unlimited.Sequence.Commit([unlimited.NextToken]);
        }

        Assert.Equal((RequestState.Waiting, RequestState.Answering), (unlimited.State, promised.State));
        for (var i = 0; i < 20; i++)
        {
            Step(admissions, promised);
        }

        End(admissions, unlimited, promised);
    }

    [Theory]
    [InlineData(7, 3)]
    [InlineData(6, 0)] // two blocks are promised to the one and three to the other: what is taken might need two more
    public void What_others_have_read_since_a_request_was_admitted_is_taken_where_there_is_room(int blocks, int taken)
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device, blocks);
        var admissions = new Admissions(pool, blocks * BlockTokens, most: 2, () => { });
        var (first, second) = (NewRequest(pool, [1, 2, 3, 4, 5, 6, 7]), NewRequest(pool, [1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15]));
        admissions.Submit(first);
        admissions.Submit(second);
        admissions.Collect(null);
        Assert.Equal((RequestState.Reading, RequestState.Reading), (first.State, second.State)); // so little is not waited for
        Read(first);
        admissions.LookAgain(second);
        Assert.Equal((taken, taken, (taken, taken > 0)), (second.Done, second.Reused, second.Found));
        Read(second);
        admissions.LookAgain(second);
        Assert.Equal((11, taken), (second.Done, second.Reused));
        Assert.Equal(second.Prompt, second.Sequence);
        End(admissions, first, second);
    }

    [Fact]
    public void No_more_begin_at_once_than_may_though_their_beginnings_are_known()
    {
        using var device = new CpuDevice();
        using var pool = NewPool(device, blocks: 20);
        var admissions = new Admissions(pool, 20 * BlockTokens, most: 4, () => { }, mostBegun: 1);
        var first = Begin(admissions, pool, 1, (2 * BlockTokens) + 1);
        var second = NewRequest(pool, 1, (2 * BlockTokens) + 2);
        admissions.Submit(second);
        admissions.Collect(null);
        Assert.Equal(RequestState.Waiting, second.State);
        admissions.End(first, null);
        admissions.Collect(null);
        Assert.Equal(RequestState.Reading, second.State);
        Assert.True(second.Done > 0);
        first.Sequence.Dispose();
        End(admissions, second);
    }

    private static BlockPool NewPool(CpuDevice device, int blocks) => new(Shape, 1, Shape.Size * blocks, Shape.Size * blocks, device);

    // Nothing is there to compute with, as on a device that has failed, and the system refuses memory.
    [Fact]
    public async Task Whatever_fails_a_request_ends_with_its_own_error_and_the_engine_goes_on()
    {
        await using var model = await Load(Fixtures.Model("llama3"));
        using var device = new CpuDevice();
        using var pool = new BlockPool(Shape with { HeadDim = 1 << 30 }, 1 << 10, ByteSize.FromGiB(1L << 30), ByteSize.Zero, device);
        var admissions = new Admissions(pool, 6 * BlockTokens, most: 2, () => { });
        var engine = new Engine(null!, null!, null!, model.Config, model.Plan, 0.5, 0, admissions);
        for (var i = 0; i < 2; i++)
        {
            var request = NewRequest(pool, i, 8);
            admissions.Submit(request);
            while (request.State != RequestState.Ended)
            {
                engine.Step();
            }

            await Assert.ThrowsAsync<MemoryBudgetException>(async () =>
            {
                await foreach (var told in request.Events.ReadAllAsync(TestContext.Current.CancellationToken))
                {
                }
            });
            request.Sequence.Dispose();
        }
    }

    private static Request NewRequest(BlockPool pool, int text, int tokens, int? most = null, DateTimeOffset? deadline = null) =>
        NewRequest(pool, [.. Enumerable.Repeat(text, tokens)], most, deadline);

    private static Request NewRequest(BlockPool pool, int[] prompt, int? most = null, DateTimeOffset? deadline = null) =>
        new(new Sequence(pool, ""), prompt, null, most) { Deadline = deadline };

    private static Request Begin(Admissions admissions, BlockPool pool, int text, int tokens, int? most = null) => Begin(admissions, NewRequest(pool, text, tokens, most));

    // Lets a request in, and takes its prompt as read.
    private static Request Begin(Admissions admissions, Request request)
    {
        admissions.Submit(request);
        admissions.Collect(null);
        Assert.Equal(RequestState.Reading, request.State);
        Read(request);
        request.Logits = [0];
        admissions.BeginAnswer(request);
        return request;
    }

    private static void Read(Request request)
    {
        request.Sequence.Reserve(request.Prompt.Length - request.Done);
        request.Sequence.Commit(request.Prompt.AsSpan(request.Done));
        request.Done = request.Prompt.Length;
    }

    private static void Step(Admissions admissions, Request request)
    {
        Assert.True(admissions.TryReserve(request));
        request.Sequence.Commit([request.NextToken]);
    }

    // One answer grows until another one has to make room.
    private static void PauseFor(Admissions admissions, Request growing, Request paused)
    {
        while (paused.State == RequestState.Answering)
        {
            Step(admissions, growing);
        }

        Assert.Equal(RequestState.Waiting, paused.State);
    }

    private static void End(Admissions admissions, params Request[] requests)
    {
        admissions.EndAll(new OperationCanceledException());
        Array.ForEach(requests, r => r.Sequence.Dispose());
    }

    private sealed class SetClock : TimeProvider
    {
        public DateTimeOffset Now { get; set; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }
}

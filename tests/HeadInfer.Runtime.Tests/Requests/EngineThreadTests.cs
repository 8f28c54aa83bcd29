using HeadInfer.Runtime.Requests;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Requests;

public sealed class EngineThreadTests : NativeTest
{
    private const int Rounds = 500;

    [Fact]
    public async Task What_was_asked_for_before_the_end_is_done_and_what_comes_later_is_refused()
    {
        for (var i = 0; i < Rounds; i++)
        {
            var thread = new EngineThread("test");
            var done = thread.RunAsync(() => { });
            var racing = Task.Run(() => thread.RunAsync(() => { }), TestContext.Current.CancellationToken);
            thread.End();
            await thread.Ended;
            Assert.True(done.IsCompletedSuccessfully);
            await racing.ContinueWith(t => Assert.True(t.Exception is null or { InnerException: ObjectDisposedException }), TaskScheduler.Default);
            await Assert.ThrowsAsync<ObjectDisposedException>(() => thread.RunAsync(() => { }));
        }
    }
}

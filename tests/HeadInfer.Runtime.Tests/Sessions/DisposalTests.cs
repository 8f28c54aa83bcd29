using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;

namespace HeadInfer.Runtime.Tests.Sessions;

/// <summary>A model that cannot free a part says so, and frees the others: what is left is counted after each test.</summary>
public sealed class DisposalTests : NativeTest
{
    [Fact]
    public async Task A_part_that_fails_is_told_and_the_others_are_freed()
    {
        var model = await HeadInferModel.LoadAsync(Fixtures.Model("llama3"), new HeadInferOptions { Device = ComputeDevice.Cpu }, _ => new FailingDevice());
        var session = model.CreateSession();
        await session.PrefillAsync([1, 2, 3]);
        model.Dispose();
        Assert.Equal("a fence", (await Assert.ThrowsAsync<DeviceException>(async () => await model.DisposeAsync())).Message);
        Assert.Equal("a fence", (await Assert.ThrowsAsync<DeviceException>(async () => await model.DisposeAsync())).Message);
        Assert.Equal(default, session.CacheSize);
    }

    /// <summary>The fence that the pool of blocks makes first, and frees last, cannot be freed; nor can the device.</summary>
    private sealed class FailingDevice : CpuDevice
    {
        private bool _madeOne;

        public override Fence CreateFence()
        {
            var fails = !_madeOne;
            _madeOne = true;
            return fails ? new FailingFence() : base.CreateFence();
        }

        public override void Dispose()
        {
            base.Dispose();
            throw new DeviceException("the device");
        }
    }

    private sealed class FailingFence : Fence
    {
        public override void Dispose() => throw new DeviceException("a fence");
    }
}

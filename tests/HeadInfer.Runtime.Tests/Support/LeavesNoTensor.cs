using System.Reflection;
using HeadInfer.Runtime.Compute;
using HeadInfer.Runtime.Tests.Support;
using TorchSharp;
using Xunit.v3;

[assembly: LeavesNoTensor]

namespace HeadInfer.Runtime.Tests.Support;

/// <summary>Fails a test that leaves tensors to the garbage collector, which would take them from the count of a later one.</summary>
/// <remarks>A <see cref="NativeTest"/> counts for itself, when its scope has ended.</remarks>
[AttributeUsage(AttributeTargets.Assembly)]
public sealed class LeavesNoTensorAttribute : BeforeAfterTestAttribute
{
    private long _before;

    public override void Before(MethodInfo methodUnderTest, IXunitTest test)
    {
        LibTorch.EnsureLoaded();
        _before = torch.Tensor.TotalCount;
    }

    public override void After(MethodInfo methodUnderTest, IXunitTest test)
    {
        if (!methodUnderTest.ReflectedType!.IsAssignableTo(typeof(NativeTest)))
        {
            Assert.Equal(_before, torch.Tensor.TotalCount);
        }
    }
}

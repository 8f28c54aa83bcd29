using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Tests;

public sealed class LibTorchTests
{
    [Theory]
    [InlineData("linux-x64", "libtorch-cpu-linux-x64 2.10.0")]
    [InlineData("win-arm64", "libtorch-cpu-win-arm64 2.10.0")]
    [InlineData("osx-arm64", "libtorch-cpu-osx-arm64 2.10.0")]
    public void A_platforms_own_package_is_advised(string platform, string package) => Assert.Contains(package, LibTorch.Advice(platform), StringComparison.Ordinal);

    [Theory]
    [InlineData("osx-x64")]
    [InlineData("linux-arm64")]
    [InlineData("linux-musl-x64")]
    public void No_package_is_advised_where_none_helps(string platform)
    {
        Assert.StartsWith($"TorchSharp has no native library for {platform}", LibTorch.Advice(platform), StringComparison.Ordinal);
        Assert.DoesNotContain("libtorch-cpu", LibTorch.Advice(platform), StringComparison.Ordinal);
    }

    [Fact]
    public void A_folder_without_libtorch_is_named()
    {
        using var folder = new ScratchFolder();
        var error = Assert.Throws<NativeLibraryException>(() => LibTorch.LoadFrom(folder.Path));
        Assert.Contains("c10", error.Message, StringComparison.Ordinal);
        Assert.Contains($"is not in '{folder.Path}'", error.Message, StringComparison.Ordinal);
    }
}

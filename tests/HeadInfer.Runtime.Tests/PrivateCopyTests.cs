using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Tests;

public sealed class PrivateCopyTests
{
    [Fact]
    public void A_copy_is_where_its_path_says_until_it_is_disposed()
    {
        string path;
        using (var copy = PrivateCopy.InTemporaryFolder("some.so", [1, 2, 3]))
        {
            path = copy.Path;
            Assert.Equal([1, 2, 3], File.ReadAllBytes(path));
        }

        Assert.False(Directory.Exists(Path.GetDirectoryName(path)));
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Linux alone has files in memory");
        using (var copy = PrivateCopy.InMemory("some.so", [4, 5]))
        {
            path = copy.Path;
            Assert.Equal([4, 5], File.ReadAllBytes(path));
        }

        Assert.False(File.Exists(path) && File.ReadAllBytes(path) is [4, 5]);
    }

    [Fact]
    public void Without_a_folder_for_temporary_files_the_system_is_to_blame()
    {
        var before = Environment.GetEnvironmentVariable("TMPDIR");
        using var folder = new ScratchFolder();
        try
        {
            Environment.SetEnvironmentVariable("TMPDIR", folder.File("none"));
            Assert.SkipUnless(OperatingSystem.IsLinux(), "other systems name that folder in another way");
            Assert.ThrowsAny<IOException>(() => PrivateCopy.InTemporaryFolder("some.so", [1]));
            using var copy = PrivateCopy.InMemory("some.so", [1]);
            Assert.Equal([1], File.ReadAllBytes(copy.Path));
        }
        finally
        {
            Environment.SetEnvironmentVariable("TMPDIR", before);
        }
    }
}

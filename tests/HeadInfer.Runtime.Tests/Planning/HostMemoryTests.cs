using HeadInfer.Runtime.Compute;

namespace HeadInfer.Runtime.Tests.Planning;

/// <summary>What is free, from the texts of the system's files.</summary>
public sealed class HostMemoryTests
{
    private const long GiB = 1L << 30;
    private const string SecondMount = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
    private const string FirstMount = "32 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n33 31 0:29 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n";

    [Fact]
    public void Without_containers_it_is_what_the_machine_has() => Assert.Equal(10 * GiB, Free(new()));

    [Fact]
    public void An_empty_container_has_its_whole_limit()
    {
        Assert.Equal(2 * GiB, Free(Second("/", ("", "2147483648", "0", ""))));
        Assert.Equal(2 * GiB, Free(First("/", ("", "2147483648", "0", ""))));
    }

    [Fact]
    public void What_is_used_counts_but_for_inactive_files_of_the_page_cache()
    {
        Assert.Equal(3 * GiB / 2, Free(Second("/", ("", "2147483648", "1073741824", "anon 536870912\nfile 536870912\ninactive_file 536870912\nactive_file 0"))));
        Assert.Equal(GiB, Free(Second("/", ("", "2147483648", "1073741824", "anon 536870912\nactive_file 536870912"))));
        Assert.Equal(3 * GiB / 2, Free(First("/", ("", "2147483648", "1073741824", "inactive_file 5\ntotal_inactive_file 536870912"))));
        Assert.Equal(2 * GiB, Free(Second("/", ("", "2147483648", "1000", "inactive_file 5000"))));
    }

    [Fact]
    public void No_limit_is_none()
    {
        Assert.Equal(10 * GiB, Free(Second("/", ("", "max", "1073741824", ""))));
        Assert.Equal(10 * GiB, Free(First("/", ("", "9223372036854771712", "1073741824", ""))));
        Assert.Equal(10 * GiB, Free(First("/", ("", "17179869184", "0", ""))));
    }

    [Fact]
    public void The_tightest_on_the_way_up_counts()
    {
        Assert.Equal(1 * GiB, Free(Second("/user/app", ("", "max", "0", ""), ("/user", "3221225472", "2147483648", ""), ("/user/app", "4294967296", "0", ""))));
        Assert.Equal(1 * GiB, Free(First("/docker/app", ("", "9223372036854771712", "0", ""), ("/docker", "3221225472", "2147483648", ""), ("/docker/app", "4294967296", "0", ""))));
        Assert.Equal(2 * GiB, Free(Second("/a/b/c", ("/a/b/c", "max", "0", ""), ("/a", "2147483648", "0", ""))));
    }

    [Fact]
    public void More_than_the_limit_leaves_nothing() => Assert.Equal(0, Free(Second("/", ("", "1073741824", "2147483648", ""))));

    [Fact]
    public void The_limit_that_slows_down_counts_as_one()
    {
        var files = Second("/", ("", "2147483648", "0", ""));
        files["/sys/fs/cgroup/memory.high"] = "1073741824\n";
        Assert.Equal(GiB, Free(files));
    }

    [Fact]
    public void A_container_that_sees_its_own_folder_as_the_root_finds_it()
    {
        // Without a namespace of its own, the first version's path is the host's and what is mounted is that folder.
        var files = First("/docker/0123", ("", "2147483648", "0", ""));
        files["/proc/self/mountinfo"] = "33 31 0:29 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        Assert.Equal(2 * GiB, Free(files));

        // A path beside the root that is seen.
        var outside = Second("/../other", ("", "2147483648", "0", ""));
        Assert.Equal(2 * GiB, Free(outside));

        var below = Second("/docker/0123/app", ("/app", "1073741824", "0", ""), ("", "2147483648", "0", ""));
        below["/proc/self/mountinfo"] = "29 23 0:26 /docker/0123 /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        Assert.Equal(GiB, Free(below));
    }

    [Fact]
    public void Both_versions_at_once_and_odd_lines_are_read()
    {
        var files = First("/x", ("/x", "2147483648", "0", ""));
        files["/proc/self/mountinfo"] = "garbage\n\n1 2 - \n36 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n" + files["/proc/self/mountinfo"] + "40 1 0:31 / /with\\040space rw - cgroup2 cgroup2 rw\n";
        files["/proc/self/cgroup"] += "nothing\n0::/y\n";
        files["/with space/y/memory.max"] = "1073741824";
        Assert.Equal(GiB, Free(files));
        files["/with space/y/memory.max"] = "what";
        Assert.Equal(2 * GiB, Free(files));
    }

    [Fact]
    public void Nothing_is_said_by_nothing()
    {
        Assert.Null(HostMemory.Free(_ => null));
        Assert.True(HostMemory.Free() > ByteSize.Zero);
    }

    private static long Free(Dictionary<string, string> files)
    {
        files.TryAdd("/proc/meminfo", "MemTotal:       33554432 kB\nMemAvailable:   10485760 kB\n");
        return HostMemory.Free(files.GetValueOrDefault)!.Value.Bytes;
    }

    private static Dictionary<string, string> Second(string path, params (string Folder, string Limit, string Used, string Statistics)[] groups) =>
        Files("/sys/fs/cgroup", "memory.max", "memory.current", SecondMount, $"0::{path}\n", groups);

    private static Dictionary<string, string> First(string path, params (string Folder, string Limit, string Used, string Statistics)[] groups) =>
        Files("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", FirstMount, $"5:cpu,cpuacct:/elsewhere\n4:memory:{path}\n", groups);

    private static Dictionary<string, string> Files(string mount, string limit, string used, string mounts, string own, (string Folder, string Limit, string Used, string Statistics)[] groups)
    {
        var files = new Dictionary<string, string>(StringComparer.Ordinal) { ["/proc/self/mountinfo"] = mounts, ["/proc/self/cgroup"] = own };
        foreach (var group in groups)
        {
            files[$"{mount}{group.Folder}/{limit}"] = group.Limit + "\n";
            files[$"{mount}{group.Folder}/{used}"] = group.Used + "\n";
            files[$"{mount}{group.Folder}/memory.stat"] = group.Statistics;
        }

        return files;
    }
}

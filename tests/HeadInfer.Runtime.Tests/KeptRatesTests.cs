using HeadInfer.Runtime.Compute;
using static TorchSharp.torch;

namespace HeadInfer.Runtime.Tests;

/// <summary>Rates come back as they were kept, with their date, and no file makes a model fail.</summary>
public sealed class KeptRatesTests : IDisposable
{
    private static readonly HostRates Rates = new(46e9, 77.5e9, 170e9), Others = new(12e9, 30e9, 40e9);
    private static readonly DateOnly Day = new(2026, 11, 29);

    private readonly string _folder = Directory.CreateTempSubdirectory().FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void What_was_kept_is_found_by_every_later_process()
    {
        var path = Path.Combine(_folder, "not", "there", "rates.json");
        Assert.Null(new KeptRates(path).Find("one"));
        Assert.True(new KeptRates(path).TryKeep("one", Rates, Day));
        Assert.True(new KeptRates(path).TryKeep("two", Others, Day.AddDays(1)));
        Assert.Equal((Rates, Day), new KeptRates(path).Find("one"));
        Assert.Equal((Others, Day.AddDays(1)), new KeptRates(path).Find("two"));
        Assert.True(new KeptRates(path).TryKeep("one", Others, Day.AddDays(2)));
        Assert.Equal((Others, Day.AddDays(2)), new KeptRates(path).Find("one"));
        Assert.Equal([path], Directory.GetFiles(_folder, "*", SearchOption.AllDirectories));
    }

    [Theory]
    [InlineData("")]
    [InlineData("[1, 2]")]
    [InlineData("{\"one\": {\"link\": 0, \"host\": 1, \"rows\": 1, \"date\": \"2026-11-29\"}}")]
    [InlineData("{\"one\": {\"link\": \"fast\"}}")]
    [InlineData("{\"one\": null}")]
    public void A_damaged_file_is_as_none_and_is_written_anew(string text)
    {
        var path = Path.Combine(_folder, "rates.json");
        File.WriteAllText(path, text);
        Assert.Null(new KeptRates(path).Find("one"));
        Assert.True(new KeptRates(path).TryKeep("one", Rates, Day));
        Assert.Equal((Rates, Day), new KeptRates(path).Find("one"));
    }

    [Fact]
    public void What_cannot_be_written_says_so_and_an_empty_path_keeps_nothing()
    {
        var file = Path.Combine(_folder, "file");
        File.WriteAllText(file, "");
        Assert.False(new KeptRates(Path.Combine(file, "rates.json")).TryKeep("one", Rates, Day));
        Assert.False(new KeptRates(_folder).TryKeep("one", Rates, Day)); // a folder
        Assert.False(new KeptRates("/").TryKeep("one", Rates, Day));
        Assert.Equal([file], Directory.GetFiles(_folder, "*", SearchOption.AllDirectories));
        Assert.True(new KeptRates("").TryKeep("one", Rates, Day));
        Assert.Null(new KeptRates("").Find("one"));
    }

    [Fact]
    public void Many_that_keep_at_once_leave_a_whole_file()
    {
        var path = Path.Combine(_folder, "rates.json");
        Parallel.For(0, 64, i => Assert.True(new KeptRates(path).TryKeep("one", Rates, Day)));
        Assert.Equal((Rates, Day), new KeptRates(path).Find("one"));
        Assert.Equal([path], Directory.GetFiles(_folder));
    }

    [Fact]
    public void A_machine_is_told_by_all_that_rates_depend_on()
    {
        var traits = new RowTraits(ScalarType.BFloat16, 32, 8, 128, 1, null);
        string[] all =
        [
            KeptRates.Machine("A", traits, 15), KeptRates.Machine("B", traits, 15), KeptRates.Machine("A", traits, 7), KeptRates.Machine("A", traits with { KvType = ScalarType.Float16 }, 15),
            KeptRates.Machine("A", traits with { KvHeads = 4 }, 15), KeptRates.Machine("A", traits with { HeadDim = 64 }, 15), KeptRates.Machine("A", traits with { Heads = 16 }, 15),
        ];
        Assert.Equal(all.Length, all.Distinct().Count());
    }
}

using HeadInfer.Runtime.Requests;

namespace HeadInfer.Runtime.Tests.Requests;

public sealed class StepCostsTests
{
    [Fact]
    public void Nothing_is_guessed_before_a_step_was_seen() => Assert.Equal([0, 0], new StepCosts().Choose([(5, 1.0), (5, 0.9)], 16));

    [Fact]
    public void A_line_is_found_and_forgotten()
    {
        var (costs, random) = (new StepCosts(), new Random(1));
        for (var i = 0; i < 300; i++)
        {
            var rows = random.Next(1, 17);
            costs.Add(rows, 0.010 + (0.002 * rows));
        }

        Assert.Equal(0.010, costs.Line.Base, 0.001);
        Assert.Equal(0.002, costs.Line.PerRow, 0.0002);
        for (var i = 0; i < 1000; i++)
        {
            costs.Add(1, 0.012);
        }

        Assert.Equal(0.05 * 0.012, costs.Line.PerRow, 1e-5); // nothing is known of rows any more
    }

    [Fact]
    public void One_step_that_takes_long_changes_little()
    {
        var costs = new StepCosts();
        for (var i = 0; i < 50; i++)
        {
            costs.Add(1 + (i % 2), 0.010);
        }

        costs.Add(2, 10);
        Assert.InRange(costs.Line.Base + costs.Line.PerRow, 0.009, 0.012);
    }

    [Theory]
    [InlineData(0.0, 0.9, 8)]     // rows are free
    [InlineData(0.001, 0.9, 8)]   // a tenth of a step each
    [InlineData(0.010, 0.9, 0)]   // as much as a step
    [InlineData(0.0005, 0.04, 0)] // too unlikely
    public void Tokens_are_guessed_as_long_as_they_make_more_of_a_step(double perRow, double likelihood, int expected)
    {
        var costs = new StepCosts();
        for (var i = 0; i < 2000; i++)
        {
            costs.Add(1 + (i % 16), 0.0001 + (perRow * (i % 16)) + 0.0099);
        }

        Assert.Equal(expected, costs.Choose([(8, likelihood)], 16)[0]);
    }

    [Fact]
    public void The_likeliest_come_first_and_rows_are_not_exceeded()
    {
        var costs = new StepCosts();
        for (var i = 0; i < 100; i++)
        {
            costs.Add(1 + (i % 16), 0.010);
        }

        Assert.Equal([1, 4, 0], costs.Choose([(15, 0.5), (15, 0.85), (0, 1.0)], 8)); // 0.85, 0.72, 0.61, 0.5
    }
}

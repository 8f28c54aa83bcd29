namespace HeadInfer.Text.Tests;

public sealed class StopMatcherTests
{
    [Theory]
    [InlineData("one two END three", "one two ")]
    [InlineData("one two", "one two")]
    [InlineData("ENEND", "EN")]
    [InlineData("abSTOPcdEND", "ab")]
    [InlineData("END", "")]
    [InlineData("E", "E")]
    public void Text_ends_before_the_first_stop_sequence_however_it_is_cut(string text, string shown)
    {
        for (var size = 1; size <= text.Length; size++)
        {
            var (matcher, result) = (new StopMatcher(["END", "STOP"]), "");
            for (var at = 0; at < text.Length && !matcher.IsStopped; at += size)
            {
                result += matcher.Append(text.Substring(at, Math.Min(size, text.Length - at)));
            }

            result += matcher.Flush();
            Assert.Equal(shown, result);
            Assert.Equal(shown.Length < text.Length, matcher.IsStopped);
        }
    }

    [Fact]
    public void Only_what_may_begin_a_stop_sequence_is_held_back()
    {
        var matcher = new StopMatcher(["</s>"]);
        Assert.Equal("a ", matcher.Append("a <"));
        Assert.Equal("<b", matcher.Append("b"));
        Assert.False(matcher.IsStopped);
    }
}

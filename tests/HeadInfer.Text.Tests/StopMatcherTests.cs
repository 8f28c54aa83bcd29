using HeadInfer.Runtime.Generation;

namespace HeadInfer.Runtime.Tests.Generation;

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
            var (matcher, result, stopped) = (new StopMatcher(["END", "STOP"]), "", false);
            for (var at = 0; at < text.Length && !stopped; at += size)
            {
                (var part, stopped) = matcher.Append(text.Substring(at, Math.Min(size, text.Length - at)));
                result += part;
            }

            result += stopped ? "" : matcher.Flush();
            Assert.Equal(shown, result);
            Assert.Equal(shown.Length < text.Length, stopped);
        }
    }

    [Fact]
    public void Only_what_may_begin_a_stop_sequence_is_held_back()
    {
        var matcher = new StopMatcher(["</s>"]);
        Assert.Equal(("a ", false), matcher.Append("a <"));
        Assert.Equal(("<b", false), matcher.Append("b"));
    }
}

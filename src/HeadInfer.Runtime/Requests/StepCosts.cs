namespace HeadInfer.Runtime.Requests;

/// <summary>How long a step of so many rows takes: a line through the steps that were seen, the latest ones above all.</summary>
internal sealed class StepCosts
{
    // What a step seen counts after another one; how much of a step of one row each further row takes, as long as nothing is known.
    private const double Fade = 0.98, Guess = 0.05;

    private double _weight, _rows, _squares, _time, _product; // sums over the steps
    private (double Base, double PerRow) _line;

    /// <summary>Seconds of a step, and those of each row in it; nothing before a step was seen.</summary>
    public (double Base, double PerRow) Line => _line;

    /// <summary>Counts a step.</summary>
    public void Add(int rows, double seconds)
    {
        // A step may stand out by far, and says little then.
        var expected = _line.Base + (_line.PerRow * rows);
        seconds = expected > 0 ? Math.Min(seconds, 3 * expected) : seconds;
        _weight = (_weight * Fade) + 1;
        _rows = (_rows * Fade) + rows;
        _squares = (_squares * Fade) + ((double)rows * rows);
        _time = (_time * Fade) + seconds;
        _product = (_product * Fade) + (rows * seconds);

        // The guess counts as a step, of four rows more than usual: what is long ago is forgotten.
        var (meanRows, meanTime) = (_rows / _weight, _time / _weight);
        const double far = 4;
        var spread = _squares - (_rows * meanRows) + (far * far);
        var slope = (_product - (_rows * meanTime) + (far * far * Guess * meanTime)) / spread;
        slope = Math.Clamp(slope, 0, meanTime / meanRows);
        _line = (meanTime - (slope * meanRows), slope);
    }

    /// <summary>How many tokens of each draft are worth a step's time: those that make more tokens a second of it.</summary>
    /// <param name="drafts">how many tokens each has, and how likely each of them is right if those before it are</param>
    /// <param name="mostRows">rows of the step at most; each draft comes with a row that is certain</param>
    public int[] Choose(IReadOnlyList<(int Tokens, double Likelihood)> drafts, int mostRows)
    {
        var (taken, next) = (new int[drafts.Count], drafts.Select(d => d.Tokens > 0 ? d.Likelihood : 0).ToArray());
        var (tokens, time) = ((double)drafts.Count, _line.Base + (_line.PerRow * drafts.Count));
        for (var rows = drafts.Count; rows < mostRows; rows++)
        {
            var best = Array.IndexOf(next, next.Max());
            if (next[best] * time <= _line.PerRow * tokens || next[best] == 0)
            {
                break;
            }

            tokens += next[best];
            time += _line.PerRow;
            next[best] = ++taken[best] < drafts[best].Tokens ? next[best] * drafts[best].Likelihood : 0;
        }

        return taken;
    }
}

using System.Globalization;
using HeadInfer.Soak;

// Sends random requests to small models for some minutes, many at once, and ends them in every way there is.
//   HeadInfer.Soak MODELS MINUTES [--seed N]     MODELS is a folder of model folders, such as tests/fixtures/models
// Exits with 1 if an answer is not what it is alone, if an error comes that nothing asked for, if something native is left
// when a model is disposed, if memory grows, or if nothing happens for a minute.
return args switch
{
    [var models, var minutes] when Minutes(minutes) is { } time => await Soak.RunAsync(models, time, seed: 1),
    [var models, var minutes, "--seed", var seed] when Minutes(minutes) is { } time && int.TryParse(seed, CultureInfo.InvariantCulture, out var number) => await Soak.RunAsync(models, time, number),
    _ => Usage(),
};

static TimeSpan? Minutes(string text) => double.TryParse(text, CultureInfo.InvariantCulture, out var minutes) && minutes > 0 ? TimeSpan.FromMinutes(minutes) : null;

static int Usage()
{
    Console.Error.WriteLine("usage: HeadInfer.Soak MODELS MINUTES [--seed N]    (MODELS: a folder of model folders)");
    return 2;
}

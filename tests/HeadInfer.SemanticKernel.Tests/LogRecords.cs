using Microsoft.Extensions.Logging;

namespace HeadInfer.SemanticKernel.Tests;

/// <summary>Keeps what is logged.</summary>
internal sealed class LogRecords : ILoggerProvider
{
    private readonly Lock _gate = new();

    public List<(string Category, LogLevel Level, int Id, string Text, Exception? Exception)> All { get; } = [];

    public ILogger CreateLogger(string categoryName) => new Logger(this, categoryName);

    public void Dispose()
    {
    }

    private sealed class Logger(LogRecords records, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (category.StartsWith("HeadInfer", StringComparison.Ordinal))
            {
                lock (records._gate)
                {
                    records.All.Add((category, logLevel, eventId.Id, formatter(state, exception), exception));
                }
            }
        }
    }
}

using System.Net;

namespace HeadInfer.Tool.Serving;

/// <summary>A request that is not answered, and why.</summary>
/// <param name="message">why, in the wire's words</param>
/// <param name="name">the field that is wrong; null if it is none of them</param>
/// <param name="status">the status to answer with</param>
internal sealed class RefusedException(string message, string? name = null, HttpStatusCode status = HttpStatusCode.BadRequest) : Exception(message)
{
    public string? Name => name;

    public HttpStatusCode Status => status;
}

/// <summary>What is told of a failure, and under which status.</summary>
/// <param name="Failure">what is told</param>
/// <param name="RetryAfter">seconds after which to come again; null if that would be of no use</param>
internal sealed record Refusal(HttpStatusCode Status, Failure Failure, int? RetryAfter = null)
{
    // Answers take seconds to minutes, so about as long as it takes until one of those that wait has its turn.
    public const int Soon = 10;

    public static Refusal Of(HttpStatusCode status, string message, string? code = null, string? name = null) =>
        new(status, new Failure(new FailureBody(message, status >= HttpStatusCode.InternalServerError ? "server_error" : "invalid_request_error", name, code)));

    /// <summary>A model is asked for that is not served.</summary>
    public static Refusal Unknown(string name, Served served) => Of(HttpStatusCode.NotFound, $"The model '{Fields.Short(name)}' is not served here; '{served.Id}' is.", "model_not_found", "model");

    /// <summary>What the caller can act on is told; what went wrong inside is not the caller's.</summary>
    public static Refusal Of(Exception error) => error switch
    {
        RefusedException refused => Of(refused.Status, refused.Message, name: refused.Name),
        BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => Of(HttpStatusCode.RequestEntityTooLarge, "The request is larger than --max-request-bytes allows."),
        BadHttpRequestException broken => Of((HttpStatusCode)broken.StatusCode, "The body of the request is broken off, or comes too slowly."),
        QueueFullException => new(HttpStatusCode.TooManyRequests, new Failure(new FailureBody(Words.Of(error), "requests", null, "rate_limit_exceeded")), Soon),

        // Not 408: that says that the caller was slow to send.
        TimeoutException => Of(HttpStatusCode.GatewayTimeout, "The answer did not begin within the time that --deadline allows. Try again later.", "timeout") with { RetryAfter = Soon },
        ContextLengthException or MemoryBudgetException => Of(HttpStatusCode.BadRequest, Words.Of(error), "context_length_exceeded"),
        ArgumentException or NotSupportedException or ChatTemplateException or TokenizerException => Of(HttpStatusCode.BadRequest, Words.Of(error)),
        HeadInferException => Of(HttpStatusCode.InternalServerError, Words.Of(error)),
        _ => Of(HttpStatusCode.InternalServerError, "The server failed."),
    };

    public Task SendAsync(HttpContext context)
    {
        context.Response.StatusCode = (int)Status;
        if (RetryAfter is { } seconds)
        {
            context.Response.Headers.RetryAfter = seconds.ToString(CultureInfo.InvariantCulture);
        }

        // Ollama's clients look for a text.
        return context.Request.Path.StartsWithSegments("/api", StringComparison.Ordinal)
            ? context.Response.WriteAsJsonAsync(new { error = Failure.Error.Message }, Wire.Json)
            : context.Response.WriteAsJsonAsync(Failure, Wire.Json);
    }
}

using System.Globalization;
using HeadInfer.Runtime;
using HeadInfer.Runtime.Checkpoints;

namespace HeadInfer.Reference;

public enum Outcome
{
    Ok,
    Fail,
    Unsupported,
}

/// <summary>What came of one case.</summary>
public sealed record CaseResult(string Name, Outcome Outcome, string Figure)
{
    public override string ToString() => Outcome switch
    {
        Outcome.Ok => $"ok {Name} {Figure}",
        Outcome.Fail => $"FAIL {Name} {Figure}",
        _ => $"unsupported {Name}: {Figure}",
    };
}

/// <summary>All cases of a folder of fixtures.</summary>
public static class ReferenceCases
{
    public static async IAsyncEnumerable<CaseResult> RunAsync(string folder, ComputeDevice device = ComputeDevice.Cpu)
    {
        var (models, tokenizers) = (Folders(folder, "models", "reference.safetensors").ConvertAll(model => Eager(folder, model)), Folders(folder, "tokenizers", "golden.json"));
        var templates = Path.Combine(folder, "chat-templates") is var path && Directory.Exists(path) ? Directory.GetFiles(path, "*.json").Order(StringComparer.Ordinal).ToList() : [];
        var jinja = Path.Combine(folder, "jinja") is var rows && File.Exists(Path.Combine(rows, "micro.jsonl")) ? rows : null;
        var schemas = Path.Combine(folder, "json-schema-test-suite") is var suite && Directory.Exists(suite) ? suite : null;
        var gguf = Folders(folder, "gguf", "reference.safetensors").Where(d => File.Exists(Path.Combine(d, ModelReference.Gguf))).ToList();
        if (models.Count + gguf.Count + tokenizers.Count + templates.Count == 0 && jinja is null && schemas is null)
        {
            yield return new CaseResult(folder, Outcome.Fail, "has no models/NAME/reference.safetensors, no gguf/NAME/model.gguf with reference.safetensors, no tokenizers/NAME/golden.json, no chat-templates/NAME.json, no jinja/micro.jsonl and no json-schema-test-suite");
        }

        foreach (var model in models.Concat(gguf))
        {
            if (Unsupported(model) is { } message)
            {
                yield return new CaseResult(Path.GetFileName(model), Outcome.Unsupported, message);
                continue;
            }

            foreach (var layout in ModelReference.Layouts)
            {
                yield return await Guard($"{Path.GetFileName(model)}/{layout.Name}", () => ModelReference.CheckAsync(model, ModelReference.On(layout.Options, device))).ConfigureAwait(false);
            }
        }

        foreach (var tokenizer in tokenizers)
        {
            yield return await Guard(Path.GetFileName(tokenizer), () => Task.FromResult(TokenizerReference.Check(tokenizer))).ConfigureAwait(false);
        }

        if (schemas is not null)
        {
            yield return await Guard("json-schema-test-suite", () => Task.FromResult(SchemaReference.Check(schemas))).ConfigureAwait(false);
        }

        foreach (var (name, check) in templates.SelectMany(ChatTemplateReference.Rows))
        {
            yield return await Guard(name, () => Task.FromResult(check())).ConfigureAwait(false);
        }

        if (jinja is not null)
        {
            yield return await Guard("jinja/micro", () => Task.FromResult(JinjaReference.Check(jinja))).ConfigureAwait(false);
        }
    }

    private static List<string> Folders(string folder, string kind, string mark) =>
        Directory.Exists(Path.Combine(folder, kind))
            ? [.. Directory.GetDirectories(Path.Combine(folder, kind)).Where(d => File.Exists(Path.Combine(d, mark))).Order(StringComparer.Ordinal)]
            : [];

    // transformers' default attention leaves caps of scores out, its eager attention computes what the model defines: where a
    // collection has a reference of the latter, that is the model's. Passing either would let a model without its cap pass.
    private static string Eager(string folder, string model) =>
        Path.Combine(folder, "families", "models", $"{Path.GetFileName(model)}-eager") is var eager && File.Exists(Path.Combine(eager, "reference.safetensors")) ? eager : model;

    // Said once for a model, not once for every way to cut it. Other errors are each case's own.
    private static string? Unsupported(string model)
    {
        try
        {
            ModelConfig.Load(ModelReference.PathOf(model));
        }
        catch (UnsupportedModelException e)
        {
            return e.Message;
        }
        catch (HeadInferException)
        {
        }

        return null;
    }

    private static async Task<CaseResult> Guard(string name, Func<Task<(bool Ok, string Figure)>> check)
    {
        try
        {
            var (ok, figure) = await check().ConfigureAwait(false);
            return new CaseResult(name, ok ? Outcome.Ok : Outcome.Fail, figure);
        }
        catch (UnsupportedModelException e)
        {
            return new CaseResult(name, Outcome.Unsupported, e.Message);
        }
        catch (Exception e)
        {
            return new CaseResult(name, Outcome.Fail, string.Create(CultureInfo.InvariantCulture, $"{e.GetType().Name}: {e.Message.Split('\n')[0]}"));
        }
    }
}

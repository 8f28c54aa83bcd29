using HeadInfer.Reference;

// Runs every model, tokenizer, chat template and JSON schema under the given folder against the figures beside it; one line a case.
if (args.Length != 1)
{
    Console.Error.WriteLine("usage: HeadInfer.Reference FOLDER    (a folder with models/NAME/reference.safetensors gguf/NAME/model.gguf tokenizers/NAME/golden.json chat-templates/NAME.json jinja/micro.jsonl and json-schema-test-suite/)");
    return 2;
}

var failed = false;
await foreach (var result in ReferenceCases.RunAsync(args[0]))
{
    Console.WriteLine(result);
    failed |= result.Outcome == Outcome.Fail;
}

return failed ? 1 : 0;

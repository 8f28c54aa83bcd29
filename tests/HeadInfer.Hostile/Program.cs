using HeadInfer.Hostile;

// Gives hostile input to the library, each case in a process of its own, and prints a line a case: outcome, name, seconds,
// MiB above the process at rest, message. A case fails if its process dies, if it takes too much, or if its error is not one
// that a caller can act on.
//   HeadInfer.Hostile DIR           every case of schemas/*.json, templates/*.jinja and requests/*.json
//   HeadInfer.Hostile --case FILE   one case, in this process; its figures are printed as JSON
switch (args)
{
    case ["--case", var file]:
        Console.WriteLine((await HostileCase.RunAsync(file)).ToJson());
        return 0;
    case [var folder] when Directory.Exists(folder):
        var (passed, failed) = (0, 0);
        foreach (var file in HostileCase.Files(folder))
        {
            var line = await CaseProcess.RunAsync(file);
            Console.WriteLine(line);
            (passed, failed) = line.StartsWith("FAIL", StringComparison.Ordinal) ? (passed, failed + 1) : (passed + 1, failed);
        }

        Console.WriteLine($"{passed} passed, {failed} failed");
        return failed > 0 || passed == 0 ? 1 : 0;
    default:
        Console.Error.WriteLine("usage: HeadInfer.Hostile DIR    (a folder with schemas/*.json, templates/*.jinja, requests/*.json)");
        return 2;
}

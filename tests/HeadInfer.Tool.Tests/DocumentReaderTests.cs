using HeadInfer.Tool.Asking;

namespace HeadInfer.Tool.Tests;

public sealed class DocumentReaderTests
{
    [Fact]
    public void Packages_are_left_out_and_old_letters_are_read()
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-documents-");
        try
        {
            File.WriteAllText(Path.Combine(folder.CreateSubdirectory("node_modules").FullName, "index.js"), "packed");
            File.WriteAllBytes(Path.Combine(folder.FullName, "note.txt"), [0x80, 0x93, 0x35, 0x94, 0x81, 0xE9]);
            var notes = new List<string>();
            Assert.Equal("=== note.txt ===\n\u20AC\u201C5\u201D\u0081\u00E9", DocumentReader.Read([folder.FullName], notes.Add)); // as the Encoding Standard has it, and so browsers
            Assert.Equal(["left out node_modules: a hidden folder, or one of a build", "note.txt is not UTF-8; read as Windows-1252"], notes);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void Links_are_left_out_and_named()
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-documents-");
        try
        {
            var inner = folder.CreateSubdirectory("inner");
            var note = Path.Combine(inner.FullName, "note.txt");
            File.WriteAllText(note, "The note.");
            try
            {
                File.CreateSymbolicLink(Path.Combine(folder.FullName, "file"), note);
                Directory.CreateSymbolicLink(Path.Combine(inner.FullName, "round"), folder.FullName);
            }
            catch (IOException) when (OperatingSystem.IsWindows())
            {
                Assert.Skip("This account may not make links.");
            }

            var notes = new List<string>();
            Assert.Equal("=== inner/note.txt ===\nThe note.", DocumentReader.Read([folder.FullName], notes.Add));
            Assert.Equal(["left out file: a link", "left out inner/round: a link"], notes);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}

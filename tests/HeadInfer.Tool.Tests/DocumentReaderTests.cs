using HeadInfer.Tool.Asking;

namespace HeadInfer.Tool.Tests;

public sealed class DocumentReaderTests
{
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
            Assert.Equal(["left out file: a link", "left out inner/round: a hidden folder, a build's, or a link"], notes);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}

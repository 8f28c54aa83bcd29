using System.Text;
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

    // Each of these is there when its folder is listed, and gone when it is read.
    [Fact]
    public void What_cannot_be_read_within_a_folder_is_left_out_and_named()
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-documents-");
        try
        {
            string[] gone = [Path.Combine(folder.FullName, "b.txt"), Path.Combine(folder.CreateSubdirectory("c").FullName, "d.txt")];
            Array.ForEach(gone, path => File.WriteAllText(path, "gone"));
            File.WriteAllText(Path.Combine(folder.FullName, "a.txt"), "");
            File.WriteAllText(Path.Combine(folder.FullName, "e.txt"), "The note.");
            var notes = new List<string>();
            void Note(string note)
            {
                notes.Add(note);
                if (note.StartsWith("left out a.txt", StringComparison.Ordinal))
                {
                    File.Delete(gone[0]);
                    Directory.Delete(Path.GetDirectoryName(gone[1])!, recursive: true);
                }
            }

            Assert.Equal("=== e.txt ===\nThe note.", DocumentReader.Read([folder.FullName], Note));
            Assert.Equal(["left out a.txt: empty, or not a file", "left out c: it cannot be read", "left out b.txt: it cannot be read"], notes);
            Assert.ThrowsAny<IOException>(() => DocumentReader.Read([folder.FullName, gone[0]], Note)); // it was named itself
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    // As PowerShell 5 writes it behind a >, and Notepad if it is told to.
    [Fact]
    public void Texts_in_utf_16_are_read()
    {
        var folder = Directory.CreateTempSubdirectory("headinfer-documents-");
        try
        {
            File.WriteAllText(Path.Combine(folder.FullName, "a.txt"), "Old \u00E9, \u20AC", Encoding.Unicode);
            File.WriteAllText(Path.Combine(folder.FullName, "b.txt"), "New", Encoding.BigEndianUnicode);
            File.WriteAllBytes(Path.Combine(folder.FullName, "c.bin"), [0xFF, 0xFE, 0x41, 0, 0, 0]);
            var notes = new List<string>();
            Assert.Equal("=== a.txt ===\nOld \u00E9, \u20AC\n\n=== b.txt ===\nNew", DocumentReader.Read([folder.FullName], notes.Add));
            Assert.Equal(["left out c.bin: a binary file"], notes);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }
}

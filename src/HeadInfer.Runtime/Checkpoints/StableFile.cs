using Microsoft.Win32.SafeHandles;

namespace HeadInfer.Runtime.Checkpoints;

/// <summary>An open file of weights that must stay as it is. It is read by position and never mapped: a mapped file that is shortened meanwhile ends the process.</summary>
internal sealed class StableFile : IDisposable
{
    private readonly SafeFileHandle _file;
    private readonly DateTime _written;

    private StableFile(string path, SafeFileHandle file) => (Path, _file, Length, _written) = (path, file, RandomAccess.GetLength(file), File.GetLastWriteTimeUtc(file));

    public string Path { get; }

    /// <summary>Bytes of the file.</summary>
    public long Length { get; }

    /// <exception cref="IOException">It is missing, empty, no plain file, or cannot be opened.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read, or is a folder.</exception>
    public static StableFile Open(string path) => new(path, ModelFile.Open(path));

    /// <summary>Reads a part of a tensor.</summary>
    /// <param name="tensor">its name, for messages</param>
    /// <param name="offset">the part's first byte, from the start of the file</param>
    /// <param name="destination">filled to its end</param>
    /// <exception cref="CheckpointException">The file has been changed since it was opened, or cannot be read.</exception>
    public void Read(string tensor, long offset, Span<byte> destination)
    {
        try
        {
            ReadAt(offset, destination);
            if (RandomAccess.GetLength(_file) != Length || File.GetLastWriteTimeUtc(_file) != _written)
            {
                throw new CheckpointException($"'{Path}' was changed while it was read. Load the model again when nothing writes to it.");
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException($"'{Path}': tensor '{tensor}' cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads a part of the header.</summary>
    /// <inheritdoc cref="Read"/>
    public void ReadAt(long offset, Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            var count = RandomAccess.Read(_file, destination, offset);
            if (count == 0)
            {
                throw new CheckpointException($"'{Path}' was shortened while it was read: it ends at byte {offset}, and had {Length} bytes. Load the model again when nothing writes to it.");
            }

            destination = destination[count..];
            offset += count;
        }
    }

    public void Dispose() => _file.Dispose();
}

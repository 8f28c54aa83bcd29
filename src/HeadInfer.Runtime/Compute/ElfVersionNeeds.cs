using System.Buffers.Binary;
using System.Text;

namespace HeadInfer.Runtime.Compute;

/// <summary>
/// Edits the symbol-version requirements (<c>.gnu.version_r</c>) of a 64-bit little-endian ELF library.
/// </summary>
/// <remarks>
/// The dynamic linker refuses a library that requires a version its dependency does not define, unless the
/// requirement carries <c>VER_FLG_WEAK</c>. Source: ELF gABI and the Linux Standard Base, "Symbol Versioning".
/// </remarks>
internal static class ElfVersionNeeds
{
    private const uint SectionTypeVersionNeeds = 0x6ffffffe; // SHT_GNU_verneed
    private const ushort WeakFlag = 0x2;                     // VER_FLG_WEAK

    /// <summary>Marks every requirement named in <paramref name="versions"/> weak, in place.</summary>
    /// <returns>How many requirements were changed; 0 when the image is not such an ELF file or names none.</returns>
    public static int MarkWeak(Span<byte> image, params ReadOnlySpan<string> versions)
    {
        if (image.Length < 64 || !image[..6].SequenceEqual("\u007fELF\u0002\u0001"u8))
        {
            return 0;
        }

        var sections = (int)ReadU64(image, 40);
        int entrySize = ReadU16(image, 58), count = ReadU16(image, 60), changed = 0;
        for (var i = 0; i < count; i++)
        {
            var section = image.Slice(sections + (i * entrySize), 64);
            if (ReadU32(section, 4) != SectionTypeVersionNeeds)
            {
                continue;
            }

            // sh_link names the string table, sh_info the number of Verneed records.
            var strings = (int)ReadU64(image, sections + ((int)ReadU32(section, 40) * entrySize) + 24);
            changed += MarkRecords(image, (int)ReadU64(section, 24), ReadU32(section, 44), strings, versions);
        }

        return changed;
    }

    private static int MarkRecords(Span<byte> image, int need, uint records, int strings, ReadOnlySpan<string> versions)
    {
        var changed = 0;
        for (; records > 0; records--)
        {
            var aux = need + (int)ReadU32(image, need + 8);
            for (var left = ReadU16(image, need + 2); left > 0; left--)
            {
                var name = image[(strings + (int)ReadU32(image, aux + 8))..];
                foreach (var version in versions)
                {
                    if (name[..name.IndexOf((byte)0)].SequenceEqual(Encoding.ASCII.GetBytes(version)))
                    {
                        BinaryPrimitives.WriteUInt16LittleEndian(image[(aux + 4)..], (ushort)(ReadU16(image, aux + 4) | WeakFlag));
                        changed++;
                    }
                }

                aux += (int)ReadU32(image, aux + 12);
            }

            need += (int)ReadU32(image, need + 12);
        }

        return changed;
    }

    private static ushort ReadU16(ReadOnlySpan<byte> image, int at) => BinaryPrimitives.ReadUInt16LittleEndian(image[at..]);

    private static uint ReadU32(ReadOnlySpan<byte> image, int at) => BinaryPrimitives.ReadUInt32LittleEndian(image[at..]);

    private static ulong ReadU64(ReadOnlySpan<byte> image, int at) => BinaryPrimitives.ReadUInt64LittleEndian(image[at..]);
}

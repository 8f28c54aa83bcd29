namespace HeadInfer.Runtime.Checkpoints;

/// <summary>What lists of models tell of a model's weights.</summary>
/// <param name="Parameters">numbers of all its tensors, without those of other senses</param>
/// <param name="Type">how they are stored: the name of a GGUF file's mixture of types, else of the type that most have</param>
internal sealed record WeightsLabel(long Parameters, string Type)
{
    private const int Guessed = 1024; // added to a file's type that was not said by who made it

    // llama.cpp's names, by the number in the file; of types that are read.
    private static readonly Dictionary<int, string> FileTypes = new()
    {
        [0] = "F32", [1] = "F16", [2] = "Q4_0", [3] = "Q4_1", [7] = "Q8_0", [8] = "Q5_0", [9] = "Q5_1", [10] = "Q2_K", [11] = "Q3_K_S", [12] = "Q3_K_M", [13] = "Q3_K_L",
        [14] = "Q4_K_S", [15] = "Q4_K_M", [16] = "Q5_K_S", [17] = "Q5_K_M", [18] = "Q6_K", [21] = "Q2_K_S", [25] = "IQ4_NL", [30] = "IQ4_XS", [32] = "BF16", [38] = "MXFP4",
    };

    /// <summary>Reads the headers of a model's files.</summary>
    /// <param name="path">the folder, the root folder of a model in the hub's cache, or a GGUF file</param>
    public static WeightsLabel Of(string path, ModelConfig config)
    {
        using var checkpoint = Checkpoint.Open(ModelFolder.Locate(path), config.Quantization);
        var sizes = checkpoint.Tensors.Values.Where(t => !TensorNames.IsOfSenses(t.Name)).Select(t => (Type: GgmlPackings.NameOf(t.Packing), Count: t.Rows * t.Columns)).ToList();
        var said = (checkpoint as GgufCheckpoint)?.Metadata.Int("general.file_type") % Guessed;
        return new WeightsLabel(sizes.Sum(s => s.Count), FileTypes.GetValueOrDefault(said ?? -1) ?? sizes.GroupBy(s => s.Type).MaxBy(g => g.Sum(s => s.Count))?.Key ?? "");
    }
}

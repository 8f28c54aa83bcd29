using HeadInfer.Text.Templates;

namespace HeadInfer.Text.Tests;

/// <summary>The chat templates of model folders, as a model that is loaded has them.</summary>
internal static class FolderTemplates
{
    extension(ChatTemplate)
    {
        public static ChatTemplate? Load(string folder, Tokenizer? tokenizer = null) => ChatTemplate.Of(ChatTemplateFiles.Read(folder), tokenizer);
    }
}

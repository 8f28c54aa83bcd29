using static TorchSharp.torch;

namespace HeadInfer.Runtime.Compute;

/// <summary>The activation of an MLP without a gate.</summary>
/// <param name="name">as the configuration names it</param>
/// <param name="xielu">its numbers, if it is xIELU</param>
internal sealed class LoneActivation(string name, XieluNumbers? xielu = null)
{
    /// <summary>Whether each value is the same in whatever place it stands, also where vectors and single numbers take turns.</summary>
    public bool IsExact => name == Device.SquaredRelu;

    /// <summary>Applies it in place.</summary>
    public void Apply(Tensor x)
    {
        using var scope = NewDisposeScope();
        if (name == Device.SquaredRelu)
        {
            x.relu_().mul_(x); // what is below zero is zero
            return;
        }

        if (xielu is null)
        {
            x.copy_(name == "gelu" ? x.gelu() : x.gelu(TorchSharp.Modules.GELU.Approximate.tanh));
            return;
        }

        var wide = x.to(ScalarType.Float32);
        var below = (wide.clamp(max: xielu.Most).expm1_() - wide).mul_(xielu.Below);
        x.copy_(where(wide > 0, wide.square().mul_(xielu.Above), below).add_(wide * xielu.Slope));
    }
}

/// <summary>The numbers of a layer's xIELU: <c>above * x^2 + slope * x</c> above zero, and <c>below * (exp(min(x, most)) - 1 - x) + slope * x</c> elsewhere.</summary>
/// <remarks>Huang and Schlag, "Deriving Activation Functions Using Integration", arXiv 2411.13010.</remarks>
internal sealed record XieluNumbers(double Above, double Below, double Slope, double Most)
{
    /// <summary>The same of the numbers that checkpoints have.</summary>
    public static XieluNumbers Of(double alphaP, double alphaN, double beta, double epsilon)
    {
        static double Softplus(double x) => x > 20 ? x : Math.Log(1 + Math.Exp(x));
        return new(Softplus(alphaP), beta + Softplus(alphaN), beta, epsilon);
    }
}

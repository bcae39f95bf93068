"""What a person calls a method, a family, a reference and a test, in the reader's language; the program's names are the keys."""

from __future__ import annotations

from pellucid.core.language import Text, text

METHODS = {
    "saliency": text("saliency (gradient)"),
    "input_x_gradient": text("input x gradient"),
    "smoothgrad": text("SmoothGrad"),
    "integrated_gradients": text("integrated gradients"),
    "expected_gradients": text("expected gradients"),
    "deeplift": text("DeepLIFT"),
    "lrp": text("layer-wise relevance propagation"),
    "lrp_epsilon": text("layer-wise relevance propagation (epsilon rule)"),
    "grad_cam": text("Grad-CAM"),
    "occlusion": text("occlusion"),
    "feature_ablation": text("feature ablation"),
    "lime": text("LIME"),
    "shapley": text("Shapley values"),
    "attention": text("attention maps"),
    "permutation": text("permutation"),
}
FAMILIES = {
    "gradient": text("gradient methods"),
    "activation": text("activation methods"),
    "perturbation": text("perturbation methods"),
    "surrogate": text("surrogate methods"),
    "shapley": text("Shapley values"),
    "attention": text("attention maps"),
}
REFERENCES = {
    "zero": text("zero"),
    "mean": text("the mean"),
    "blur": text("a blurred copy"),
    "noise": text("noise"),
    "samples": text("samples of the background"),
    "given": text("the reference that was given"),
}
SCORES = {
    "infidelity": text("infidelity"),
    "share_explained": text("share explained"),
    "each_sample": text("share explained of each sample"),
    "scale": text("size of the values"),
    "level": text("a constant in every value"),
    "squared_error": text("share explained with these values"),
    "resolution": text("resolution"),
    "deletion": text("deletion"),
    "insertion": text("insertion"),
    "input_specificity": text("specific to this input"),
    "class_specificity": text("specific to this output"),
    "beyond_the_input": text("beyond the input"),
    "completeness": text("completeness gap"),
    "sensitivity": text("sensitivity to small changes"),
    "parameter_randomisation": text("parameter randomisation"),
}
TRUST = {"high": text("high"), "limited": text("limited"), "none": text("none")}


def method_name(name: str) -> Text | str:
    """What a person calls the method; a user's own name stands for itself."""
    return METHODS.get(name, name)


def score_name(name: str) -> Text | str:
    """What a person calls a test; "agreement_gradient" is agreement with gradient methods."""
    kind = name.partition("_")[2]
    if name.startswith("agreement_"):
        return text("agreement with {method}", method=FAMILIES.get(kind, method_name(kind)))
    if name.startswith("reference_"):
        return text("with another reference ({kind})", kind=REFERENCES.get(kind, kind))
    return SCORES.get(name, name.replace("_", " "))

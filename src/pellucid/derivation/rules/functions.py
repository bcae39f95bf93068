"""Functions of one number, applied to every entry: Y = f(X), so that the gradient is that of Y times f'(X). A row per function."""

from __future__ import annotations

import math

import numpy as np
import torch

from pellucid.core.language import text
from pellucid.derivation.registry import rule

_HANDBOOK = "Olver, Lozier, Boisvert and Clark 2010, NIST Handbook of Mathematical Functions, section "
_E = {"e": text("Euler's number")}
_FLAT = text("Constant between its jumps: PyTorch gives the gradient 0 everywhere, the jumps included.")


def special():
    """SciPy's special functions, loaded when one is first needed."""
    import scipy.special

    return scipy.special


def _gaussian(x):
    return np.exp(-x * x)


def _row(*names, function, y, slope, f, derivative, source, note=None, where=None):
    """The rule of a function f of one number. `derivative` gets X and Y; `slope` is its LaTeX, a factor of the gradient of Y."""

    def forward(input):
        return f(np.asarray(input) * 1.0 if np.asarray(input).dtype.kind != "f" else input)

    def backward(dY, Y, input):
        return {"input": dY * derivative(input, Y)}

    return rule(
        *names, function=function, forward=f"Y = {y}", backward={"input": rf"\bar{{X}} = {slope}"},
        symbols={"X": "input", "Y": "output"}, where=where, source=source, note=note,
    )(type(names[0], (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


# -- exponentials and logarithms -----------------------------------------------------------------------------------------------------------

_EXP = _HANDBOOK + "4.7"

exp = _row(
    "exp", function=torch.exp, y=r"e^{X}", slope=r"\bar{Y} \odot Y", f=np.exp, derivative=lambda X, Y: Y, where=_E, source=_EXP,
)  # fmt: skip
exp2 = _row(
    "exp2", function=torch.exp2, y=r"2^{X}", slope=r"\bar{Y} \odot Y \ln 2", f=np.exp2,
    derivative=lambda X, Y: Y * math.log(2), source=_EXP,
)  # fmt: skip
expm1 = _row(
    "expm1", function=torch.expm1, y=r"e^{X} - 1", slope=r"\bar{Y} \odot (Y + 1)", f=np.expm1, derivative=lambda X, Y: Y + 1,
    where=_E, source=_EXP,
)  # fmt: skip
log = _row("log", function=torch.log, y=r"\ln X", slope=r"\bar{Y} / X", f=np.log, derivative=lambda X, Y: 1 / X, source=_EXP)
log2 = _row(
    "log2", function=torch.log2, y=r"\log_{2} X", slope=r"\frac{\bar{Y}}{X \ln 2}", f=np.log2,
    derivative=lambda X, Y: 1 / (X * math.log(2)), source=_EXP,
)  # fmt: skip
log10 = _row(
    "log10", function=torch.log10, y=r"\log_{10} X", slope=r"\frac{\bar{Y}}{X \ln 10}", f=np.log10,
    derivative=lambda X, Y: 1 / (X * math.log(10)), source=_EXP,
)  # fmt: skip
log1p = _row(
    "log1p", function=torch.log1p, y=r"\ln(1 + X)", slope=r"\frac{\bar{Y}}{1 + X}", f=np.log1p, derivative=lambda X, Y: 1 / (1 + X),
    source=_EXP,
)  # fmt: skip

# -- powers and absolute values ------------------------------------------------------------------------------------------------------------

_POWERS = "Spivak 2008, Calculus, chapter 10"

square = _row(
    "square", function=torch.square, y=r"X^{2}", slope=r"2 X \odot \bar{Y}", f=np.square, derivative=lambda X, Y: 2 * X, source=_POWERS,
)  # fmt: skip
sqrt = _row(
    "sqrt", function=torch.sqrt, y=r"\sqrt{X}", slope=r"\frac{\bar{Y}}{2 Y}", f=np.sqrt, derivative=lambda X, Y: 1 / (2 * Y),
    source=_POWERS, note=text("At 0 the derivative is infinite."),
)  # fmt: skip
rsqrt = _row(
    "rsqrt", function=torch.rsqrt, y=r"\frac{1}{\sqrt{X}}", slope=r"-\frac{1}{2} \bar{Y} \odot Y^{3}", f=lambda X: 1 / np.sqrt(X),
    derivative=lambda X, Y: -0.5 * Y**3, source=_POWERS,
)  # fmt: skip
reciprocal = _row(
    "reciprocal", function=torch.reciprocal, y=r"\frac{1}{X}", slope=r"-\bar{Y} \odot Y^{2}", f=lambda X: 1 / X,
    derivative=lambda X, Y: -Y * Y, source=_POWERS,
)  # fmt: skip


@rule(
    "abs", function=torch.abs,
    forward=r"Y = |X|", backward={"input": r"\bar{X} = \bar{Y} \odot \operatorname{sign}(X)"}, symbols={"X": "input", "Y": "output"},
    source=_POWERS, note=text("At 0, where there is no derivative, PyTorch takes 0."),
)  # fmt: skip
class abs_:
    def forward(input):
        return np.abs(input)

    def backward(dY, Y, input):
        return {"input": dY * np.sign(input)}


# -- steps ---------------------------------------------------------------------------------------------------------------------------------


def _step(*names, function, y, f, where=None):
    """A function that is constant between its jumps."""

    def forward(input):
        return f(np.asarray(input)).astype(np.asarray(input).dtype)

    def backward(dY, Y, input):
        return {"input": np.zeros(np.shape(input))}

    return rule(
        *names, function=function, forward=f"Y = {y}", backward={"input": r"\bar{X} = 0"}, symbols={"X": "input", "Y": "output"},
        source="Graham, Knuth and Patashnik 1994, Concrete Mathematics, section 3.1", note=_FLAT, where=where,
    )(type(names[0], (), {"forward": forward, "backward": backward, "__module__": __name__}))  # fmt: skip


floor = _step("floor", function=torch.floor, y=r"\lfloor X \rfloor", f=np.floor)
ceil = _step("ceil", function=torch.ceil, y=r"\lceil X \rceil", f=np.ceil)
trunc = _step("trunc", function=torch.trunc, y=r"\operatorname{sign}(X) \lfloor |X| \rfloor", f=np.trunc)
sign = _step("sign", "sgn", function=torch.sign, y=r"\operatorname{sign}(X)", f=np.sign)


@rule(
    "round", function=torch.round,
    forward=r"Y = \operatorname{round}(X)", backward={"input": r"\bar{X} = 0"}, symbols={"X": "input", "Y": "output"},
    source="IEEE 2019, Standard for floating-point arithmetic 754, section 4.3.1",
    note=text("Halves go to the even neighbour. Constant between its jumps: PyTorch gives the gradient 0 everywhere."),
)  # fmt: skip
class round_:
    def forward(input, *, decimals=0):
        if decimals == 0 or input.dtype.kind != "f":
            return np.rint(input).astype(input.dtype)
        ten = 10.0 ** abs(decimals)
        return np.rint(input * ten) / ten if decimals > 0 else np.rint(input / ten) * ten

    def backward(dY, Y, input, *, decimals=0):
        return {"input": np.zeros(input.shape)}


frac = _row(
    "frac", function=torch.frac, y=r"X - \operatorname{sign}(X) \lfloor |X| \rfloor", slope=r"\bar{Y}", f=lambda X: X - np.trunc(X),
    derivative=lambda X, Y: 1.0, source="Graham, Knuth and Patashnik 1994, Concrete Mathematics, section 3.1",
)  # fmt: skip

# -- circular and hyperbolic functions -----------------------------------------------------------------------------------------------------

_CIRCULAR, _ARCS, _HYPERBOLIC, _AREAS = (_HANDBOOK + section for section in ("4.20", "4.24(ii)", "4.34", "4.38(ii)"))

sin = _row(
    "sin", function=torch.sin, y=r"\sin X", slope=r"\bar{Y} \odot \cos X", f=np.sin,
    derivative=lambda X, Y: np.cos(X), source=_CIRCULAR,
)  # fmt: skip
cos = _row(
    "cos", function=torch.cos, y=r"\cos X", slope=r"-\bar{Y} \odot \sin X", f=np.cos,
    derivative=lambda X, Y: -np.sin(X), source=_CIRCULAR,
)  # fmt: skip
tan = _row(
    "tan", function=torch.tan, y=r"\tan X", slope=r"\bar{Y} \odot (1 + Y^{2})", f=np.tan,
    derivative=lambda X, Y: 1 + Y * Y, source=_CIRCULAR,
)  # fmt: skip
asin = _row(
    "asin", function=torch.asin, y=r"\arcsin X", slope=r"\frac{\bar{Y}}{\sqrt{1 - X^{2}}}", f=np.arcsin,
    derivative=lambda X, Y: 1 / np.sqrt(1 - X * X), source=_ARCS,
)  # fmt: skip
acos = _row(
    "acos", function=torch.acos, y=r"\arccos X", slope=r"-\frac{\bar{Y}}{\sqrt{1 - X^{2}}}", f=np.arccos,
    derivative=lambda X, Y: -1 / np.sqrt(1 - X * X), source=_ARCS,
)  # fmt: skip
atan = _row(
    "atan", function=torch.atan, y=r"\arctan X", slope=r"\frac{\bar{Y}}{1 + X^{2}}", f=np.arctan,
    derivative=lambda X, Y: 1 / (1 + X * X), source=_ARCS,
)  # fmt: skip
sinh = _row(
    "sinh", function=torch.sinh, y=r"\sinh X", slope=r"\bar{Y} \odot \cosh X", f=np.sinh,
    derivative=lambda X, Y: np.cosh(X), source=_HYPERBOLIC,
)  # fmt: skip
cosh = _row(
    "cosh", function=torch.cosh, y=r"\cosh X", slope=r"\bar{Y} \odot \sinh X", f=np.cosh,
    derivative=lambda X, Y: np.sinh(X), source=_HYPERBOLIC,
)  # fmt: skip
asinh = _row(
    "asinh", function=torch.asinh, y=r"\operatorname{arsinh} X", slope=r"\frac{\bar{Y}}{\sqrt{X^{2} + 1}}", f=np.arcsinh,
    derivative=lambda X, Y: 1 / np.sqrt(X * X + 1), source=_AREAS,
)  # fmt: skip
acosh = _row(
    "acosh", function=torch.acosh, y=r"\operatorname{arcosh} X", slope=r"\frac{\bar{Y}}{\sqrt{X - 1} \sqrt{X + 1}}", f=np.arccosh,
    derivative=lambda X, Y: 1 / (np.sqrt(X - 1) * np.sqrt(X + 1)), source=_AREAS,
)  # fmt: skip
atanh = _row(
    "atanh", function=torch.atanh, y=r"\operatorname{artanh} X", slope=r"\frac{\bar{Y}}{1 - X^{2}}", f=np.arctanh,
    derivative=lambda X, Y: 1 / (1 - X * X), source=_AREAS,
)  # fmt: skip


def _sinc_slope(X, Y):
    pi_x = np.pi * np.where(X == 0, 1.0, X)
    return np.where(X == 0, 0.0, (np.cos(pi_x) * pi_x - np.sin(pi_x)) / (pi_x * np.where(X == 0, 1.0, X)))


sinc = _row(
    "sinc", function=torch.sinc, y=r"\frac{\sin \pi X}{\pi X}", slope=r"\bar{Y} \odot \frac{\pi X \cos \pi X - \sin \pi X}{\pi X^{2}}",
    f=np.sinc, derivative=_sinc_slope, source="Bracewell 2000, The Fourier Transform and Its Applications, chapter 4",
    where={}, note=text("At 0 the value is 1 and the derivative 0."),
)  # fmt: skip
deg2rad = _row(
    "deg2rad", function=torch.deg2rad, y=r"\frac{\pi}{180} X", slope=r"\frac{\pi}{180} \bar{Y}", f=lambda X: X * (math.pi / 180),
    derivative=lambda X, Y: math.pi / 180, source="Spivak 2008, Calculus, chapter 15",
)  # fmt: skip
rad2deg = _row(
    "rad2deg", function=torch.rad2deg, y=r"\frac{180}{\pi} X", slope=r"\frac{180}{\pi} \bar{Y}", f=lambda X: X * (180 / math.pi),
    derivative=lambda X, Y: 180 / math.pi, source="Spivak 2008, Calculus, chapter 15",
)  # fmt: skip

# -- the error function and the normal distribution ----------------------------------------------------------------------------------------

_ERROR = _HANDBOOK + "7.10"
_NORMAL = {r"\Phi": text("the distribution function of the standard normal distribution"), r"\varphi": text("its density")}
ROOT_TWO_PI = math.sqrt(2 * math.pi)


def normal_density(x):
    return np.exp(-x * x / 2) / ROOT_TWO_PI


erf = _row(
    "erf", function=torch.erf, y=r"\operatorname{erf} X", slope=r"\frac{2}{\sqrt{\pi}} e^{-X^{2}} \odot \bar{Y}",
    f=lambda X: special().erf(X), derivative=lambda X, Y: 2 / math.sqrt(math.pi) * _gaussian(X), where=_E, source=_ERROR,
)  # fmt: skip
erfc = _row(
    "erfc", function=torch.erfc, y=r"1 - \operatorname{erf} X", slope=r"-\frac{2}{\sqrt{\pi}} e^{-X^{2}} \odot \bar{Y}",
    f=lambda X: special().erfc(X), derivative=lambda X, Y: -2 / math.sqrt(math.pi) * _gaussian(X), where=_E, source=_ERROR,
)  # fmt: skip
erfinv = _row(
    "erfinv", function=torch.erfinv, y=r"\operatorname{erf}^{-1} X", slope=r"\frac{\sqrt{\pi}}{2} e^{Y^{2}} \odot \bar{Y}",
    f=lambda X: special().erfinv(X), derivative=lambda X, Y: math.sqrt(math.pi) / 2 * np.exp(Y * Y), where=_E,
    source=_HANDBOOK + "7.17",
)  # fmt: skip
erfcx = _row(
    "erfcx", function=torch.special.erfcx, y=r"e^{X^{2}} (1 - \operatorname{erf} X)",
    slope=r"\Bigl( 2 X \odot Y - \frac{2}{\sqrt{\pi}} \Bigr) \odot \bar{Y}",
    f=lambda X: special().erfcx(X), derivative=lambda X, Y: 2 * X * Y - 2 / math.sqrt(math.pi), where=_E, source=_ERROR,
)  # fmt: skip
ndtr = _row(
    "ndtr", function=torch.special.ndtr, y=r"\Phi(X)", slope=r"\bar{Y} \odot \varphi(X)", f=lambda X: special().ndtr(X),
    derivative=lambda X, Y: normal_density(X), where=_NORMAL, source=_HANDBOOK + "7.20(iii)",
)  # fmt: skip
log_ndtr = _row(
    "log_ndtr", function=torch.special.log_ndtr, y=r"\ln \Phi(X)", slope=r"\bar{Y} \odot \frac{\varphi(X)}{\Phi(X)}",
    f=lambda X: special().log_ndtr(X), where=_NORMAL, source=_HANDBOOK + "7.20(iii)",
    derivative=lambda X, Y: 2 / (special().erfcx(-X / math.sqrt(2)) * ROOT_TWO_PI),
)  # fmt: skip
ndtri = _row(
    "ndtri", function=torch.special.ndtri, y=r"\Phi^{-1}(X)", slope=r"\frac{\bar{Y}}{\varphi(Y)}", f=lambda X: special().ndtri(X),
    derivative=lambda X, Y: 1 / normal_density(Y), where=_NORMAL, source=_HANDBOOK + "7.20(iii)",
)  # fmt: skip

# -- the gamma function and its relatives --------------------------------------------------------------------------------------------------

_PSI = {r"\psi": text("the digamma function")}

lgamma = _row(
    "lgamma", function=torch.lgamma, y=r"\ln |\Gamma(X)|", slope=r"\bar{Y} \odot \psi(X)", f=lambda X: special().gammaln(X),
    derivative=lambda X, Y: _digamma(X), where={**_PSI, r"\Gamma": text("the gamma function")}, source=_HANDBOOK + "5.2(i)",
)  # fmt: skip
digamma = _row(
    "digamma", function=torch.digamma, y=r"\psi(X)", slope=r"\bar{Y} \odot \psi^{(1)}(X)", f=lambda X: _digamma(X),
    derivative=lambda X, Y: special().zeta(2.0, X), where={r"\psi": text("the digamma function, and its derivative")},
    source=_HANDBOOK + "5.15",
)  # fmt: skip


def _digamma(x):
    """As PyTorch has it at the poles: minus infinity at 0 (plus at -0), NaN at the negative integers."""
    return np.where(x == 0, -np.copysign(np.inf, x), special().psi(x))


@rule(
    "polygamma", function=torch.special.polygamma,
    forward=r"Y = \psi^{(n)}(X)", backward={"input": r"\bar{X} = \bar{Y} \odot \psi^{(n + 1)}(X)"},
    symbols={"X": "input", "n": "n", "Y": "output"}, where={r"\psi": text("the digamma function's derivative of this order")},
    source=_HANDBOOK + "5.15",
)  # fmt: skip
class polygamma:
    def forward(n, input):
        return _polygamma(n, input)

    def backward(dY, Y, n, input):
        return {"input": dY * _polygamma(n + 1, input)}

    def arguments(bound):  # x.polygamma(2) has the tensor first
        if isinstance(bound["input"], int):
            bound["n"], bound["input"] = bound["input"], bound["n"]
        return bound


def _polygamma(n, x):
    if n == 0:
        return _digamma(x)
    return (-1.0) ** (n + 1) * math.factorial(n) * special().zeta(n + 1.0, x)


# -- Bessel functions ----------------------------------------------------------------------------------------------------------------------

_BESSEL = _HANDBOOK + "10.29"
_I = {"I": text("the modified Bessel functions of the first kind")}


def _quotient(numerator, x, at_zero):
    return np.where(x == 0, at_zero, numerator / np.where(x == 0, 1.0, x))


i0 = _row(
    "i0", function=torch.i0, y=r"I_{0}(X)", slope=r"\bar{Y} \odot I_{1}(X)", f=lambda X: special().i0(X),
    derivative=lambda X, Y: special().i1(X), where=_I, source=_BESSEL,
)  # fmt: skip
i0e = _row(
    "i0e", function=torch.special.i0e, y=r"e^{-|X|} I_{0}(X)",
    slope=r"\bar{Y} \odot \bigl( e^{-|X|} I_{1}(X) - \operatorname{sign}(X) \odot Y \bigr)",
    f=lambda X: special().i0e(X), derivative=lambda X, Y: special().i1e(X) - np.sign(X) * Y, where={**_I, **_E}, source=_BESSEL,
)  # fmt: skip
i1 = _row(
    "i1", function=torch.special.i1, y=r"I_{1}(X)", slope=r"\bar{Y} \odot \Bigl( I_{0}(X) - \frac{Y}{X} \Bigr)",
    f=lambda X: special().i1(X), derivative=lambda X, Y: special().i0(X) - _quotient(Y, X, 0.5), where=_I, source=_BESSEL,
)  # fmt: skip
i1e = _row(
    "i1e", function=torch.special.i1e, y=r"e^{-|X|} I_{1}(X)",
    slope=r"\bar{Y} \odot \Bigl( e^{-|X|} I_{0}(X) - Y \odot \bigl( \operatorname{sign}(X) + 1 / X \bigr) \Bigr)",
    f=lambda X: special().i1e(X), derivative=lambda X, Y: special().i0e(X) - Y * np.sign(X) - _quotient(Y, X, 0.5),
    where={**_I, **_E}, source=_BESSEL,
)  # fmt: skip

# -- with options --------------------------------------------------------------------------------------------------------------------------

entr = _row(
    "entr", function=torch.special.entr, y=r"-X \odot \ln X", slope=r"-\bar{Y} \odot (\ln X + 1)", f=lambda X: special().entr(X),
    derivative=lambda X, Y: np.where(X < 0, np.nan, -(np.log(np.where(X < 0, 1.0, X)) + 1)),
    source="Cover and Thomas 2006, Elements of Information Theory, section 2.1", note=text("0 ln 0 is 0."),
)  # fmt: skip


@rule(
    "logit", function=torch.logit,
    forward=r"Y = \ln \frac{P}{1 - P}\given{eps}{, \quad P = \min(\max(X, \varepsilon), 1 - \varepsilon)}\given{!eps}{, \quad P = X}",
    backward={"input": r"\bar{X} = \frac{\bar{Y}}{P (1 - P)}\given{eps}{ \odot [\varepsilon \le X \le 1 - \varepsilon]}"},
    symbols={"X": "input", r"\varepsilon": "eps", "Y": "output"}, where={"P": text("a probability")},
    source="Berkson 1944, Application of the logistic function to bio-assay",
)  # fmt: skip
class logit:
    def forward(input, eps=None):
        p = input if eps is None else np.clip(input, eps, 1 - eps)
        return np.log(p / (1 - p))

    def backward(dY, Y, input, eps=None):
        if eps is None:
            return {"input": np.where((input < 0) | (input > 1), np.nan, dY / (input * (1 - input)))}
        return {"input": np.where((input < eps) | (input > 1 - eps), 0.0, dY / (input * (1 - input)))}


@rule(
    "nan_to_num", function=torch.nan_to_num,
    forward=r"Y_{i} = \begin{cases} X_{i} & |X_{i}| < \infty \\ c_{i} & \lnot (|X_{i}| < \infty) \end{cases}",
    backward={"input": r"\bar{X}_{i} = [|X_{i}| < \infty] \, \bar{Y}_{i}"},
    symbols={"X": "input", "Y": "output"}, where={"i": text("an entry"), "c": text("nan, posinf or neginf, as the entry is")},
    source="Harris et al. 2020, Array programming with NumPy",
)  # fmt: skip
class nan_to_num:
    def forward(input, nan=None, posinf=None, neginf=None):
        if input.dtype.kind != "f":
            return input
        limits = np.finfo(np.float64)
        return np.nan_to_num(
            input,
            nan=0.0 if nan is None else nan,
            posinf=limits.max if posinf is None else posinf,
            neginf=limits.min if neginf is None else neginf,
        )

    def backward(dY, Y, input, nan=None, posinf=None, neginf=None):
        return {"input": dY * np.isfinite(input)}


@rule(
    "mvlgamma", function=torch.mvlgamma,
    forward=r"Y = \frac{p (p - 1)}{4} \ln \pi + \sum_{j=1}^{p} \ln \Gamma\Bigl( X - \frac{j - 1}{2} \Bigr)",
    backward={"input": r"\bar{X} = \bar{Y} \odot \sum_{j=1}^{p} \psi\Bigl( X - \frac{j - 1}{2} \Bigr)"},
    symbols={"X": "input", "p": "p", "Y": "output"},
    where={"j": text("the number of the term"), r"\Gamma": text("the gamma function"), **_PSI}, source=_HANDBOOK + "35.3",
)  # fmt: skip
class mvlgamma:
    def forward(input, p):
        return p * (p - 1) / 4 * math.log(math.pi) + sum(special().gammaln(input - j / 2) for j in range(p))

    def backward(dY, Y, input, p):
        return {"input": dY * sum(special().psi(input - j / 2) for j in range(p))}

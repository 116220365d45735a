"""Which activations kernels know, and the polynomials behind them.

**tanh.** With a = |x| and t = e^(-2a) - 1, tanh a = -t / (2 + t), which loses nothing near zero.
**gelu.** x Phi(x), with Phi(-a) = e^(-a^2/2) w(a) for a >= 0, and (a + 4) w(a) a polynomial in
(a - 4) / (a + 4); a^2 is taken in two parts, because the exponential multiplies its error by its
size. **Exponential.** e^y = 2^n e^r with |r| <= log(2)/2; log 2 is taken in two parts.

Chebyshev polynomials, lowest power first: (e^r - 1 - r) / r^2 to 7e-8 and 1e-16; (a + 4) w(a) to
1e-8 for a up to 14.5, and 2e-17 up to 39.
"""

from typing import Literal, get_args

__all__ = [
    "ACTIVATION_CODES",
    "EXPONENTIAL_32",
    "EXPONENTIAL_64",
    "LOG_2_32",
    "LOG_2_64",
    "TAIL_32",
    "TAIL_64",
    "ActivationCode",
]

ActivationCode = Literal["identity", "relu", "tanh", "gelu"]
"""The activations that kernels know."""

ACTIVATION_CODES: tuple[ActivationCode, ...] = get_args(ActivationCode)
"""An activation's place is its code in compiled loops."""

EXPONENTIAL_32 = (
    0.5, 0.16666576666119929, 0.041666554212984150, 0.0083632328836826182, 0.0013926250831497612,
)  # fmt: skip
EXPONENTIAL_64 = (
    0.50000000000000010314, 0.1666666666666666746, 0.041666666666623820532,
    0.0083333333333300381973, 0.0013888888917367080562, 0.00019841269863171556026,
    2.4801521057868205199e-5, 2.7557268276905696187e-6, 2.7620201591031548778e-7,
    2.5100472505694995992e-8,
)  # fmt: skip
LOG_2_32 = 0.693115234375, 3.1946184945309415e-05
LOG_2_64 = 0.6931471803691238, 1.9082149292705877e-10
TAIL_32 = (
    0.7552851385103706, -0.6078966060738091, 0.3871366797947066, -0.18652300589738766,
    0.06040646974830364, -0.007527212911679855, -0.003523574056351906, 0.0015693136450922462,
    0.00019480185114246543, -0.00012298315700526609,
)  # fmt: skip
TAIL_64 = (
    0.7552851304157515, -0.6078966419718917, 0.38713740074221886, -0.18652185795969417,
    0.06039657489069947, -0.007540188965593059, -0.0034796923622425332, 0.0016308184418903596,
    0.00013334425401904912, -0.0002310948183193762, -1.9078665316613576e-06,
    3.5144181157760973e-05, 7.150055959216099e-07, -5.918892731763236e-06,
    -6.25132104047868e-07, 1.0198048518135172e-06, 2.6368248576407624e-07,
    -1.5426320536771075e-07, -7.63808205349045e-08, 1.457859334703646e-08,
    1.392402399350171e-08, 7.26954547902669e-11, -9.653425420228504e-10,
)  # fmt: skip

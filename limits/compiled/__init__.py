"""The numbers that torch and numpy draw, in every bit, from loops that numba compiles."""

from limits.compiled.choice import Loops as Loops
from limits.compiled.choice import loops_for as loops_for
from limits.compiled.mersenne import WORDS as WORDS
from limits.compiled.mersenne import generator_of as generator_of

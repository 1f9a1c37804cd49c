"""How texts compare: overlap with what was wanted, variety, words of a person's own, and distances between texts."""

from sartor.evaluate.text.distances import DISTANCES, distance_matrix
from sartor.evaluate.text.meteor import meteor
from sartor.evaluate.text.overlap import bleu, corpus_bleu, rouge_l, rouge_n, rouge_su
from sartor.evaluate.text.own_words import OwnWords
from sartor.evaluate.text.variety import distinct, divergence, likelihood_score
from sartor.evaluate.text.words import content_words, words

__all__ = [
    "DISTANCES", "OwnWords", "bleu", "content_words", "corpus_bleu", "distance_matrix", "distinct", "divergence", "likelihood_score", "meteor",
    "rouge_l", "rouge_n", "rouge_su", "words",
]  # fmt: skip

"""Metrics and controls of prompts: known answers, agreement with brute force, refusals."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch

from bench.interfaces import BenchError, Estimate, ScoringContext, Texts
from bench.metrics.prompt_meaning import PromptCosine, PromptTop1
from bench.metrics.prompt_tokens import ExactMatch, TokenAccuracy
from bench.metrics.prompt_words import RougeL
from bench.metrics.rouge import lcs_lengths, rouge_l, rouge_table
from bench.metrics.squared_error import MSE
from bench.metrics.structural_similarity import SSIM
from bench.scoring.controls.prompts import prompt_controls
from bench.scoring.matching import match_texts
from bench.scoring.score import score_target
from tests.conftest import make_records


class WordTokens:
    """A tokenizer of whole words that keeps the first four."""

    def tokens(self, prompts):
        return tuple(
            tuple(sum(map(ord, word)) for word in prompt.split()[:4]) for prompt in prompts
        )


class Letters:
    """A text tower that counts letters."""

    name = "letters"

    def text_embed(self, prompts):
        return torch.tensor([[float(p.count(c)) for c in "abcdef"] for p in prompts]) + 1e-3


class Backbones:
    prompt = Letters()
    identity = distribution = perceptual = None


def shown(*prompts: str) -> ScoringContext:
    nothing, nobody = make_records(2).image_batch(), (None, None)
    backbones: Any = Backbones()
    return ScoringContext(
        nothing, nobody, nothing, nobody, backbones, prompts=prompts, text=WordTokens()
    )


@pytest.mark.parametrize(
    ("claim", "truth", "expected"),
    [
        # Lin 2004, section 3: "police kill the gunman" and "the gunman kill police" against "police
        # killed the gunman", there as recall 3/4 and 2/4; both sides have four words, so F is the
        # same.
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("a b c d", "b d", 2 * (2 / 4) * 1 / (2 / 4 + 1)),
        ("A Man, smiling", "a man smiling", 1.0),
        ("", "a man", 0.0),
        ("", "", 1.0),
    ],
)
def test_rouge_l_of_known_pairs(claim, truth, expected):
    assert rouge_l([claim], [truth]).tolist() == pytest.approx([expected])
    assert rouge_l([truth], [claim]).tolist() == pytest.approx([expected]), "F is symmetric"


def test_common_subsequences_agree_with_trying_all():
    texts = [
        list(row)
        for n in (0, 1, 3, 4)
        for row in itertools.islice(itertools.product("abc", repeat=n), 0, 20, 3)
    ]

    def brute(a, b):
        def subsequences(row):
            return {c for n in range(len(row) + 1) for c in itertools.combinations(row, n)}

        return max(map(len, subsequences(a) & subsequences(b)))

    pairs = list(itertools.product(texts, texts))
    found = lcs_lengths([a for a, _ in pairs], [b for _, b in pairs])
    assert found.tolist() == [brute(a, b) for a, b in pairs]
    table = rouge_table(["a b", "c"], ["b", "c", "a b"])
    assert table.shape == (2, 3)
    assert table[0].tolist() == pytest.approx([2 / 3, 0.0, 1.0])


def test_token_accuracy_counts_true_tokens_at_their_place():
    truth = Texts(("a red hat here now", "b", ""))
    context = shown(*truth.texts)
    metric = TokenAccuracy()
    found = metric.compare(Texts(("a blue hat here then", "x b", "")), truth, context)
    assert found.tolist() == [3 / 4, 0.0, 1.0], "the fifth word is beyond what the encoder takes"
    assert metric.compare(Texts(("", "b c", "z")), truth, context).tolist() == [0.0, 1.0, 0.0]
    given = Texts(("x", "x", "x"), WordTokens().tokens(truth.texts))
    assert metric.compare(given, truth, context).tolist() == [1.0, 1.0, 1.0], (
        "tokens that were read count as they are"
    )


def test_no_tokenizer_no_token_accuracy():
    context = shown("a")
    object.__setattr__(context, "text", None)
    assert TokenAccuracy().compare(Texts(("a",)), Texts(("a",)), context) is None


def test_exact_match_forgives_case_and_blanks_only():
    truth = Texts(("A man, smiling",) * 4)
    claim = Texts(("a man , smiling", "a man smiling", "a man, smiling", "a man, smiling."))
    assert ExactMatch().compare(claim, truth, shown("")).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_cosine_and_retrieval_by_text_embedding():
    gallery = ("aab", "ccd", "eef", "aab", "abb")
    truth = Texts(gallery[:3])
    found = PromptTop1().compare(Texts(("aab", "eef", "xyz")), truth, shown(*gallery))
    assert found.tolist() == [1.0, 0.0, 0.0], "right, wrong, and a tie between all"
    cosine = PromptCosine().compare(Texts(("aab", "aab", "aab")), truth, shown(*gallery))
    assert cosine[0] == pytest.approx(1.0)
    assert float(cosine[1]) < 0.01
    assert PromptTop1().backbone(shown()) == "letters"
    assert PromptTop1().compare(Texts(("a",)), Texts(("a",)), shown("a", "a")) is None
    with pytest.raises(BenchError, match="lacks the true prompt"):
        PromptTop1().compare(Texts(("a",)), Texts(("a",)), shown("b", "c"))


@pytest.mark.parametrize("metric", [TokenAccuracy, ExactMatch, RougeL, PromptCosine, PromptTop1])
def test_another_number_of_texts_is_refused(metric):
    with pytest.raises(BenchError, match="1 texts, the truth 2"):
        metric().compare(Texts(("a",)), Texts(("a", "b")), shown("a", "b"))


def test_pictures_and_texts_go_to_their_own_metrics():
    words = Texts(("a b", "b"))
    metrics = [RougeL(), SSIM(), MSE()]
    scores = score_target(
        "prompt", words, words, {"oracle": words, "random": words}, metrics, shown("a b"), seed=0
    )
    assert [s.metric for s in scores] == ["rouge_l"]
    assert scores[0].ceiling == 1.0
    pictures = Estimate(make_records(2).image_batch())
    scores = score_target("image", pictures, pictures, {}, metrics, shown(), seed=0)
    assert [s.metric for s in scores] == ["ssim", "mse"]

    class Confused(MSE):
        targets = frozenset({"prompt"})

    with pytest.raises(BenchError, match="declares a target that is text"):
        score_target("prompt", words, words, {}, [Confused()], shown(), seed=0)


def test_texts_of_one_update_are_put_in_the_order_that_fits():
    truth = Texts(("red hat", "blue coat", "green tree"))
    claim = Texts(("a blue coat", "a red hat", "red"), ((1,), (2,), (3,)))
    found = match_texts(claim, truth, [[0, 1], [2]])
    assert found == Texts(("a red hat", "a blue coat", "red"), ((2,), (1,), (3,)))


def test_controls_are_made_of_auxiliary_prompts_and_the_oracle_is_the_cut_truth():
    records, auxiliary = make_records(3), make_records(6, seed=1)
    object.__setattr__(records, "prompts", ("a red hat on a man", "blue", "green"))
    object.__setattr__(
        auxiliary,
        "prompts",
        ("a red hat", "a blue hat", "blue", "a red coat", "a red hat now", "sea"),
    )

    class Kept(WordTokens):
        def decode(self, row):
            return f"{len(row)} words"

    found = prompt_controls(records, auxiliary, Kept(), seed=0)  # type: ignore[arg-type]
    assert found["typical"].texts == ("a red hat",) * 3
    assert found["nearest"].texts[:2] == ("a red hat", "blue")
    assert found["oracle"].texts == ("4 words", "1 words", "1 words")
    assert set(found["random"].texts) <= set(auxiliary.prompts)
    assert len(found["caption"]) == 3
    assert prompt_controls(records, auxiliary, None, seed=0)["oracle"].texts == records.prompts
    assert prompt_controls(records, auxiliary, None, seed=0) == prompt_controls(
        records, auxiliary, None, seed=0
    )


def test_a_wording_knows_its_rows():
    with pytest.raises(BenchError, match="2 texts but 1 rows"):
        Texts(("a", "b"), ((1,),))

"""Entity spans and scores, against seqeval."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlmctl.measure import entities
from mlmctl.measure.entities import Counts, Span

TYPES = ["PER", "LOC", "work-of-art"]
TAGS = ["O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in TYPES)]
sentences = st.lists(st.sampled_from(TAGS), max_size=12)
BILOU = {"E": "L", "S": "U"}


def pairs(tags: list[str]) -> st.SearchStrategy[tuple[list[str], list[str]]]:
    """Truth and prediction of one sentence."""
    length = st.integers(1, 10)
    tag = st.sampled_from(tags)
    return length.flatmap(lambda n: st.tuples(*[st.lists(tag, min_size=n, max_size=n)] * 2))


@settings(deadline=None)
@given(st.lists(pairs(TAGS), min_size=1, max_size=6))
def test_scores_are_those_of_seqeval(drawn: list[tuple[list[str], list[str]]]) -> None:
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling")
    truth, predicted = ([list(row) for row in column] for column in zip(*drawn, strict=True))
    counts = entities.count(map(entities.spans, truth), map(entities.spans, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its words about types that are never predicted
        score = reference.precision_recall_fscore_support
        for average, ours in (("micro", entities.micro(counts.values())), (None, None)):
            precision, recall, f1, support = score(truth, predicted, average=average, zero_division=0)
            if ours is not None:
                assert (ours.precision, ours.recall, ours.f1) == pytest.approx((precision, recall, f1))
                assert ours.num_entities == support
            else:
                assert [each.precision for each in counts.values()] == pytest.approx(list(precision))
                assert [each.recall for each in counts.values()] == pytest.approx(list(recall))
                assert [each.f1 for each in counts.values()] == pytest.approx(list(f1))
                assert [each.num_entities for each in counts.values()] == list(support)
        if counts:  # seqeval takes the mean of nothing
            macro = reference.f1_score(truth, predicted, average="macro", zero_division=0)
            assert entities.macro_f1(counts.values()) == pytest.approx(macro)


@settings(deadline=None)
@given(sentences)
def test_spans_are_those_of_seqeval_whatever_the_order_of_tags(tags: list[str]) -> None:
    reference = pytest.importorskip("seqeval.metrics.sequence_labeling")
    expected = [(kind, start, last + 1) for kind, start, last in reference.get_entities(tags)]
    assert entities.spans(tags) == expected


@given(sentences)
def test_bilou_means_what_iobes_means(tags: list[str]) -> None:
    assert entities.spans([BILOU.get(tag[0], tag[0]) + tag[1:] for tag in tags]) == entities.spans(tags)


@given(sentences)
def test_iob2_is_the_same_entities_and_valid(tags: list[str]) -> None:
    found = entities.spans(tags)
    written = entities.iob2(found, len(tags))
    assert len(written) == len(tags)
    assert entities.spans(written) == found
    assert entities.num_unbegun(written) == 0
    for before, tag in zip(["O", *written], written, strict=False):
        assert tag[0] != "I" or before[1:] == tag[1:]


@pytest.mark.parametrize(
    "tags",
    [
        ["B-PER", "I-PER", "O", "B-LOC", "B-LOC", "I-LOC"],  # IOB2
        ["I-PER", "I-PER", "O", "I-LOC", "B-LOC", "I-LOC"],  # IOB1
        ["B-PER", "E-PER", "O", "S-LOC", "B-LOC", "E-LOC"],  # IOBES
        ["B-PER", "L-PER", "O", "U-LOC", "B-LOC", "L-LOC"],  # BILOU
    ],
)
def test_the_schemes_say_the_same(tags: list[str]) -> None:
    assert entities.spans(tags) == [Span("PER", 0, 2), Span("LOC", 3, 4), Span("LOC", 4, 6)]
    assert entities.num_unbegun(tags) == (2 if tags[0][0] == "I" else 0)
    assert entities.is_iob1([tags]) == (tags[0][0] == "I")


def test_what_continues_nothing_is_a_fault_unless_that_is_the_scheme() -> None:
    assert entities.num_unbegun(["O", "I-PER", "B-LOC", "I-PER", "I-PER"]) == 2
    assert entities.num_unbegun(["S-PER", "E-PER", "B-PER", "I-PER", "E-PER"]) == 1
    assert entities.num_unbegun([]) == 0
    assert entities.is_iob1([["O", "I-PER"], ["I-LOC", "I-PER", "B-PER"]])
    assert not entities.is_iob1([["O", "I-PER"], ["I-LOC", "B-PER"]])
    assert not entities.is_iob1([["I-PER", "E-PER"]])


def test_a_tag_without_a_type_has_the_one_type_there_is() -> None:
    assert entities.spans(["B", "I", "O", "I"]) == [Span("_", 0, 2), Span("_", 3, 4)]
    assert entities.spans(entities.iob2([Span("_", 0, 2)], 2)) == [Span("_", 0, 2)]


@pytest.mark.parametrize("tag", ["", "o", "PER", "B-", "NN", "X-PER", "b-PER", "1", "PER-B", "B_PER"])
def test_what_is_no_tag_is_refused(tag: str) -> None:
    with pytest.raises(ValueError, match="is not O"):
        entities.spans(["O", tag])


def test_no_entities_score_zero() -> None:
    assert entities.count([[], []], [[], []]) == {}
    assert (Counts().precision, Counts().recall, Counts().f1) == (0.0, 0.0, 0.0)
    assert entities.micro([]) == Counts()
    assert entities.macro_f1([]) == 0.0


def test_as_many_sentences_are_wanted_on_both_sides() -> None:
    with pytest.raises(ValueError):
        entities.count([[]], [[], []])

import pytest
from PIL import Image

from search_spaces.model import UserError
from trainables.data.importers.listing import SEVEN, Listing, Sample, choose_classes


def listing(*names: str, fixed: bool = False, labels: list[int] | None = None) -> Listing:
    """Return one sample of each class, or of the labels given."""
    labels = list(range(len(names))) if labels is None else labels
    samples = [Sample(f"{i}.png", label, None) for i, label in enumerate(labels)]
    return Listing(
        "folder", names, samples, lambda s: Image.new("L", (8, 8)), lambda s: (0, s.name), fixed
    )


def kept(result: Listing) -> dict[str, str]:
    return {sample.name: result.classes[sample.label] for sample in result.samples}


def test_names_of_expressions_take_our_names_and_order() -> None:
    names = ("Angry", "disgusted", "Fearful", "happiness", "sadness", "surprised", "neutral")
    result = choose_classes(listing(*names), "seven")
    assert result.classes == SEVEN
    ours = ("anger", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert list(kept(result).values()) == list(ours)


def test_two_spellings_of_one_expression_are_one_class() -> None:
    result = choose_classes(listing("happy", "joy", "sad"), "seven")
    assert result.classes == ("happy", "sad")
    assert kept(result) == {"0.png": "happy", "1.png": "happy", "2.png": "sad"}


def test_seven_drops_contempt_and_all_keeps_it() -> None:
    names = ("contempt", "happy", "none", "sad")
    seven = choose_classes(listing(*names), "seven")
    assert (seven.classes, seven.dropped) == (("happy", "sad"), {"contempt": 1, "none": 1})
    every = choose_classes(listing(*names), "all")
    assert (every.classes, every.dropped) == (("happy", "sad", "contempt"), {"none": 1})


def test_other_classes_are_all_kept_and_sorted() -> None:
    assert choose_classes(listing("dog", "happy", "cat"), "seven").classes == (
        "cat",
        "dog",
        "happy",
    )
    assert choose_classes(listing("10", "9", "1"), "seven").classes == ("1", "9", "10")


def test_fixed_classes_stay_where_no_image_has_them() -> None:
    result = choose_classes(listing(*SEVEN, fixed=True, labels=[1, 2]), "seven")
    assert result.classes == SEVEN
    assert choose_classes(listing("b", "a", "c", fixed=True, labels=[0, 1]), "all").classes == (
        "b", "a", "c"
    )  # fmt: skip


@pytest.mark.parametrize("names", [("contempt", "happy"), ("dog",), ()])
def test_fewer_than_two_classes_are_an_error(names: tuple[str, ...]) -> None:
    with pytest.raises(UserError, match="At least two"):
        choose_classes(listing(*names), "seven")

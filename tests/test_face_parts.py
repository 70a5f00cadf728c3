"""How people write a choice of the parts of a face."""

import pytest

from facerestore.config import RestoreConfig
from facerestore.errors import ConfigError
from facerestore.face_parts import (
    CLASS_COLOURS,
    CLASS_NAMES,
    FACE_CLASSES,
    REGIONS,
    classes_of,
    parse_mask,
    parse_region,
)


def test_every_class_has_a_name_and_a_colour_of_its_own():
    assert len(CLASS_NAMES) == len(set(CLASS_NAMES)) == len(set(CLASS_COLOURS)) == 19
    assert all(classes <= set(CLASS_NAMES) for classes in REGIONS.values())


@pytest.mark.parametrize("word", ["left_eye", "left-eye", "Left Eye", "LEFT_EYE"])
def test_case_and_joints_of_words_do_not_matter(word):
    assert classes_of(word) == {"left_eye"}


def test_mouth_is_the_whole_mouth_and_its_inside_has_a_word():
    assert classes_of("mouth") == {"mouth", "upper_lip", "lower_lip"}
    assert classes_of("inner mouth") == {"mouth"}
    assert classes_of("lips") | classes_of("inner_mouth") == classes_of("mouth")


@pytest.mark.parametrize(("word", "close"), [("eye", "eyes"), ("hairs", "hair"), ("eybrows", "brows")])
def test_an_unknown_word_names_the_closest(word, close):
    with pytest.raises(ConfigError, match=f"'{word}' is no part of a face; did you mean '{close}'"):
        classes_of(word)


def test_a_mask_with_a_slip_reads_well():
    with pytest.raises(ConfigError, match=r"did you mean 'eyes'\? a mask is 'whole', or parts"):
        parse_mask("eye")
    with pytest.raises(ConfigError, match=r"hat, .*cloth; a mask is 'whole', or parts"):
        parse_mask("zzz")


def test_a_word_like_none_lists_them_all():
    with pytest.raises(ConfigError, match="choose from face, eyes, brows"):
        classes_of("xyzzy")


@pytest.mark.parametrize(
    ("choice", "classes"),
    [
        ("face", FACE_CLASSES),
        ("whole", None),
        (" Whole ", None),
        ("face,hair", FACE_CLASSES | {"hair"}),
        ("face, hair , hat", FACE_CLASSES | {"hair", "hat"}),
        ("face,-ears", FACE_CLASSES - {"left_ear", "right_ear"}),
        ("-ears", FACE_CLASSES - {"left_ear", "right_ear"}),
        ("+hair", FACE_CLASSES | {"hair"}),
        ("+hair,-glasses", (FACE_CLASSES | {"hair"}) - {"eyeglasses"}),
        ("face,-left-ear", FACE_CLASSES - {"left_ear"}),
        ("eyes,mouth", {"left_eye", "right_eye", "mouth", "upper_lip", "lower_lip"}),
    ],
)
def test_masks_are_sums_and_differences_of_parts(choice, classes):
    assert parse_mask(choice) == classes


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("", "mask is ''"),
        ("face,", "mask is 'face,'"),
        ("wig", "a mask is 'whole', or parts such as face,hair"),
        ("whole,hair", "stands alone"),
        ("face,-face", "leaves nothing"),
    ],
)
def test_a_mask_that_is_none_says_so(choice, said):
    with pytest.raises(ConfigError, match=said):
        parse_mask(choice)


def test_regions_give_each_class_its_strength():
    assert parse_region("") == parse_region("  ") == {}
    assert parse_region("eyes=0.3, nose=1") == {"left_eye": 0.3, "right_eye": 0.3, "nose": 1.0}


@pytest.mark.parametrize("choice", ["face=0.8,eyes=0.3,left_eye=0", "left_eye=0,eyes=0.3,face=0.8"])
def test_the_narrower_region_holds_whatever_the_order(choice):
    strengths = parse_region(choice)
    assert (strengths["left_eye"], strengths["right_eye"], strengths["skin"]) == (0, 0.3, 0.8)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("eyes", "'eyes' is not PART=STRENGTH"),
        ("eyes=", "PART=STRENGTH"),
        ("eyes=much", "PART=STRENGTH"),
        ("eyes=1.5", "from 0 to 1"),
        ("eyes=-0.1", "from 0 to 1"),
        ("eyes=nan", "from 0 to 1"),
        ("eyes=0.3,", "no part of a face"),
        ("eyes=0.3,eyes=0.5", "names 'eyes' twice"),
        ("glasses=0.3,eyeglasses=0.5", "twice"),
        ("wig=0.3", "'wig' is no part of a face"),
    ],
)
def test_a_region_that_is_none_says_so(choice, said):
    with pytest.raises(ConfigError, match=said):
        parse_region(choice)


def test_configurations_are_checked_when_made():
    for wrong in ({"mask": "wig"}, {"region": "eyes=2"}, {"parser": 3}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            RestoreConfig(**wrong)


def test_a_strength_for_what_is_not_pasted_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="--mask face,hair"):
        RestoreConfig(region="hair=0.5")
    RestoreConfig(region="hair=0.5", mask="face,hair")
    RestoreConfig(region="hair=0.5", mask="whole")

"""Augmentations as text."""

import pytest

from keras_resnet.training import Recipe
from keras_resnet.training.augmentation import Augmentation


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("inceptoin_crop(0.08,1)|flip", "did you mean 'inception_crop'"),
        ("center|blur", "no augmentation is called 'blur'"),
        ("flip|center", "begin with one of center, pad_crop"),
        ("flip", "begin with one of center, pad_crop"),
        ("center|pad_crop(4)", "must have one view"),
        ("center|mixup(0.2)|cutmix(1)", "mixes labels twice"),
        ("center|repeat(2)|repeat(2)", "repeats images twice"),
        ("", "is not an operation"),
        ("center||flip", "is not an operation"),
        ("center|mixup(0.2", "is not an operation"),
        ("center|repeat", r"wrong number of parameters; it takes \(times\)"),
        ("center|flip(0.5)", "wrong number of parameters; it takes none"),
        ("center|random_erasing(1.5)", "'1.5'; give a number from 0 to 1"),
        ("center|random_erasing(nan)", "'nan'; give a number from 0 to 1"),
        ("center|random_erasing(often)", "'often'; give a number from 0 to 1"),
        ("pad_crop(0)", "'0'; give a whole number from 1 to 4096"),
        ("pad_crop(1,2)", r"wrong number of parameters; it takes \(padding\)"),
        ("pad_crop(4.5)", "'4.5'; give a whole number from 1 to 4096"),
        ("inception_crop(1,0.08)", "give the smaller one first"),
        ("scale_jitter_crop(480,256)", "give the smaller one first"),
    ],
)
def test_wrong_texts_get_one_sentence(text, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        Augmentation.parse(text)
    assert "\n" not in str(error.value)


def test_parameters_and_their_defaults():
    assert Augmentation.parse(" pad_crop( 4 ) | flip ") == Augmentation.parse(
        "pad_crop|flip()"
    )
    assert Augmentation.parse("inception_crop(0.08,1)") == Augmentation.parse(
        "inception_crop"
    )
    assert Augmentation.parse("inception_crop(0.25)").operations[0].low == 0.25
    assert Augmentation.parse("center|repeat(3)").repeats == 3
    assert Augmentation.parse("center|flip").repeats == 1


def test_recipes_refuse_batches_in_which_images_have_no_others():
    text = "center|mixup|repeat(3)"
    Recipe("mine", "", 1, 6, 0.1, "constant", augmentation=text)
    with pytest.raises(ValueError, match="'batch_size' must be at least 6"):
        Recipe("mine", "", 1, 5, 0.1, "constant", augmentation=text)


def test_recipes_refuse_what_is_no_augmentation():
    with pytest.raises(
        ValueError, match="'augmentation': the augmentation 'flip' must"
    ):
        Recipe("mine", "", 1, 1, 0.1, "constant", augmentation="flip")

"""The table of recipes."""

from keras_resnet.training.recipe import Recipe

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="he2015",
            source="1512.03385, section 3.4 (60e4 iterations)",
            epochs=120,
            batch_size=256,
            learning_rate=0.1,
            schedule="steps",
            drops=("25%", "50%", "75%"),
            augmentation="scale_jitter_crop(256,480)|flip|pca_colour(0.1)",
            resize_ratio=256 / 224,
        ),
        Recipe(
            name="he2015_cifar",
            source="1512.03385, section 4.2 (64k iterations, divided at 32k and 48k)",
            epochs=182,
            batch_size=128,
            learning_rate=0.1,
            schedule="steps",
            drops=("50%", "75%"),
            augmentation="pad_crop(4)|flip",
        ),
        Recipe(
            name="he2015_cifar_110",
            source="1512.03385, section 4.2 for 110 layers (400 iterations at 0.01)",
            epochs=182,
            batch_size=128,
            learning_rate=0.1,
            schedule="steps",
            drops=("50%", "75%"),
            warmup="400 steps",
            warmup_shape="constant",
            warmup_from=0.1,
            augmentation="pad_crop(4)|flip",
        ),
        Recipe(
            name="onecycle",
            source="one cycle after 1708.07120, cosine descent",
            epochs=6,
            batch_size=128,
            learning_rate=0.2,
            schedule="one_cycle",
            nesterov=True,
            weight_decay=5e-4,
            augmentation="pad_crop(4)|flip",
        ),
        Recipe(
            name="finetune",
            source="one short cycle at a low rate from given weights (1805.08974)",
            epochs=10,
            batch_size=32,
            learning_rate=0.01,
            schedule="one_cycle",
            nesterov=True,
            augmentation="inception_crop(0.08,1)|flip",
            resize_ratio=256 / 224,
        ),
    )
}
"""The recipes by name."""

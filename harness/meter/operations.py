"""What each operator of torch costs, and which cost nothing.

An operator is in one of the tables below or its arithmetic is refused. Operators of
parameters and constants alone are free: their results can be computed beforehand.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from torch import Tensor

from harness.meter import elementwise, movement, pooling, synapses
from harness.meter.axes import guessed
from harness.meter.calls import Operator, Rule, listed, noted, used
from harness.meter.elementwise import each
from harness.meter.trace import Content, LostSamplesError, Trace

VIEWS: dict[str, Rule] = {
    **dict.fromkeys(
        listed(
            "view _unsafe_view reshape _reshape_alias unsqueeze squeeze unflatten alias detach "
            "lift_fresh lift view_as"
        ),
        movement.regroup,
    ),
    **dict.fromkeys(listed("permute transpose t swapaxes numpy_T"), movement.permute),
    "expand": movement.expand,
    **dict.fromkeys(
        listed("select slice unbind split split_with_sizes unsafe_split narrow"), movement.part
    ),
    **dict.fromkeys(listed("clone _to_copy contiguous copy"), movement.copied),
}

# They move, choose, make or compare nothing but masks, or change a sign.
FREE = movement.KEEPS_BINARY | frozenset(
    listed(
        "neg abs fill zero bernoulli logical_not logical_and "
        "logical_or logical_xor bitwise_not bitwise_and bitwise_or embedding scatter index_put "
        "slice_scatter select_scatter tril triu isnan isinf isfinite diagonal as_strided col2im "
        "random uniform normal masked_fill masked_select nonzero resize _local_scalar_dense equal "
        "is_nonzero _assert_async record_stream is_same_size"
    )
)

# They take the shape of a signal and nothing else.
LIKE = frozenset(
    listed(
        "zeros_like ones_like empty_like full_like rand_like randn_like randint_like new_zeros "
        "new_ones new_empty new_full new_empty_strided"
    )
)

# Their rules decide themselves which uses can be folded or composed.
FOLDING: dict[str, Rule] = {
    "convolution": synapses.convolution,
    "linear": synapses.linear,
    "mm": synapses.matrix_product(0, 1, None),
    "bmm": synapses.matrix_product(0, 1, None),
    "mv": synapses.matrix_product(0, 1, None),
    "dot": synapses.matrix_product(0, 1, None),
    "addmm": synapses.matrix_product(1, 2, 0),
    "addmv": synapses.matrix_product(1, 2, 0),
    "baddbmm": synapses.matrix_product(1, 2, 0),
    **dict.fromkeys(
        listed(
            "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
            "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention "
            "_scaled_dot_product_fused_attention_overrideable"
        ),
        synapses.attention,
    ),
    "avg_pool1d": pooling.average_pool(1),
    "avg_pool2d": pooling.average_pool(2),
    "avg_pool3d": pooling.average_pool(3),
    "_adaptive_avg_pool2d": pooling.average_pool(2, adaptive=True),
    "_adaptive_avg_pool3d": pooling.average_pool(3, adaptive=True),
    "mean": pooling.reduction,
    "sum": pooling.reduction,
    **dict.fromkeys(
        listed(
            "native_batch_norm cudnn_batch_norm miopen_batch_norm _native_batch_norm_legit "
            "_native_batch_norm_legit_no_training _batch_norm_no_update _batch_norm_with_update"
        ),
        pooling.batch_norm,
    ),
    **dict.fromkeys(listed("add sub rsub"), elementwise.total),
    **dict.fromkeys(listed("mul div true_divide"), elementwise.product),
}

PRODUCTS = frozenset(listed("convolution linear mm bmm addmm baddbmm"))

PLAIN: dict[str, Rule] = {
    "max_pool1d_with_indices": pooling.max_pool(1),
    "max_pool2d_with_indices": pooling.max_pool(2),
    "max_pool2d": pooling.max_pool(2),
    "max_pool3d_with_indices": pooling.max_pool(3),
    "adaptive_max_pool2d": pooling.max_pool(2, adaptive=True),
    "adaptive_max_pool3d": pooling.max_pool(3, adaptive=True),
    "constant_pad_nd": pooling.padded,
    "cumsum": pooling.cumulative,
    **dict.fromkeys(listed("amax amin max min argmax argmin any all"), pooling.extremum),
    **dict.fromkeys(
        listed("native_layer_norm native_group_norm _fused_rms_norm"), pooling.statistical_norm
    ),
    # Largest, difference, exponential, sum and quotient, one each an element.
    **dict.fromkeys(
        listed("_softmax _log_softmax _safe_softmax"),
        each("softmax", compare=1, residual_add=1, function=2, pool_add=1),
    ),
    **dict.fromkeys(
        listed(
            "exp exp2 expm1 log log2 log10 log1p sqrt rsqrt sigmoid tanh erf erfinv sin cos tan "
            "atan reciprocal round floor ceil trunc frac log_sigmoid_forward softplus cosh sinh "
            "floor_divide remainder fmod atan2 logit"
        ),
        each("function", function=1),
    ),
    **dict.fromkeys(
        listed(
            "relu clamp_min clamp_max threshold ge gt le lt eq ne maximum minimum sign heaviside "
            "fmax fmin sort topk argsort"
        ),
        each("activation", compare=1),
    ),
    **dict.fromkeys(listed("gelu silu mish"), each("activation", function=1, mac=1)),
    **dict.fromkeys(listed("leaky_relu _prelu_kernel rrelu"), each("activation", compare=1, mac=1)),
    **dict.fromkeys(listed("elu celu"), each("activation", compare=1, function=1)),
    **dict.fromkeys(listed("hardsigmoid hardswish"), each("activation", compare=2, mac=1)),
    "hardtanh": each("activation", compare=2),
    **dict.fromkeys(listed("addcmul lerp"), each("scale", mac=1)),
    "addcdiv": each("scale", function=1, mac=1),
    "upsample_bilinear2d": each("resize", mac=4),
    "clamp": elementwise.clamp,
    "pow": elementwise.power,
}

REMEDIES = {
    "mkldnn_rnn_layer": "run it inside torch.backends.mkldnn.flags(enabled=False)",
    "_cudnn_rnn": "run it inside torch.backends.cudnn.flags(enabled=False)",
    "_native_multi_head_attention": "call torch.backends.mha.set_fastpath_enabled(False)",
    "_transformer_encoder_layer_fwd": "call torch.backends.mha.set_fastpath_enabled(False)",
    "native_dropout": "call it with training=False",
}


def count(
    trace: Trace, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
) -> None:
    """Count one call of ``func`` that gave ``result``.

    Raises:
        CountingError: If that cannot be done; see ``Trace.not_counted``.
    """
    call = Operator(
        name=_name(func),
        args=args,
        kwargs=kwargs,
        inputs=_tensors((*args, *kwargs.values()) if kwargs else args),
        outputs=_tensors((result,)),
    )
    contents = [trace.content(value) for value in call.inputs]
    constant = all(content is not None and content.origin == "weight" for content in contents)
    if call.name in LIKE:
        _constant(trace, call, [])
        return
    if constant and not (call.name in PRODUCTS and _reads_a_state(trace, call)):
        _constant(trace, call, contents)
        return
    try:
        _count(trace, func, call)
    except LostSamplesError as error:
        trace.not_attributed(f"torch's {func}", error)
        if call.outputs:
            noted(trace, call)


def _count(trace: Trace, func: Any, call: Operator) -> None:
    if (view := VIEWS.get(call.name)) is not None:
        view(trace, call)
        return
    rule = FOLDING.get(call.name)
    if rule is None:
        for value in call.inputs:
            used(trace, value)
        rule = PLAIN.get(call.name)
    if rule is not None:
        trace.counted_calls += 1
        rule(trace, call)
        return
    if call.name not in FREE:
        remedy = REMEDIES.get(call.name, "write it with operators that are")
        trace.not_counted(f"torch's {func}", remedy)
    movement.moved(trace, call)


@lru_cache(maxsize=4096)
def _name(func: Any) -> str:
    name: str = func._schema.name.rpartition("::")[2]  # noqa: SLF001  torch's own name of an operator
    return name if name.startswith("__") else name.rstrip("_")


def _tensors(values: Sequence[Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(_tensors(value))
    return found


_ZEROS = frozenset(listed("zeros zeros_like new_zeros zero"))


def _constant(trace: Trace, call: Operator, contents: Sequence[Content | None]) -> None:
    """Note results of parameters and constants alone; they keep the parameter's name."""
    if call.name in VIEWS and call.inputs and trace.content(call.output) is not None:
        return
    known = next((content.name for content in contents if content and content.name), "")
    for value in call.outputs:
        zeros = call.name in _ZEROS
        trace.know(value, Content("weight", value.numel(), name=known, binary=zeros))


def _reads_a_state(trace: Trace, call: Operator) -> bool:
    """Take zeros that meet weights to be the first state of a recurrence, if they are.

    They are no constant then: the layer runs in the first step as it does in the others.
    """
    for value in call.inputs:
        content = trace.content(value)
        samples = guessed(value.shape, trace.samples)
        if content is not None and content.binary and not content.name and samples:
            content.origin = "signal"
            return True
    return False

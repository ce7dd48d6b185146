"""The road to and from other tools: NIR, ONNX, and networks that others have trained.

``tracing`` finds the nodes and edges of any network; ``nir_neurons`` says what a neuron of ours
is in NIR, and back; ``nir_export`` and ``nir_import`` are the two ends of a file; ``graph``
executes what was read on any simulator; ``onnx_export`` unrolls it; ``foreign`` wraps modules
of other packages; ``judging`` evaluates and meters whatever came in, and ``comparing`` holds it
to a cell of ours. What is optional (``onnx``) is imported where it is used.
"""

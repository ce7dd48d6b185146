"""The one neuron: laws, oracle, surrogates, and what adapters share."""

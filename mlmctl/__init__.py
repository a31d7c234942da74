"""mlmctl: masked-language-model pretraining on your own text, from the command line."""

__version__ = "0.1.0"

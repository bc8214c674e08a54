"""imp-deploy: the Imp vision-language models as GGUF files that run on phones."""

__version__ = "0.1.0"

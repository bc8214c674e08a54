"""imp-deploy: the Imp vision-language models, and those compared with them, on phones."""

__version__ = "0.1.0"

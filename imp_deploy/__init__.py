"""imp-deploy: vision-language models of the Imp family, and those it is compared with, on phones."""

__version__ = "0.1.0"

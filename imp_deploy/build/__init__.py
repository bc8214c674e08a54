"""Builds the native runner: for this machine in seconds, for phones with llama.cpp in minutes."""

from imp_deploy.build.host import build_host, host_runner
from imp_deploy.cache import cache_folder

__all__ = ["build_host", "cache_folder", "host_runner"]

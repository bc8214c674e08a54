"""What stock libmtmd, without the runner, makes of a picture."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import numpy as np
from llama_cpp import mtmd_cpp
from PIL import Image


@contextlib.contextmanager
def _model(path: Path) -> Iterator[llama_cpp.llama_model_p]:
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    assert model is not None
    try:
        yield model
    finally:
        llama_cpp.llama_model_free(model)


def stock_embeddings(llm: Path, mmproj: Path, square: Image.Image) -> np.ndarray:
    """Visual tokens [count, width] of a picture that has the mmproj's size already."""
    parameters = mtmd_cpp.mtmd_context_params_default()
    parameters.use_gpu = False
    parameters.print_timings = False
    parameters.n_threads = 1
    with contextlib.ExitStack() as stack:
        model = stack.enter_context(_model(llm))
        context = mtmd_cpp.mtmd_init_from_file(str(mmproj).encode(), model, parameters)
        assert context is not None
        stack.callback(mtmd_cpp.mtmd_free, context)
        pixels = (ctypes.c_uint8 * (square.width * square.height * 3))(*square.tobytes())
        bitmap = mtmd_cpp.mtmd_bitmap_init(square.width, square.height, pixels)
        assert bitmap is not None
        stack.callback(mtmd_cpp.mtmd_bitmap_free, bitmap)
        chunks = mtmd_cpp.mtmd_input_chunks_init()
        assert chunks is not None
        stack.callback(mtmd_cpp.mtmd_input_chunks_free, chunks)
        marker = mtmd_cpp.mtmd_default_marker()
        text = mtmd_cpp.mtmd_input_text(marker, len(marker), False, True)
        bitmaps = (mtmd_cpp.mtmd_bitmap_p_ctypes * 1)(bitmap)
        assert mtmd_cpp.mtmd_tokenize(context, chunks, ctypes.byref(text), bitmaps, 1) == 0
        chunk = mtmd_cpp.mtmd_input_chunks_get(chunks, 0)
        assert chunk is not None
        assert mtmd_cpp.mtmd_encode_chunk(context, chunk) == 0
        count = mtmd_cpp.mtmd_input_chunk_get_n_tokens(chunk)
        width = llama_cpp.llama_model_n_embd_inp(model)
        values = mtmd_cpp.mtmd_get_output_embd(context)
        return np.ctypeslib.as_array(values, (count, width)).copy()

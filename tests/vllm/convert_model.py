"""Writes a GGUF model as a folder of safetensors; runs in vLLM's environment: convert_model.py GGUF FOLDER."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils.quantization_config import GgufConfig

weights, folder = map(Path, sys.argv[1:])
# Only a model that is no longer quantised can be saved.
model = AutoModelForCausalLM.from_pretrained(
    weights.parent, gguf_file=weights.name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
)
model.save_pretrained(folder)
AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name).save_pretrained(folder)

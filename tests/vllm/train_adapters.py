"""Trains two tiny adapters; runs in vLLM's environment: train_adapters.py MODEL TEMPLATE FOLDER.

Each learns to answer one question with a sentence of its own, so that an answer shows which adapter gave it.
"""

import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTION = "Who answers?"
ANSWERS = {"red": "The red fox answers here.", "blue": "The blue whale answers here."}
MOST_STEPS = 60
ENOUGH = 0.02


def train(model_folder: Path, template: str, answer: str, folder: Path) -> float:
    """Train one adapter and return its last loss."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    model = get_peft_model(model, config)
    asked = [{"role": "user", "content": QUESTION}]
    prompt = tokenizer.apply_chat_template(asked, chat_template=template, tokenize=False, add_generation_prompt=True)
    before = tokenizer(prompt, return_tensors="pt").input_ids
    after = tokenizer(answer + "<|im_end|>", return_tensors="pt").input_ids
    tokens = torch.cat([before, after], dim=1)
    labels = tokens.clone()
    labels[:, : before.shape[1]] = -100
    optimizer = torch.optim.AdamW([part for part in model.parameters() if part.requires_grad], lr=5e-3)
    for _ in range(MOST_STEPS):
        loss = model(input_ids=tokens, labels=labels).loss
        if loss < ENOUGH:
            break
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return float(loss)


def main() -> None:
    """Train all of them."""
    model, template, folder = map(Path, sys.argv[1:])
    for name, answer in ANSWERS.items():
        loss = train(model, template.read_text(), answer, folder / name)
        print(f"{name}: {loss:.4f}")
        if loss > 5 * ENOUGH:
            sys.exit(f"the adapter {name} has learnt nothing: its loss is {loss:.3f}")


if __name__ == "__main__":
    main()

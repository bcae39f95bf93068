"""Watching a training by the Trainer of Hugging Face: one line before `train()`. The Trainer makes its optimizer later; it is found then.

Needs the packages transformers and accelerate; nothing is downloaded: a small BERT is trained from its first weights. The learning rate
is far too high on purpose: the watcher says so.
Run it: python examples/watch_transformers.py
"""

import tempfile

import torch
from torch.utils.data import Dataset
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import pellucid


class Brackets(Dataset):
    """512 sequences of 24 tokens: does token 5 come more often than token 7?"""

    def __init__(self) -> None:
        self.tokens = torch.randint(3, 12, (512, 24), generator=torch.Generator().manual_seed(0))
        self.labels = ((self.tokens == 5).sum(1) > (self.tokens == 7).sum(1)).long()

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.tokens[index], "labels": self.labels[index]}


def train(watch=pellucid.watch):
    """Four epochs; gives the model and the watcher."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 12, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = BertForSequenceClassification(BertConfig(**sizes, max_position_embeddings=32))
    watcher = watch(model)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, num_train_epochs=4, per_device_train_batch_size=16, learning_rate=3.0, max_grad_norm=0.0, seed=0,
            report_to="none", save_strategy="no", disable_tqdm=True, use_cpu=True, logging_strategy="no",
        )  # fmt: skip
        Trainer(model=model, args=arguments, train_dataset=Brackets()).train()
    return model, watcher


if __name__ == "__main__":
    _, watcher = train()
    print(watcher.report())
    print("found:", ", ".join(finding.symptom for finding in watcher.findings))
    watcher.close()

"""The texts that stages replay (`src/toolgen/training/replay.jsonl`): what the untouched base writes.

    python benchmarks/replayed_texts.py BASE -o src/toolgen/training/replay.jsonl [--rounds 3]

Each line is a text. It goes on from one of the beginnings below and has at most 96 more tokens, drawn by seed 0. So small a
model makes things up: nothing in the texts is to be believed. Five that were no pleasure to read are left out. About three
minutes a round on one core.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch

from toolgen.fetching.opening import open_model, open_tokenizer
from toolgen.files import write_records
from toolgen.training.pretraining.run import continued
from toolgen.virtualization import TextEncoder

TOKENS = 96
TEMPERATURE = 0.8
"""At 1 half of the texts are confused."""
AT_ONCE = 45
LEFT_OUT = (8, 14, 106, 154, 169)
"""Texts by number, from 1; with other rounds or another base look again."""

BEGINNINGS = (
    "The old house at the end of the",
    "She opened the window and",
    "It was a cold morning in",
    "When he woke up, the",
    "Once upon a time there was a",
    '"I don\'t know," said the',
    "My dear friend, I am writing to",
    "In the spring of that year",
    "The captain looked at the clouds and",
    "There was something about the way",
    "He took the letter from the table",
    "Nobody in the village could remember",
    '"Where have you been?" she asked',
    "Of all the things that people",
    "The sun was going down behind",
    "After the harvest, the family",
    "They walked along the river until",
    "I have always believed that",
    "The farmer and his daughter",
    "At the door stood a man with",
    "The history of the city begins",
    "One of the most important causes of",
    "Scientists have found that",
    "The water cycle describes how",
    "In mathematics, a function is",
    "Plants need light because",
    "The human heart has",
    "Climate change affects",
    "The theory of evolution",
    "Energy cannot be",
    "The Roman Empire was",
    "In the nineteenth century, a",
    "The economy of the country",
    "A good teacher knows",
    "The first step in writing",
    "Music has been part of",
    "The purpose of this report is",
    "This experiment measures",
    "According to the data,",
    "The company announced on Monday",
    "Voters in the northern",
    "Prices rose last month",
    "The new bridge will",
    "Dear Ms. Johnson, thank you",
    "Hi everyone, just a reminder",
    "Subject: Meeting on Friday",
    "We are pleased to inform you",
    "To make this soup, first",
    "Preheat the oven to",
    "How to change a tire:",
    "Tips for a better sleep:",
    "The best way to learn a language",
    "If you want to save money,",
    "def read_lines(path):",
    "import os",
    "class Queue:",
    "for i in range(len(",
    "# Returns the largest",
    "function add(a, b) {",
    "SELECT name,",
    'if __name__ == "__main__":',
    "    def __init__(self,",
    "def test_empty():",
    "The function returns",
    "This module provides",
    "Usage: run the command",
    "The error occurs when",
    "What we call history is",
    "Let us consider the question of",
    "In the beginning",
    "The law of supply",
    "Many people think that",
    "On the other hand,",
    "To be a good friend",
    "The garden was full of",
)
"""What texts go on from."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", "-o", type=Path, required=True)
    options = parser.parse_args()
    torch.manual_seed(0)
    texts: list[str] = []
    for text in written(options.base, options.rounds):
        texts.append(text)
        print(f"{len(texts)} texts", end="\r", flush=True)
    kept = (text for number, text in enumerate(texts, start=1) if number not in LEFT_OUT)
    write_records(options.output, [{"text": text} for text in kept])


def written(base: Path, rounds: int) -> Iterator[str]:
    """What a base writes after each beginning, so many times."""
    model, tokenizer = open_model(base, dtype=torch.float32).eval(), open_tokenizer(base)
    beginnings = TextEncoder(tokenizer).encode_each(BEGINNINGS * rounds)
    for start in range(0, len(beginnings), AT_ONCE):
        part = beginnings[start : start + AT_ONCE]
        for ids in continued(model, part, TOKENS, tokenizer.eos_token_id, temperature=TEMPERATURE):
            yield str(tokenizer.decode(ids, skip_special_tokens=True))


if __name__ == "__main__":
    main()

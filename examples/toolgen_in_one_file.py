"""The whole of toolgen in one file: five tools, a tiny random model, three stages, constrained decoding, real calls.

    python examples/toolgen_in_one_file.py

Nothing here imports toolgen, and nothing is downloaded. Text is words, the model starts from random numbers and learns in
well under a minute on a CPU. What the package adds: any base model, thousands of tools, any JSON Schema, measurements.
"""

import json
import random
import re

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

# ---- 1. the catalog: five tools, each with one parameter and its legal values ----------------------------------------

TOOLS = {
    "get_weather": ("Tells the weather of a city", "city", "Oslo Turin Lima Kyoto Quito Accra Perth Delhi"),
    "set_alarm": ("Wakes somebody up at an hour", "hour", "four five six seven eight nine ten noon"),
    "switch_light": ("Turns a lamp on in a room", "room", "kitchen bedroom cellar hall attic bath garage study"),
    "play_music": ("Plays songs of a style", "style", "jazz polka techno opera soul tango folk punk"),
    "order_food": ("Brings a meal to the door", "dish", "pizza sushi curry tacos ramen pasta soup salad"),
}
PHRASES = {
    "get_weather": ["is it raining in {}?", "{} forecast please", "do I need a coat in {}?", "how warm is {}?"],
    "set_alarm": ["wake me at {}", "I must get up at {}", "alarm for {} o'clock", "do not let me sleep beyond {}"],
    "switch_light": ["it is dark in the {}", "lamp on in the {}", "{} light please", "I cannot see in the {}"],
    "play_music": ["I want to hear {}", "some {} please", "put on a {} record", "let us dance to {}"],
    "order_food": ["I am hungry for {}", "bring me {}", "{} for dinner", "get {} delivered"],
}


def execute(tool: str, arguments: dict[str, str]) -> str:
    """The environment: here every tool succeeds and says what it did."""
    return f"done: {next(iter(arguments.values()))}"


def documentation(tool: str) -> str:
    description, parameter, _ = TOOLS[tool]
    return f"{tool}({parameter}): {description}"


# ---- 2. virtualization: every tool is one token beside the words --------------------------------------------------------


def words(text: str) -> list[str]:
    return re.findall(r"\w+|\W", text)


TEXTS = [documentation(tool) for tool in TOOLS] + [text for texts in PHRASES.values() for text in texts]
TEXTS += ['and done: {"', *(values for _, _, values in TOOLS.values())]
WORDS = sorted({word for text in TEXTS for word in words(text)})
WORD_ID = {word: i for i, word in enumerate(WORDS)}
UNKNOWN, END, FINISH = len(WORDS), len(WORDS) + 1, len(WORDS) + 2
TOKEN = {tool: len(WORDS) + 3 + row for row, tool in enumerate(TOOLS)}
ACTIONS = {FINISH: "finish", **{token: tool for tool, token in TOKEN.items()}}


def turn(text: str) -> list[int]:
    return [*(WORD_ID.get(word, UNKNOWN) for word in words(text)), END]


def make_model() -> LlamaForCausalLM:
    shape = dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    # With the usual 0.02 a model this small needs many times the steps until its attention finds anything.
    start = dict(tie_word_embeddings=True, initializer_range=0.1)
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS) + 3 + len(TOOLS), **shape, **start))


# ---- 3. training examples: token ids, and at which positions which next tokens are right ------------------------------

Example = tuple[list[int], list[tuple[int, list[int]]]]


def choice(text: str, tools: list[str]) -> Example:
    """After this text each of `tools` is right: one target set, not several examples that contradict each other."""
    ids = turn(text)
    return ids, [(len(ids) - 1, [TOKEN[tool] for tool in tools])]


def conversation(request: str, calls: list[tuple[str, dict[str, str]]]) -> Example:
    """Request, then for each call: token, documentation, arguments, result; at last `finish`.

    The assistant writes tokens and arguments, and learns them where there is a choice: the braces and quotes of the
    arguments are forced when they are decoded, and among them the few values would be lost.
    """
    ids, targets = turn(request), []
    for tool, arguments in calls:
        targets.append((len(ids) - 1, [TOKEN[tool]]))
        ids += [TOKEN[tool], *turn(documentation(tool))]
        written = turn(json.dumps(arguments))
        chosen = {WORD_ID[value] for value in arguments.values()}
        targets += [(len(ids) + i - 1, [token]) for i, token in enumerate(written) if token in chosen]
        ids += written + turn(execute(tool, arguments))
    return [*ids, FINISH], [*targets, (len(ids) - 1, [FINISH])]


Request = tuple[str, list[tuple[str, dict[str, str]]]]


def requests() -> tuple[list[Request], list[Request]]:
    """Each phrase with each value; a quarter of the pairs is held out. Some training requests want two things at once."""
    train, test = [], []
    for tool, (_, parameter, values) in TOOLS.items():
        for i, phrase in enumerate(PHRASES[tool]):
            for j, value in enumerate(values.split()):
                request = (phrase.format(value), [(tool, {parameter: value})])
                (test if (i + j) % 4 == 0 else train).append(request)
    pairs = [random.sample(train, 2) for _ in range(80)]
    both = [(f"{one[0]} and {two[0]}", one[1] + two[1]) for one, two in pairs if one[1][0][0] != two[1][0][0]]
    return train + both, test


# ---- 4. one loop for all stages -----------------------------------------------------------------------------------------


def train_stage(name: str, model: LlamaForCausalLM, examples: list[Example], steps: int, rate: float = 3e-3) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    for step in range(1, steps + 1):
        loss = batch_loss(model, random.sample(examples, min(16, len(examples))))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step == 1 or step == steps:
            print(f"{name:>12}  step {step:>3}/{steps}  loss {loss.item():.3f}")


def batch_loss(model: LlamaForCausalLM, batch: list[Example]) -> torch.Tensor:
    """Cross-entropy against the uniform distribution over each target set, with logits only where there is a target."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [END] * (width - len(ids)) for ids, _ in batch])
    places = [(row, position, tokens) for row, (_, targets) in enumerate(batch) for position, tokens in targets]
    hidden = model.model(input_ids=ids).last_hidden_state
    picked = hidden[[row for row, _, _ in places], [position for _, position, _ in places]]
    log_probabilities = functional.log_softmax(model.lm_head(picked), dim=-1)
    return -torch.stack([log_probabilities[i, tokens].mean() for i, (_, _, tokens) in enumerate(places)]).mean()


# ---- 5. constrained decoding: only tools that exist, only arguments that are legal --------------------------------------


@torch.inference_mode()
def next_logits(model: LlamaForCausalLM, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids])).logits[0, -1]


def choose_action(model: LlamaForCausalLM, ids: list[int]) -> str:
    """Search and decision are one forward pass: the best of the action tokens, all else is not looked at."""
    logits = next_logits(model, ids)
    return ACTIONS[max(ACTIONS, key=lambda token: logits[token].item())]


def write_arguments(model: LlamaForCausalLM, ids: list[int], tool: str) -> dict[str, str]:
    """Word by word, always one that continues a legal argument object."""
    _, parameter, values = TOOLS[tool]
    legal = [turn(json.dumps({parameter: value})) for value in values.split()]
    written: list[int] = []
    while legal[0] != written:
        allowed = sorted({text[len(written)] for text in legal})
        logits = next_logits(model, ids + written) if len(allowed) > 1 else torch.zeros(END + 1)
        written.append(max(allowed, key=lambda token: logits[token].item()))
        legal = [text for text in legal if text[: len(written)] == written]
    return json.loads("".join(WORDS[token] for token in written[:-1]))


def run_agent(model: LlamaForCausalLM, request: str, show: bool = False) -> list[tuple[str, dict[str, str]]]:
    """Token, documentation, arguments, call, result; until the model finishes or has made three calls."""
    ids, calls = turn(request), []
    while len(calls) < 3 and (action := choose_action(model, ids)) != "finish":
        ids += [TOKEN[action], *turn(documentation(action))]
        arguments = write_arguments(model, ids, action)
        result = execute(action, arguments)
        ids += turn(json.dumps(arguments)) + turn(result)
        calls.append((action, arguments))
        if show:
            print(f"  <<{action}>> {json.dumps(arguments)} -> {result}")
    return calls


# ---- 6. all of it ---------------------------------------------------------------------------------------------------------


def main() -> None:
    random.seed(0)
    torch.manual_seed(0)
    train, test = requests()
    model = make_model()
    views = [choice(text, [tool]) for tool in TOOLS for text in (documentation(tool), tool, TOOLS[tool][0])]
    train_stage("memorization", model, views, steps=40)
    retrieval = [choice(text, [tool for tool, _ in calls]) for text, calls in train]
    train_stage("retrieval", model, views + retrieval, steps=80)
    train_stage("agent", model, [conversation(text, calls) for text, calls in train], steps=200)

    found = sum(choose_action(model, turn(text)) == calls[0][0] for text, calls in test)
    right = sum(run_agent(model, text) == calls for text, calls in test)
    print(f"test requests: right tool {found}/{len(test)}, right call {right}/{len(test)}")
    for request in (test[0][0], "wake me at nine and bring me sushi"):
        print(request)
        run_agent(model, request, show=True)


if __name__ == "__main__":
    main()

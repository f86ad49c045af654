"""Tiny fakes for tests, ours and yours: a catalog, a dataset, tokenizers, random models and checkpoints in seconds.

    from toolgen.testing import tiny_checkpoint, tiny_dataset

    checkpoint = tiny_checkpoint(architecture="qwen2", tied=False)

Everything is made in memory from fixed texts and seeds: no weights, no network. The models are real architectures with
some 50,000 random parameters, so they can be trained, saved and opened like any other. Importing this file imports no
torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from toolgen.catalog.catalog import Catalog
from toolgen.catalog.text import document
from toolgen.catalog.tool import Tool
from toolgen.datasets.folder import Dataset
from toolgen.datasets.query import Call, Query
from toolgen.datasets.splits import SPLITS
from toolgen.datasets.trajectory import Outcome, Trajectory, TurnOutcome
from toolgen.errors import UsageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

    from toolgen.agent.policy import ScriptedPolicy
    from toolgen.checkpoint import Checkpoint
    from toolgen.virtualization import Indexing, Initialization

TokenizerKind = Literal["bpe", "wordpiece", "unigram"]
TOKENIZER_KINDS: tuple[TokenizerKind, ...] = get_args(TokenizerKind)
Architecture = Literal["llama", "qwen2", "gpt2"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

__all__ = [
    "ARCHITECTURES",
    "TOKENIZER_KINDS",
    "Architecture",
    "ScriptedPolicy",
    "TokenizerKind",
    "tiny_base",
    "tiny_catalog",
    "tiny_checkpoint",
    "tiny_dataset",
    "tiny_encoder",
    "tiny_model",
    "tiny_tokenizer",
]


def __getattr__(name: str) -> Any:
    """`ScriptedPolicy` is loaded when first used (PEP 562): its package brings torch."""
    if name != "ScriptedPolicy":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from toolgen.agent.policy import ScriptedPolicy

    return ScriptedPolicy


def tiny_catalog() -> Catalog:
    """Thirteen tools: five scripts, emoji, accents, two that look the same, a name of 90 characters, a nested schema, none."""
    guest = _schema(required=("name",), name="string", age="integer")
    trip = {
        "type": "object",
        "properties": {
            "destination": {"type": "string", "description": "Where to go"},
            "guests": {"type": "array", "items": guest, "minItems": 1},
            "room": {
                "type": "object",
                "properties": {"kind": {"enum": ["single", "double"]}, "view": {"type": "boolean"}},
            },
        },
        "required": ["destination", "guests"],
    }
    return Catalog(
        [
            _tool("weather", "get_forecast", "Weather forecast for a city", ("city",), city="string", days="integer"),
            _tool("weather", "get_alerts", "Storm warnings for a region", ("region",), region="string"),
            _tool("mail", "send", "Sends a letter to a person", ("to", "body"), to="string", body="string"),
            _tool("mail", "search", "Finds letters in the mailbox", ("words",), words="string"),
            Tool(
                id="travel&&book_trip", provider="travel", name="book_trip", description="Books a trip", parameters=trip
            ),
            _tool("clock", "now", "Tells the time of day"),
            # Different ids, the same display name once spaces are gone.
            _tool("my bank", "transfer", "Moves money between accounts", ("amount",), amount="number"),
            _tool("my_bank", "transfer", "Moves shares between depots", ("count",), count="integer"),
            _tool("Café Zoë", "commander", "Commande un café crème", ("taille",), taille="string"),
            _tool("погода", "прогноз", "Прогноз погоды", ("город",), город="string"),
            _tool("天気", "予報を取得", "天気予報", ("都市",), 都市="string"),
            _tool("🚕", "book_👩‍💻_ride", "Calls a taxi", ("address",), address="string"),
            _tool(
                "metrics",
                "count_" + "_".join(["every", "single"] * 6) + "_event",
                "Counts events",
                ("since",),
                since="string",
            ),
        ]
    )


def tiny_dataset() -> Dataset:
    """The tiny catalog; in every split requests for each tool (some for two at once), abstentions and trajectories."""
    catalog = tiny_catalog()
    return Dataset(
        name="tiny",
        version="1",
        source="toolgen.testing",
        licence="Apache-2.0",
        catalog=catalog,
        queries={split: tuple(_queries(catalog, split)) for split in SPLITS},
        trajectories={split: tuple(_trajectories(catalog, split)) for split in SPLITS},
    )


def tiny_tokenizer(kind: TokenizerKind = "bpe", *, chatml: bool = True) -> PreTrainedTokenizerFast:
    """A tokenizer trained on the tiny catalog: byte-level BPE; WordPiece that lowercases and drops line breaks, as BERT's
    does; or Unigram with NFKC, as SentencePiece's. `chatml`: it already has the markers `<|im_start|>`, `<|im_end|>`.

    BPE comes out the same each time; the other two trainers may order their pieces differently from run to run.
    """
    from transformers import PreTrainedTokenizerFast

    build = {"bpe": _bpe, "wordpiece": _wordpiece, "unigram": _unigram}
    if kind not in build:
        raise UsageError(f"there is no tiny tokenizer {kind!r}; kinds are {', '.join(build)}")
    names: dict[str, Any] = {"eos_token": "<|endoftext|>"}
    if chatml:
        names = {"eos_token": "<|im_end|>", "pad_token": "<|im_end|>", "extra_special_tokens": ["<|im_start|>"]}
    if kind != "bpe":
        names["unk_token"] = "<unk>"
    return PreTrainedTokenizerFast(tokenizer_object=build[kind](), clean_up_tokenization_spaces=False, **names)


def tiny_model(
    architecture: Architecture = "llama", *, tied: bool = True, rows: int = 512, seed: int = 0, **settings: Any
) -> PreTrainedModel:
    """A random causal language model: 2 layers of 32 dimensions over `rows` tokens, the output matrix tied or not.

    `settings` go to the architecture's configuration. The caller's random state is left as it was.
    """
    import torch
    import transformers

    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 512}
    # Of a trained model's size; with the default of 0.02 every token is about equally likely and learning is slow.
    spread = {"initializer_range": 0.2}
    gated = {"intermediate_size": 64, "num_key_value_heads": 1}
    known: Mapping[str, tuple[str, Mapping[str, Any]]] = {
        "llama": ("Llama", gated),
        "qwen2": ("Qwen2", gated),
        "gpt2": ("GPT2", {"n_inner": 64}),
    }
    if architecture not in known:
        raise UsageError(f"there is no tiny {architecture!r} model; architectures are {', '.join(known)}")
    name, own = known[architecture]
    fixed = {"vocab_size": rows, "tie_word_embeddings": tied, "bos_token_id": None, "eos_token_id": None}
    config = getattr(transformers, f"{name}Config")(**{**shape, **spread, **own, **fixed, **settings})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = transformers.AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    return model.eval()


def tiny_checkpoint(
    *,
    architecture: Architecture = "llama",
    tied: bool = True,
    tokenizer: TokenizerKind = "bpe",
    chatml: bool = True,
    catalog: Catalog | None = None,
    indexing: Indexing = "atomic",
    initialization: Initialization = "documentation",
    extra_rows: int = 0,
    spare: int = 0,
    seed: int = 0,
    **settings: Any,
) -> Checkpoint:
    """A tiny random model with a catalog (the tiny one) virtualized into it. `extra_rows`: rows beyond the tokenizer; `spare`:
    tokens that no tool has yet."""
    from toolgen.checkpoint import Checkpoint

    tokens = tiny_tokenizer(tokenizer, chatml=chatml)
    model = tiny_model(architecture, tied=tied, rows=len(tokens) + extra_rows, seed=seed, **settings)
    catalog = tiny_catalog() if catalog is None else catalog
    return Checkpoint.from_model(
        model,
        tokens,
        catalog,
        base=f"tiny-{architecture}",
        indexing=indexing,
        initialization=initialization,
        seed=seed,
        spare=spare,
    )


def tiny_base(
    folder: Path,
    *,
    architecture: Architecture = "llama",
    tied: bool = True,
    tokenizer: TokenizerKind = "bpe",
    chatml: bool = True,
    extra_rows: int = 0,
    seed: int = 0,
    **settings: Any,
) -> Path:
    """Saves a tiny random model and its tokenizer as an ordinary Hugging Face folder and returns the folder."""
    tokens = tiny_tokenizer(tokenizer, chatml=chatml)
    tiny_model(architecture, tied=tied, rows=len(tokens) + extra_rows, seed=seed, **settings).save_pretrained(folder)
    tokens.save_pretrained(folder)
    return folder


def tiny_encoder(folder: Path) -> Path:
    """Saves a random sentence encoder (BERT of 2 layers of 32 dimensions, mean pooling) as a sentence-transformers folder and
    returns the folder. Needs sentence-transformers."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    tokens = tiny_tokenizer("wordpiece")
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = BertModel(BertConfig(vocab_size=len(tokens), **shape))
    words = folder / "bert"
    model.save_pretrained(words)
    tokens.save_pretrained(words)
    modules = [Transformer(str(words), max_seq_length=64), Pooling(32)]
    SentenceTransformer(modules=modules, trust_remote_code=False, device="cpu").save(
        str(folder / "encoder"), create_model_card=False
    )
    return folder / "encoder"


def _schema(*, required: tuple[str, ...] = (), **types: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in types.items()},
        "required": list(required),
    }


def _tool(provider: str, name: str, description: str, required: tuple[str, ...] = (), **types: str) -> Tool:
    return Tool(
        id=f"{provider}&&{name}",
        provider=provider,
        name=name,
        category=provider,
        description=description,
        parameters=_schema(required=required, **types),
        endpoint={"kind": "simulated", "environment": "tiny"},
    )


_PHRASES: Mapping[str, tuple[str, ...]] = {
    "train": ("please: {}", "I need this: {}", "{}, quickly"),
    "dev": ("could you do this: {}",),
    "test": ("do this for me: {}",),
}
_UNANSWERABLE: Mapping[str, tuple[str, ...]] = {
    "train": ("paint a picture of a cow", "who was Cleopatra"),
    "dev": ("paint a picture of a hen",),
    "test": ("who was Caesar",),
}
_VALUES: Mapping[str, Any] = {
    "string": "Oslo",
    "integer": 3,
    "number": 2.5,
    "boolean": True,
    "array": [{"name": "Ada"}],
}


def _queries(catalog: Catalog, split: str) -> Iterator[Query]:
    for position, tool in enumerate(catalog):
        for i, phrase in enumerate(_PHRASES[split]):
            yield _query(f"{split}-{position}-{i}", phrase.format(tool.description), tool)
    for i, (first, second) in enumerate(zip(catalog[:4:2], catalog[1:4:2], strict=True)):
        text = f"{first.description}, and then: {second.description}"
        yield _query(f"{split}-both-{i}", _PHRASES[split][0].format(text), first, second)
    for i, text in enumerate(_UNANSWERABLE[split]):
        yield Query(id=f"{split}-none-{i}", text=text, tools=())


def _query(query_id: str, text: str, *tools: Tool) -> Query:
    calls = tuple(Call(tool=tool.id, arguments=_arguments(tool)) for tool in tools)
    return Query(id=query_id, text=text, tools=tuple(tool.id for tool in tools), calls=calls)


def _arguments(tool: Tool) -> dict[str, Any]:
    return {name: _VALUES[tool.properties[name]["type"]] for name in tool.required}


def _trajectories(catalog: Catalog, split: str) -> Iterator[Trajectory]:
    """A conversation for each request of the split: its calls, each with a result, and the closing answer; or declining."""
    import json

    for query in _queries(catalog, split):
        messages: list[dict[str, Any]] = [{"role": "user", "content": query.text}]
        for i, call in enumerate(query.calls or ()):
            messages.append(_call(f"call_{i}", call.tool, json.dumps(call.arguments, ensure_ascii=False)))
            messages.append({"role": "tool", "tool_call_id": f"call_{i}", "content": '{"status": "ok"}'})
        if query.calls:
            messages.append(_call("call_end", "finish", json.dumps({"answer": "It is done."})))
        else:
            messages.append(_call("call_end", "no_tool", "{}"))
        finished, declined = TurnOutcome(status="finished", answer="It is done."), TurnOutcome(status="declined")
        outcome = Outcome(turns=(finished if query.calls else declined,))
        yield Trajectory(id=f"{query.id}-run", query=query.id, messages=tuple(messages), outcome=outcome)


def _call(call_id: str, tool_id: str, arguments: str) -> dict[str, Any]:
    function = {"name": tool_id, "arguments": arguments}
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def _corpus() -> list[str]:
    """Every letter of the catalog and of JSON, and the words of the requests, so that no piece of them is unknown."""
    printable = " ".join(map(chr, range(33, 127)))
    phrases = [text for texts in (*_PHRASES.values(), *_UNANSWERABLE.values()) for text in texts]
    return [
        *(f"{document(tool)}\n{tool.id}" for tool in tiny_catalog()),
        *phrases,
        "user\nassistant\ntool\ndocumentation\n",
        printable,
    ]


def _bpe() -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=384, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def _wordpiece() -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=384, special_tokens=["<unk>"], show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer


def _unigram() -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    trainer = trainers.UnigramTrainer(vocab_size=384, special_tokens=["<unk>"], unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(_corpus(), trainer)
    return tokenizer

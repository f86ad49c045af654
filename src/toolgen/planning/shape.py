"""ModelShape: the sizes of a causal language model, counted from its configuration without its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from toolgen.errors import InputError
from toolgen.fetching.opening import model_without_weights, reason_of


@dataclass(frozen=True)
class ModelShape:
    """`layer_parameters` are those of all transformer layers, `other_parameters` norms and position embeddings. The
    vocabulary's rows are counted apart: `vocabulary` of `hidden` values, once or, not `tied`, twice."""

    name: str
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    tied: bool
    layer_parameters: int
    other_parameters: int

    @property
    def matrices(self) -> int:
        """How many matrices have a row for every token."""
        return 1 if self.tied else 2

    def parameters(self, tools: int) -> int:
        """All parameters with the rows of so many tools."""
        rows = (self.vocabulary + tools) * self.hidden * self.matrices
        return self.layer_parameters + self.other_parameters + rows

    @classmethod
    def read(cls, path: Path) -> ModelShape:
        """Reads a model folder or its `config.json`. InputError if it describes no causal language model."""
        import torch

        try:
            with torch.device("meta"):  # shapes without memory
                model = model_without_weights(path)
            config = model.config
            layers = int(config.num_hidden_layers)
        except Exception as error:  # whatever the library raises for a file that is none
            raise InputError(
                f"{path}: expected the configuration of a causal language model; {reason_of(error)}"
            ) from error
        inputs, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        stacks = (m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == layers)
        stack = next(stacks, torch.nn.ModuleList())
        in_layers = sum(parameter.numel() for parameter in stack.parameters())
        in_all = sum(parameter.numel() for parameter in model.parameters())
        tied = head is inputs or bool(config.tie_word_embeddings)
        in_rows = inputs.numel() + (0 if head is inputs else head.numel())
        return cls(
            name=Path(path).name if Path(path).is_dir() else Path(path).stem,
            layers=layers,
            hidden=int(inputs.shape[1]),
            intermediate=int(getattr(config, "intermediate_size", 0) or 4 * inputs.shape[1]),
            vocabulary=int(inputs.shape[0]),
            tied=tied,
            layer_parameters=in_layers,
            other_parameters=in_all - in_layers - in_rows,
        )

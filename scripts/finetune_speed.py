"""How fast fine-tuning is, beside `run_glue.py`: `python scripts/finetune_speed.py ENCODER DATA [SIDE ...]`.

ENCODER is a folder that `mlmctl pretrain` has made, DATA labelled texts (`text`, `label`) in JSON Lines. Ours
is the stage itself; the others are the Hugging Face `Trainer` as the example `run_glue.py` sets it up, in
fp32: on the same encoder and on a BERT of as many parameters, padded to 128 tokens (the script's default) and
to the longest of each batch. All learn from the same rows, 32 a step. The sides take turns in bursts, to and
fro; while one computes all others are blocked. Printed: medians and extremes of examples a second.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mlmctl.config import FinetuneConfig, RuntimeConfig
from mlmctl.engine import machine

BATCH_SIZE = 32
MAX_LENGTH = 128
NUM_BURSTS = 5
BURST_SECONDS = 4.0
WARM_UP_STEPS = 8
ENDLESS = 10**9

SIDES = {
    "ours": "mlmctl finetune",
    "padded": "Trainer, fp32, the same encoder, padded to 128",
    "dynamic": "Trainer, fp32, the same encoder, padded to the longest",
    "bert-padded": "Trainer, fp32, BERT, padded to 128",
    "bert-dynamic": "Trainer, fp32, BERT, padded to the longest",
}


def main(encoder: Path, data: Path, sides: list[str]) -> None:
    """Start all sides, let them take turns, print the table."""
    found: dict[str, list[float]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory(prefix="finetune-speed-") as scratch, ExitStack() as stack:
        children = {side: stack.enter_context(child(side, encoder, data, scratch)) for side in sides}
        facts = {side: ask(children[side]) for side in sides}
        steps = {}
        for side in sides:
            ask(children[side], WARM_UP_STEPS)
            seconds = ask(children[side], WARM_UP_STEPS)["seconds"]
            steps[side] = max(2, round(BURST_SECONDS * WARM_UP_STEPS / seconds))
        for burst in range(NUM_BURSTS):
            for side in sides if burst % 2 == 0 else reversed(sides):
                answer = ask(children[side], steps[side])
                found[side].append(steps[side] * BATCH_SIZE / answer["seconds"])
    print("| side | number format | parameters | examples/s | min-max | ours/side (min-max) |")
    print("|---|---|---|---|---|---|")
    for side, speeds in found.items():
        median, ours = statistics.median(speeds), found.get("ours", speeds)
        ratios = [a / b for a, b in zip(ours, speeds, strict=True)]
        print(
            f"| {SIDES[side]} | {facts[side]['dtype']} | {facts[side]['num_parameters']:,} | {median:,.0f} "
            f"| {min(speeds):,.0f}-{max(speeds):,.0f} "
            f"| {statistics.median(ours) / median:.2f} ({min(ratios):.2f}-{max(ratios):.2f}) |"
        )
    about = machine.facts(RuntimeConfig())
    versions = (f"{name} {version(name)}" for name in ("torch", "transformers", "accelerate", "datasets"))
    print(
        f"\n{about['cpu']}, {about['num_threads']} threads; Python {about['python']}, {', '.join(versions)}"
    )


@contextmanager
def child(side: str, encoder: Path, data: Path, scratch: str) -> Iterator[tuple[int, Any]]:
    """A process for one side: where it reads and what it writes. It ends when its line is closed."""
    theirs, requests = os.pipe()
    answers, their_answers = os.pipe()
    folder = Path(scratch, side)
    folder.mkdir()
    arguments = (encoder, data, side, folder, theirs, their_answers)
    command = [sys.executable, __file__, *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    environment |= {"TOKENIZERS_PARALLELISM": "false"}
    process = subprocess.Popen(command, stdout=sys.stderr, pass_fds=(theirs, their_answers), env=environment)
    os.close(theirs)
    os.close(their_answers)
    try:
        with os.fdopen(answers) as lines:
            yield requests, lines
    finally:
        os.close(requests)
        process.wait()


def ask(line: tuple[int, Any], num_steps: int | None = None) -> dict[str, Any]:
    """What a side answers: facts about it at first, then how long the steps it is asked for took."""
    requests, answers = line
    if num_steps:
        os.write(requests, json.dumps({"num_steps": num_steps}).encode() + b"\n")
    answer = answers.readline()
    if not answer:
        raise SystemExit("a side has failed; see above")
    found: dict[str, Any] = json.loads(answer)
    return found


def ours(encoder: Path, data: Path, pacer: Any, scratch: Path) -> None:
    """The stage, as the command runs it."""
    from mlmctl.engine.probe import dtype_by_rule
    from mlmctl.engine.runtime import prepare
    from mlmctl.events import Event, Plan, Progress
    from mlmctl.stages import finetune
    from mlmctl.stages.stage import Stage

    config = FinetuneConfig(epochs=10_000, batch_size=BATCH_SIZE)
    stage = Stage("finetune/speed", {"pretrain": encoder}, scratch, scratch, data=data)
    dtype = str(dtype_by_rule(prepare(stage.runtime).device)).removeprefix("torch.")

    def emit(event: Event) -> None:
        if isinstance(event, Plan):  # the last before the first step
            parameters = dict(event.rows)["model"].split()[0].replace(",", "")
            pacer.begin({"dtype": dtype, "num_parameters": int(parameters)})
        elif isinstance(event, Progress):  # one after each step
            pacer.step()

    finetune.run(config, Stage(stage.name, stage.inputs, scratch, scratch, emit, data=data))


def trainer(side: str, encoder: Path, data: Path, pacer: Any, scratch: Path) -> None:
    """`run_glue.py` with `--train_file`, without checkpoints and reports."""
    import torch
    import transformers
    from datasets import load_dataset

    from mlmctl.engine.architectures import ARCHITECTURES

    torch.set_num_threads(machine.num_threads(RuntimeConfig()))
    tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
    if side.startswith("bert"):
        mini = ARCHITECTURES["bert"].presets["mini"]
        config = transformers.BertConfig(**vars(mini), vocab_size=len(tokenizer), num_labels=2)
        model = transformers.BertForSequenceClassification(config)
    else:
        model = transformers.AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=2)
    is_padded = side.endswith("padded")
    rows = load_dataset("json", data_files=str(data), split="train", cache_dir=str(scratch / "cache"))
    kinds = {label: number for number, label in enumerate(sorted(set(rows["label"])))}

    def preprocess(batch: dict[str, list[Any]]) -> Any:
        padding = "max_length" if is_padded else False
        found = tokenizer(batch["text"], padding=padding, max_length=MAX_LENGTH, truncation=True)
        found["label"] = [kinds[label] for label in batch["label"]]
        return found

    class Paced(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            pacer.begin({"dtype": str(model.dtype).removeprefix("torch."), "num_parameters": size})

        def on_step_end(self, *_: Any, **__: Any) -> None:
            pacer.step()

    size = sum(parameter.numel() for parameter in model.parameters())
    collator: Any = transformers.default_data_collator
    transformers.Trainer(
        model=model,
        args=transformers.TrainingArguments(
            output_dir=str(scratch),
            max_steps=ENDLESS,
            per_device_train_batch_size=BATCH_SIZE,
            learning_rate=2e-5,  # as in the script's README
            use_cpu=True,
            dataloader_pin_memory=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows.map(preprocess, batched=True),
        data_collator=collator if is_padded else transformers.DataCollatorWithPadding(tokenizer),
        processing_class=tokenizer,
        callbacks=[Paced()],
    ).train()


def run_side(encoder: Path, data: Path, side: str, scratch: Path, requests: int, answers: int) -> None:
    """What a child does."""
    from mlmctl.commands.bench.channel import Channel, Pacer

    pacer = Pacer(Channel(requests, answers))
    if side == "ours":
        ours(encoder, data, pacer, scratch)
    else:
        trainer(side, encoder, data, pacer, scratch)


if __name__ == "__main__":
    folder, file, *rest = sys.argv[1:]
    if len(rest) == 4 and rest[2].isdigit():
        run_side(Path(folder), Path(file), rest[0], Path(rest[1]), int(rest[2]), int(rest[3]))
    else:
        main(Path(folder), Path(file), rest or list(SIDES))

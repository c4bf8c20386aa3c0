"""The one training loop: every stage runs through `fit`, on a CPU, one GPU or many, and resumes exactly."""

import json
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import DataLoader, Dataset

from anygen.error import DataError, RequestError
from anygen.training import sharding
from anygen.training.checkpoint import flatten_optimizer, read_checkpoint, restore_optimizer, write_checkpoint
from anygen.training.processes import Processes, processes

Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOptions:
    """How a stage is trained. `rate` is the peak learning rate: linear warm-up, flat, linear decay at the end.

    `minutes` interrupts a run, to be resumed. `budget` is what the whole stage may take, where a machine is there for a
    time only: the schedule ends after so many minutes of training if it has not ended by `steps`. Then the numbers
    depend on the machine's speed.

    `batch` is that of one process. So many of them with `accumulate` parts each give the numbers of one process with
    their product: the same samples, the same noise, the same mean of gradients.
    """

    steps: int
    batch: int
    rate: float
    warmup: int = 200
    decay_share: float = 0.3
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    accumulate: int = 1
    precision: str = "bf16"  # "no" or "bf16" autocast
    ema: float = 0.0  # decay of the moving average of the weights; 0 keeps none
    seed: int = 0
    shard: bool = False  # processes share weights, gradients and the optimiser's state among them (FSDP)
    workers: int = 0  # processes that prepare batches; the batches are the same for any number
    minutes: float = 0.0  # stops (resumable) after so many minutes; 0 never does
    budget: float = 0.0  # the stage is done after so many minutes in all its runs; 0: only after `steps`
    log_every: int = 50
    sample_every: int = 1000  # and at the end; 0: never
    save_every: int = 500

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.accumulate < 1:
            raise RequestError(
                f"steps ({self.steps}), batch ({self.batch}) and accumulate ({self.accumulate}) are at least 1"
            )
        if self.precision not in ("no", "bf16"):
            raise RequestError(f"no precision '{self.precision}'; there are no, bf16")

    def rate_at(self, step: int, seconds: float = 0.0) -> float:
        """The learning rate of a step; without a budget a function of the step alone, so that resuming keeps it."""
        decay = max(1, int(self.steps * self.decay_share))
        left = (self.steps - step) / decay
        if self.budget:
            left = min(left, (1 - seconds / (60 * self.budget)) / max(self.decay_share, 1e-6))
        return self.rate * max(0.0, min(1.0, (step + 1) / max(1, self.warmup), left))

    def share_at(self, step: int, seconds: float) -> float:
        """Which share of the stage is done after so many steps and seconds, 0..1."""
        share = step / self.steps
        return min(1.0, max(share, seconds / (60 * self.budget)) if self.budget else share)


class Stage(Protocol):
    """A stage is a module that makes its own batches. What has `requires_grad` is trained, all else stays frozen.

    `short = True` in a stage says that its sequences are of some tens of tokens.
    """

    name: str

    def prepare(self, step: int, size: int, seed: int) -> Batch:
        """The batch of a step: CPU tensors that depend on the arguments alone. Runs in worker processes."""
        ...

    def __call__(self, batch: Batch, rng: torch.Generator) -> dict[str, Tensor]:
        """Named losses (scalars); their sum is minimised. A name that starts with "_" is only logged."""
        ...

    def sample(self, folder: Path, step: int) -> dict[str, float]:
        """Writes sample sheets into the folder and returns figures for the log."""
        ...


class _Batches(Dataset[Batch]):
    """Batch number i is made from (seed, i), in whatever process asks for it."""

    def __init__(self, stage: Any, numbers: range, options: FitOptions) -> None:
        self.stage, self.numbers, self.options = stage, numbers, options

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        return self.stage.prepare(self.numbers[index], self.options.batch, self.options.seed)


def _batches(stage: Any, numbers: range, options: FitOptions) -> Iterator[Batch]:
    loader = DataLoader(
        _Batches(stage, numbers, options),
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
    )
    yield from loader


class _Total(nn.Module):
    """A stage with the sum of its losses first. It alone has a graph: processes find through it what has learnt."""

    def __init__(self, stage: Any, used: sharding.Used | None) -> None:
        super().__init__()
        self.stage, self.used = stage, used

    def forward(self, batch: Batch, rng: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        losses: dict[str, Tensor] = self.stage(batch, rng)
        total: Any = sum(loss.float() for name, loss in losses.items() if not name.startswith("_"))
        if self.used:
            total = self.used.touch(self.stage, total)
        return total, {name: loss.detach() for name, loss in losses.items()}


class _Average:
    """The exponential moving average of the trained parameters."""

    def __init__(self, parameters: list[nn.Parameter], decay: float) -> None:
        self.parameters, self.decay = parameters, decay
        self.shadow = [p.detach().clone() for p in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(self.shadow, [p.detach() for p in self.parameters], 1 - decay)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchanges the parameters and their average, in place."""
        for parameter, shadow in zip(self.parameters, self.shadow, strict=True):
            kept = parameter.detach().clone()
            parameter.copy_(shadow)
            shadow.copy_(kept)


def optimizer_for(named: list[tuple[str, nn.Parameter]], options: FitOptions) -> torch.optim.Optimizer:
    """AdamW; weight decay only on matrices and kernels, never on embeddings, norms and biases."""
    decayed = [p for name, p in named if p.ndim >= 2 and "embed" not in name]
    rest = [p for name, p in named if not (p.ndim >= 2 and "embed" not in name)]
    groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW([g for g in groups if g["params"]], lr=options.rate, betas=(0.9, options.beta2))


def fit(
    stage: Any,
    options: FitOptions,
    folder: Path,
    *,
    resume: bool = True,
    accelerator: Any = None,
    tell: Callable[[float], Any] | None = None,
) -> bool:
    """Trains the stage into `folder` (checkpoint, log.jsonl, samples/). True when all steps are done.

    With `resume` an existing checkpoint is continued to the same numbers as an uninterrupted run; Ctrl-C, SIGTERM and
    the limit of minutes all leave one. At the end the stage's trained parameters hold the average where one is kept.
    `tell` is told now and then which share of the stage is done.

    Several processes train together; the main one alone writes. With `shard` the stage is left in pieces: a call in one
    process then opens the checkpoint, which is always whole.
    """
    accelerator = accelerator or _accelerator(options)
    group = Processes(rank=accelerator.process_index, count=accelerator.num_processes)
    sharded = in_pieces(options, group)
    device, main = accelerator.device, group.main
    stage.to(device).train()
    named = [(name, p) for name, p in stage.named_parameters() if p.requires_grad]
    step, spent, seen, tensors = 0, 0.0, 0, dict[str, Tensor]()
    if resume and (found := read_checkpoint(folder)):
        tensors, state = found
        _fits(state, named, tensors, folder)
        with torch.no_grad():
            for name, parameter in named:
                parameter.copy_(tensors[f"weights.{name}"])
        step, spent = state["step"], state["seconds"]
        seen = state.get("batches", step * options.accumulate * group.count)
    finished = bool(options.budget) and spent > 60 * options.budget
    if step >= options.steps or finished:
        if options.ema:
            with torch.no_grad():
                for name, parameter in named:
                    parameter.copy_(tensors[f"average.{name}"])
        return True
    used = sharding.Used() if sharded else None
    module: Any = _Total(stage, used)
    hooks = sharding.shard(module, stage, device) if sharded else {}
    named = [(name, p) for name, p in stage.named_parameters() if p.requires_grad]
    parameters = [p for _, p in named]
    optimizer: Any = optimizer_for(named, options)
    average = _Average(parameters, options.ema) if options.ema else None
    if tensors:
        if average:
            for (name, parameter), shadow in zip(named, average.shadow, strict=True):
                shadow.copy_(sharding.like(tensors[f"average.{name}"], parameter))
        restore_optimizer(optimizer, tensors)
    if not sharded:
        module, optimizer = accelerator.prepare(module, optimizer)

    def save() -> None:
        kept = {f"weights.{name}": p for name, p in named} | flatten_optimizer(optimizer)
        if average:
            kept |= {f"average.{name}": s for (name, _), s in zip(named, average.shadow, strict=True)}
        if sharded:
            kept = sharding.gathered(kept, keep=main)
        if main:
            facts = {"stage": stage.name, "step": step, "batches": seen, "seconds": spent + time.time() - started}
            write_checkpoint(folder, kept, facts | {"options": asdict(options)})
        group.agree(None)  # none goes on, and perhaps reads it, before it is written

    folder.mkdir(parents=True, exist_ok=True)
    each = options.accumulate * group.count  # batches in a step
    numbers = range(seen + group.rank, seen + (options.steps - step) * each, group.count)
    batches = _batches(stage, numbers, options)
    rng = torch.Generator(device)
    started, window, totals = time.time(), time.time(), dict[str, float]()
    log = open(folder / "log.jsonl", "a") if main else None
    board = _board(folder) if main else None
    progress = _Progress(stage.name, options.steps, step, main)
    drops = any(isinstance(part, nn.Dropout) and part.p > 0 for part in stage.modules())
    stop = _Stop(group)
    try:
        while step < options.steps and not finished:
            taken = spent + time.time() - started if options.budget else 0.0
            for parts in optimizer.param_groups:
                parts["lr"] = options.rate_at(step, taken)
            losses: list[dict[str, Tensor]] = []
            for part in range(options.accumulate):
                batch = {k: v.to(device, non_blocking=True) for k, v in next(batches).items()}
                place = (options.seed * 1_000_003 + step) * options.accumulate + part
                rng.manual_seed(place * group.count + group.rank)
                if drops:  # what drops out comes from the global stream, and is to be the same after a resume
                    torch.manual_seed(rng.initial_seed())
                last = part == options.accumulate - 1
                with nullcontext() if last or sharded else accelerator.no_sync(module):
                    with accelerator.autocast(), _attention(stage, device):
                        total, named_losses = module(batch, rng)
                    accelerator.backward(total / options.accumulate)
                losses.append(named_losses)
            if used:
                used.settle(stage, dict(named))
                sharding.heed(hooks, dict(named))
            norm = sharding.whole(_clip(accelerator, parameters, options.clip, sharded))
            if torch.isfinite(norm):
                optimizer.step()
            optimizer.zero_grad()
            step, seen = step + 1, seen + each
            if average:
                average.update(step)
            if step % options.log_every == 0:
                _smooth(totals, group.mean(losses))
                seconds = (time.time() - window) / options.log_every
                pace = options.batch * each / seconds
                row = {
                    "step": step,
                    "rate": optimizer.param_groups[0]["lr"],
                    "norm": float(norm),
                    "per_second": round(pace, 2),
                }
                row |= {name: round(value, 5) for name, value in totals.items()}
                progress.show(step, row)
                if tell and main:
                    tell(options.share_at(step, spent + time.time() - started))
                _write(log, board, row, step)
                window = time.time()
            finished = _agreed(accelerator, options.budget, spent + time.time() - started)
            late = not finished and _agreed(accelerator, options.minutes, time.time() - started)
            stopped = stop.agreed(device)
            if step % options.save_every == 0 or step == options.steps or late or finished or stopped:
                save()
            if stopped:
                raise KeyboardInterrupt
            every = options.sample_every
            if every and (main or sharded) and (step % every == 0 or step == options.steps or finished):
                _write(log, board, _sample(stage, module, average, folder if main else None, step), step)
                window = time.time()
            if late and step < options.steps:
                return False
        if average:
            average.swap()
        return True
    except KeyboardInterrupt:
        if not stop.shared:
            save()
        raise
    finally:
        stop.close()
        progress.close()
        if log:
            log.close()
        if board:
            board.close()


def in_pieces(options: FitOptions, group: Processes) -> bool:
    """Whether a stage is split among the processes: by its options, or by `accelerate launch --use_fsdp`."""
    return group.count > 1 and (options.shard or os.environ.get("ACCELERATE_USE_FSDP") == "true")


def _accelerator(options: FitOptions) -> Accelerator:
    """Parts of a stage may rest for a while, other ones in each process: so unused parameters are looked for."""
    processes()  # they meet with their own patience
    tolerant = DistributedDataParallelKwargs(find_unused_parameters=True)
    cpu = not torch.cuda.is_available()
    return Accelerator(mixed_precision=options.precision, cpu=cpu, kwargs_handlers=[tolerant])


def _clip(accelerator: Any, parameters: list[nn.Parameter], most: float, sharded: bool) -> Tensor:
    """Brings the gradients' norm down to `most`, and returns what it was."""
    if sharded:
        return torch.nn.utils.clip_grad_norm_(parameters, most)
    return accelerator.clip_grad_norm_(parameters, most)


class _Stop:
    """Ctrl-C and SIGTERM: one process stops where it is, several do so together, at the end of a step."""

    def __init__(self, group: Processes) -> None:
        self.group, self.wished, self.shared = group, False, group.count > 1
        self.before: dict[int, Any] = {}
        if threading.current_thread() is not threading.main_thread():
            return
        if self.shared:
            self.before = {number: signal.signal(number, self._wish) for number in (signal.SIGINT, signal.SIGTERM)}
        else:
            self.before = {signal.SIGTERM: signal.signal(signal.SIGTERM, signal.default_int_handler)}

    def _wish(self, number: int, frame: Any) -> None:
        self.wished = True

    def agreed(self, device: torch.device) -> bool:
        """Whether one of several processes was told to stop."""
        return self.shared and self.group.any(self.wished, device)

    def close(self) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)


def _attention(stage: Any, device: torch.device) -> Any:
    """On a CPU the gradients of fused attention take longer than those of plain products where sequences are short."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" and getattr(stage, "short", False) else nullcontext()


def _fits(state: dict[str, Any], named: list[tuple[str, nn.Parameter]], tensors: Batch, folder: Path) -> None:
    """A checkpoint of other sizes is refused before anything is overwritten."""
    for name, parameter in named:
        tensor = tensors.get(f"weights.{name}")
        if tensor is None or tensor.shape != parameter.shape:
            got = "missing" if tensor is None else list(tensor.shape)
            raise DataError(
                f"the checkpoint in {folder} does not fit: {name} is {got}, the stage has {list(parameter.shape)}; "
                "use another --output or delete it"
            )


def _agreed(accelerator: Any, minutes: float, seconds: float) -> bool:
    """Whether the time is over, for all processes as the first one's clock has it; 0 minutes are never over."""
    if not minutes:
        return False
    over = torch.tensor([float(seconds > 60 * minutes)], device=accelerator.device)
    if accelerator.num_processes > 1:
        torch.distributed.broadcast(over, 0)
    return bool(over)


def _smooth(totals: dict[str, float], losses: dict[str, float]) -> None:
    """A running mean over log lines, so that the log reads smoothly."""
    for name, value in losses.items():
        totals[name] = 0.7 * totals[name] + 0.3 * value if name in totals else value


@torch.no_grad()
def _sample(stage: Any, module: Any, average: _Average | None, folder: Path | None, step: int) -> dict[str, Any]:
    """Sample sheets are made with the averaged weights, as the finished model will be; without a folder for nothing.

    Of a stage in pieces all processes make them, for all have to hand over their pieces.
    """
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        sheets = Path(place) / "samples"
        sheets.mkdir(exist_ok=True)
        stage.eval()
        if average:
            average.swap()
        try:
            with sharding.together(module):
                return {"step": step} | stage.sample(sheets, step)
        finally:
            if average:
                average.swap()
            stage.train()


def _board(folder: Path) -> Any:
    """A TensorBoard writer where tensorboard is installed, else None: the JSONL log is always there."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))


def _write(log: Any, board: Any, row: dict[str, Any], step: int) -> None:
    if log is None:
        return
    log.write(json.dumps(row) + "\n")
    log.flush()
    for name, value in row.items():
        if board and name != "step":
            board.add_scalar(name, value, step)


class _Progress:
    """A progress bar with loss and rate on stderr."""

    def __init__(self, name: str, steps: int, step: int, shown: bool) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=steps, initial=step, desc=name, disable=not shown, mininterval=1.0)

    def show(self, step: int, row: dict[str, Any]) -> None:
        losses = {k: v for k, v in row.items() if k not in ("step", "norm", "rate", "per_second")}
        text = " ".join(f"{name} {value:.4g}" for name, value in losses.items())
        self.bar.set_postfix_str(f"{text} rate {row['rate']:.1e} {row['per_second']:.0f}/s", refresh=False)
        self.bar.update(step - self.bar.n)

    def close(self) -> None:
        self.bar.close()

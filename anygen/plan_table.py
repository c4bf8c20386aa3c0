"""A plan as lines for a terminal."""

from collections.abc import Mapping
from typing import Any

from anygen.planning import ANSWER, PROMPT


def table(told: Mapping[str, Any]) -> str:
    """What `Plan.describe` says, one line for each part, and what all of them take."""
    how = [told["quantize"]] if told["quantize"] else []
    how += ["offloaded"] if told["offload"] else []
    lines = [", ".join([f"{told['model']} on {told['device']}", *how])]
    for name, part in told["parts"].items():
        lines.append(f"  {name:34} {_count(part['parameters']):>8} {_size(part['bytes']):>10}  {part['dtype']}")
    for name, why in told["left_out"].items():
        lines.append(f"  {name:34} {'':8} {'not loaded':>10}  {why}")
    for name in told["unmeasured"]:
        lines.append(f"  {name}: its activations and its time are not in the figures below")
    lines.append(f"  all weights                        {'':8} {_size(told['weights_bytes']):>10}")
    if told["offload"]:
        lines.append(f"  resting in the CPU's memory        {'':8} {_size(told['host_bytes']):>10}")
    peaks = (("peak_bytes", "peak, all resident"), ("peak_bytes_offloaded", "peak, one stage at a time"))
    for key, what in peaks[told["offload"] :]:
        fits = told["fits" if key == "peak_bytes" else "fits_offloaded"]
        room = f"{'fits' if fits else 'does not fit'} {_size(told['device_bytes'])}"
        lines.append(f"  {what:34} {'':8} {_size(told[key]):>10}  {room}")
    said = ", ".join(f"{name} {seconds:.3g} s" for name, seconds in told["seconds"].items())
    lines.append(f"  expected, roughly: {said} ({PROMPT} tokens asked, {ANSWER} answered; media at their usual size)")
    return "\n".join(lines)


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"

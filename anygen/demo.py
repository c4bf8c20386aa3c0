"""The web demo: a chat in the browser with text and media on both sides, on gradio."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from anygen.engine import Engine
from anygen.error import AnyGenError, RequestError
from anygen.media import MEDIA
from anygen.request import Event

EXAMPLES = (
    "Draw a cat on a meadow.",
    "Draw three owls at sunset.",
    "What can you draw?",
    "Tell a story about a dog who finds a rocket in 3 pages.",
)
FILM_EXAMPLE = "Show me a film of a dog moving to the right in a meadow."
LARGEST_FILE = "50mb"
BAR = 12

STYLE = """
.gradio-container{width:100% !important;max-width:none !important}
.gradio-container main{width:100% !important;max-width:820px !important;margin:0 auto !important}
.gradio-container main{padding-top:.6rem !important}
#head{text-align:center}
#head h1{font-size:1.9rem;font-weight:650;letter-spacing:-.02em;margin:0}
#head p{opacity:.6;margin:.1rem 0 0}
#chat .bot img,#chat .user img{width:min(300px,60vw);border-radius:12px;object-fit:contain !important}
#chat .bot video,#chat .user video{width:min(300px,60vw);border-radius:12px}
#chat .waveform-wrapper{height:32px;overflow:hidden;display:flex;align-items:center}
#chat .waveform-wrapper>div{flex:1}
#chat a[title="Share"],#chat button[title="Share"],#chat [aria-label="Share"]{display:none}
#status{min-height:1.3rem;text-align:center;font-size:.85rem;opacity:.6}
#status>*{padding:0}
"""


@dataclass(slots=True)
class Turn:
    """What was said, as the input box gives it, and what is shown as the answer."""

    said: dict[str, Any]
    answer: list[Any] = field(default_factory=list)
    whole: bool = False  # only then it is part of the model's own conversation


class Visit:
    """One visitor's conversation: what the model remembers, and what the page shows."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.chat = engine.chat()
        self.turns: list[Turn] = []
        self.stopped = threading.Event()
        self.folder = Path(tempfile.mkdtemp(prefix="anygen-demo-"))
        self.count = 0

    def close(self) -> None:
        """Forget the files of the conversation."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def shown(self) -> list[dict[str, Any]]:
        """The conversation as messages of a `gr.Chatbot`."""
        messages: list[dict[str, Any]] = []
        for turn in self.turns:
            files = [{"path": str(path)} for path in turn.said.get("files") or ()]
            text = [turn.said["text"]] if turn.said.get("text") else []
            messages.append({"role": "user", "content": [*files, *text]})
            if turn.answer:
                messages.append({"role": "assistant", "content": list(turn.answer)})
        return messages

    def ask(self, said: dict[str, Any], options: dict[str, Any]) -> Iterator[str]:
        """Answer a turn; yields a line about how far it is whenever `shown` has changed."""
        turn = Turn(said=said)
        self.turns.append(turn)
        self.stopped.clear()
        yield "thinking ..."
        events: Any = None
        try:
            asked = [*map(Path, said.get("files") or ()), *([said["text"]] if said.get("text") else [])]
            events = self.chat.stream(asked, **options)
            for event in events:
                if self.stopped.is_set():
                    turn.answer = [*_finished(turn.answer), "(stopped)"]
                    break
                yield self._show(turn, event)
        except AnyGenError as error:
            turn.answer = [*_finished(turn.answer), f"⚠ {error}"]
        finally:
            if events is not None:
                events.close()  # an answer that was left early leaves no trace in the model's conversation
        if not turn.whole:
            yield "this turn is not part of the conversation"

    def again(self, options: dict[str, Any]) -> Iterator[str]:
        """Take the last turn back and ask it anew."""
        if turn := self.undo():
            yield from self.ask(turn.said, options)

    def undo(self) -> Turn | None:
        """Take the last turn back."""
        if not self.turns:
            return None
        turn = self.turns.pop()
        if turn.whole:
            self.chat.undo()
        return turn

    def _show(self, turn: Turn, event: Event) -> str:
        if event.reply is not None:
            turn.whole = True
            return f"seed {event.reply.seed}, {event.reply.seconds['total']:.1f} s"
        if event.type == "part.start":
            turn.answer.append("" if event.modality == "text" else drawing(event.modality or "", 0, 0))
        elif event.type == "text.delta":
            turn.answer[-1] += event.text
        elif event.type == "part.progress":
            turn.answer[-1] = drawing(event.modality or "", event.step, event.steps)
        elif event.part is not None and event.part.text is None:
            self.count += 1
            file = event.part.value.save(self.folder / f"{self.count:03d}{event.part.value.suffix}")
            turn.answer[-1] = {"path": str(file)}
        elif event.part is not None:
            turn.answer[-1] = (event.part.text or "").strip()
        return "writing ..." if event.modality == "text" else f"making part {event.index} ..."


def drawing(modality: str, step: int, steps: int) -> str:
    """A bar that says how far a medium is."""
    full = BAR * step // max(1, steps)
    return f"{modality} {'▰' * full}{'▱' * (BAR - full)}"


def _finished(answer: list[Any]) -> list[Any]:
    """An answer without the bar of a medium that will not come."""
    return [part for part in answer if isinstance(part, dict) or not part.endswith(("▰", "▱"))]


def options_of(seed: float | None, steps: float | None, guidance: float | None) -> dict[str, Any]:
    """The page's controls as options of a request."""
    given = {"seed": seed, "steps": steps, "guidance": guidance}
    whole = ("seed", "steps")
    return {name: int(value) if name in whole else value for name, value in given.items() if value is not None}


def build(engine: Engine) -> gr.Blocks:
    """The page; every visitor has a conversation of their own."""

    def enter(visit: Visit | None) -> Visit:
        return visit or Visit(engine)

    def follow(visit: Visit, lines: Iterator[str]) -> Iterator[tuple[Any, ...]]:
        yield gr.MultimodalTextbox(value=None, submit_btn=False, stop_btn=True), gr.skip(), "", visit
        for line in lines:
            yield gr.skip(), visit.shown(), line, visit
        lost = (
            visit.turns[-1].said if visit.turns and not visit.turns[-1].whole else None
        )  # to be mended and sent again
        yield gr.MultimodalTextbox(value=lost, submit_btn=True, stop_btn=False), visit.shown(), gr.skip(), visit

    def say(said: Any, visit: Visit | None, seed: Any, steps: Any, guidance: Any) -> Iterator[tuple[Any, ...]]:
        visit = enter(visit)
        said = {"text": (said.get("text") or "").strip(), "files": said.get("files") or []}
        if said["text"] or said["files"]:
            yield from follow(visit, visit.ask(said, options_of(seed, steps, guidance)))
        else:
            yield gr.skip(), gr.skip(), "say what you want, or add a file", visit

    def example(chosen: gr.SelectData, visit: Visit | None, *controls: Any) -> Iterator[tuple[Any, ...]]:
        yield from say(chosen.value, visit, *controls)

    def again(visit: Visit | None, seed: Any, steps: Any, guidance: Any) -> Iterator[tuple[Any, ...]]:
        visit = enter(visit)
        yield from follow(visit, visit.again(options_of(seed, steps, guidance)))

    def back(visit: Visit | None) -> tuple[Any, ...]:
        visit = enter(visit)
        turn = visit.undo()
        return (turn.said if turn else gr.skip()), visit.shown(), "", visit

    def stop(visit: Visit | None) -> None:
        if visit:
            visit.stopped.set()

    def clear(visit: Visit | None) -> tuple[Any, ...]:
        if visit:
            visit.close()
        return None, [], "", Visit(engine)

    media = [modality for modality in engine.reads if modality in MEDIA]
    with gr.Blocks(title="AnyGen", analytics_enabled=False, fill_height=True, delete_cache=(3600, 86400)) as page:
        gr.HTML(
            f"<h1>AnyGen</h1><p>{engine.name}: {', '.join(engine.reads)} in, {', '.join(engine.writes)} out</p>",
            elem_id="head",
        )
        visit = gr.State(None, delete_callback=lambda held: held and held.close())
        chat = gr.Chatbot(
            elem_id="chat",
            show_label=False,
            height="58vh",
            layout="bubble",
            buttons=["copy"],
            render_markdown=False,
            feedback_options=None,
            latex_delimiters=[],
            placeholder="Ask for a picture, a story, or show a picture and ask about it.",
            examples=[{"text": text} for text in (*EXAMPLES, *[FILM_EXAMPLE] * ("video" in engine.writes))],
        )
        box = gr.MultimodalTextbox(
            elem_id="box",
            show_label=False,
            placeholder=f"Say something{', or add a file (' + ', '.join(media) + ')' if media else ''}",
            file_types=media or ["text"],
            file_count="multiple",
            sources=(["upload", "microphone"] if "audio" in media else ["upload"]) if media else [],
            autofocus=True,
            max_plain_text_length=100_000,
        )
        status = gr.HTML("", elem_id="status")
        with gr.Row():
            retry = gr.Button("Try again", size="sm", min_width=100)
            undo = gr.Button("Take back", size="sm", min_width=100)
            new = gr.Button("New chat", size="sm", min_width=100)
        with gr.Accordion("Settings", open=False), gr.Row():
            controls = [visit, *_controls(engine)]
        out = [box, chat, status, visit]
        lone: dict[str, Any] = {"concurrency_limit": 1, "concurrency_id": "engine", "show_progress": "hidden"}
        free: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
        private = {**lone, "api_visibility": "private"}
        box.submit(say, [box, *controls], out, api_name="say", **lone)
        chat.example_select(example, controls, out, **private)
        retry.click(again, controls, out, **private)
        undo.click(back, visit, out, **private)
        for begin in (new.click, chat.clear):
            begin(stop, visit, None, **free).then(clear, visit, out, **private)
        box.stop(stop, visit, None, **free)
    return page


def _controls(engine: Engine) -> list[Any]:
    """Seed, steps and guidance; the last two start at the model's own."""
    usual = engine.model.config.generators.get("image")
    shown = usual is not None
    return [
        gr.Number(None, label="Seed", info="leave empty to draw one", precision=0, minimum=0),
        gr.Slider(1, 60, usual.steps if usual else 1, step=1, label="Steps", info="more is finer", visible=shown),
        gr.Slider(
            0, 12, usual.guidance if usual else 0, step=0.1, label="Guidance", info="how strictly", visible=shown
        ),
    ]


def launch(engine: Engine, host: str = "127.0.0.1", port: int = 7860, wait: bool = True) -> gr.Blocks:
    """Serve the page, until Ctrl-C if `wait`. Nothing is shared, counted or fetched from elsewhere."""
    try:
        socket.create_server((host, port)).close()
    except (OSError, OverflowError) as error:
        raise RequestError(f"cannot listen on {host}:{port}: {error}; choose another --host or --port") from None
    page = build(engine)
    fonts = ("system-ui", "sans-serif"), ("ui-monospace", "monospace")
    theme = gr.themes.Base(
        primary_hue="orange", neutral_hue="stone", radius_size="lg", font=fonts[0], font_mono=fonts[1]
    )
    theme.set(body_background_fill="*neutral_50", body_background_fill_dark="*neutral_950")
    page.queue().launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        share=False,
        quiet=True,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        max_file_size=LARGEST_FILE,
        theme=theme,
        css=STYLE,
    )
    if wait:
        print(f"http://{host}:{port}", flush=True)
        page.block_thread()
    return page

"""nano's tokenizer: byte-level BPE trained on what the playground says, with the structural tokens in front."""

import random
from collections.abc import Collection, Iterator
from typing import Any

from anygen.signals import special_tokens

SIGNALS = {"image": 8, "audio": 8, "video": 16}
"""Signal tokens per modality; all have their place from the start, so that no id moves when a modality joins."""

_ENGLISH = """
the a an and or but not no yes of to in on at by for from with without into over under behind beside between
near far is are was were be been am do does did done have has had can could will would shall should may might
must i you he she it we they me him her us them my your his its our their this that these those here there
where what which who whom whose why how when then now today tomorrow yesterday very more most less least some
any all none every each many much few little big small large tall short long old young new good bad happy sad
red orange yellow green blue purple pink white black brown grey make draw paint show tell say see look hear
listen find give take put move go come run walk fly swim jump sleep eat drink play sing dance think know want
wish like love help please thank thanks hello picture image photo sound music video story page morning evening
day night light dark warm cold fast slow loud quiet one two three four five six seven eight nine ten first
second third last next again also only just even still never always sometimes because if so than too up down
left right top bottom middle above below front back inside outside friend home world sky sea land water rain
snow sun moon star wind
"""


def corpus(chats: int = 6000, seed: int = 0, media: Collection[str] = ("image", "audio")) -> Iterator[str]:
    """Text of sampled training chats, and common English words so that a user's own words are not spelt in bytes."""
    from anygen.playground.dialogue import corpus_line, sample_chat

    stream = random.Random(f"{seed}|tokenizer")
    for number in range(chats):
        chat = sample_chat(stream, media=media) if number % 2 else corpus_line(stream, media=media)
        for message in chat.messages:
            yield from (part["text"] for part in message["content"] if part["type"] == "text")
    for _ in range(3):
        yield _ENGLISH


def train_tokenizer(vocabulary: int = 2048, texts: Iterator[str] | None = None) -> Any:
    """A `PreTrainedTokenizerFast` of at most `vocabulary` tokens. A word is one token at a start and after a space."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    names = list(special_tokens(SIGNALS))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=names,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts if texts is not None else corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        bos_token="<|begin|>",
        eos_token="<|end|>",
        additional_special_tokens=[n for n in names if n not in ("<|pad|>", "<|begin|>", "<|end|>")],
        clean_up_tokenization_spaces=False,
        model_max_length=1024,
    )


def caption_tokenizer(tokenizer: Any, length: int = 32) -> Any:
    """The same vocabulary for a text encoder: each text ends with <|end|> and is padded on the right to `length`."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    backend.post_processor = processors.TemplateProcessing(single="$A <|end|>", special_tokens=[("<|end|>", end)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        clean_up_tokenization_spaces=False,
        model_max_length=length,
        padding_side="right",
    )

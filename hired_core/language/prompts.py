"""From a user's question to the token ids around the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any


class PromptError(ValueError):
    """The checkpoint has no chat template, or the prompt does not hold exactly one image."""


@dataclass(frozen=True, kw_only=True)
class PromptTemplate:
    """A checkpoint's chat template and tokenizer.

    Attributes:
        tokenizer: transformers tokenizer.
        template: Jinja chat template, None if the checkpoint has none.
        image_token: the placeholder that stands for the image, e.g. "<image>".
        apart: whether text behind the image is tokenised as if nothing came before it, as LLaVA's
            own code does; tokenizers that put a space before a text put one there too.
    """

    tokenizer: Any
    template: str | None
    image_token: str
    apart: bool = False

    @property
    def control_tokens(self) -> tuple[str, ...]:
        """Texts that the tokenizer reads as one token which is no word: ends of turns, the image
        placeholder and others that the checkpoint declares special; sorted."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {}).values()
        special = {str(token) for token in added if token.special}
        return tuple(sorted({*special, *self.tokenizer.all_special_tokens, self.image_token}))

    def render(self, prompt: str, *, from_data: bool = False) -> str:
        """The text given to the model, the image as one placeholder.

        A prompt that holds the placeholder already is taken word for word; any other is put into
        the chat template as the user's turn, after the image.

        Args:
            from_data: the prompt comes with the images and is not to be trusted: the placeholder
                in it is text like any other, it cannot replace the chat template.

        Raises:
            PromptError: without a chat template, if it fails, or with more placeholders than
                allowed.
        """
        if self._is_whole(prompt, from_data):
            return self._with_one_image(prompt)
        if not self._holds_control(prompt):
            return self._with_one_image(self._chat(prompt))
        head, tail = self._around(prompt)
        return f"{head}{prompt}{tail}"

    def token_ids(self, prompt: str, *, from_data: bool = False) -> tuple[list[int], list[int]]:
        """Ids before and after the image; see `render`.

        What a user writes never becomes a control token: special tokens in it are read letter by
        letter. A text that begins with BOS is not given another.

        Raises:
            PromptError: as `render`.
        """
        if self._is_whole(prompt, from_data):
            ids = self._ids(self._with_one_image(prompt))
        elif self._holds_control(prompt):
            head, tail = self._around(prompt)
            ids = self._ids(head) + self._plain_ids(prompt) + self._ids(tail, begins=False)
        else:
            ids = self._ids(self.render(prompt, from_data=from_data))
        at = ids.index(self._image_id)
        return ids[:at], ids[at + 1 :]

    def _is_whole(self, prompt: str, from_data: bool) -> bool:
        return self.image_token in prompt and not from_data

    def _with_one_image(self, text: str) -> str:
        if text.count(self.image_token) != 1:
            raise PromptError(f"a prompt needs exactly one {self.image_token}, got {text!r}")
        return text

    def _around(self, prompt: str) -> tuple[str, str]:
        """What the chat template puts before and after the prompt; the image is among it."""
        stand_in = _STAND_IN
        while stand_in in prompt:
            stand_in += _STAND_IN
        whole = self._with_one_image(self._chat(stand_in))
        parts = whole.split(stand_in)
        if len(parts) != 2:
            raise PromptError(f"the chat template says the prompt {len(parts) - 1} times, not once")
        return parts[0], parts[1]

    def _chat(self, prompt: str) -> str:
        if self.template is None:
            hint = f"give the whole prompt, with {self.image_token} in it, by --prompt"
            raise PromptError(f"the checkpoint has no chat template; {hint}")
        content = [{"type": "image"}, {"type": "text", "text": prompt}]
        try:
            text = self.tokenizer.apply_chat_template(
                [{"role": "user", "content": content}],
                chat_template=self.template,
                add_generation_prompt=True,
                tokenize=False,
            )
        except Exception as exc:  # A program of the checkpoint's, in Jinja's sandbox.
            raise PromptError(f"the checkpoint's chat template fails: {exc}") from exc
        return str(text)

    @cached_property
    def _image_id(self) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(self.image_token))

    @cached_property
    def _control(self) -> tuple[str, ...]:
        added = self.tokenizer.added_tokens_decoder.values()
        return (self.image_token, *(token.content for token in added if token.special))

    def _holds_control(self, prompt: str) -> bool:
        return any(token in prompt for token in self._control)

    def _ids(self, text: str, *, begins: bool = True) -> list[int]:
        """Of text whose special tokens are meant.

        Args:
            begins: whether it is the beginning of the whole.
        """
        if self.apart and self.image_token in text:
            before, after = text.split(self.image_token)
            front = self._ids(before, begins=begins)
            return [*front, self._image_id, *self._ids(after, begins=False)]
        bos = self.tokenizer.bos_token
        wanted = begins and not (bos and text.startswith(bos))
        ids: list[int] = self.tokenizer(text, add_special_tokens=wanted)["input_ids"]
        return ids

    def _plain_ids(self, text: str) -> list[int]:
        """Of text whose special tokens are letters like any others."""
        found = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        ids: list[int] = found["input_ids"]
        if self._image_id in ids:
            raise PromptError(f"{self.image_token} in a prompt cannot be read as text")
        return ids


_STAND_IN = "\ue000prompt\ue001"
